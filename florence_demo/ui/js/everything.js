// Values are written as text; only the overlay is markup, escaped where it was made.
const list = element.querySelector('.fd-cards');
const make = (tag, name, text, parent) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text) node.textContent = text;
  parent.append(node);
  return node;
};
const card = (value, index, picture) => {
  const box = make('article', 'fd-card', '', list);
  box.setAttribute('role', 'listitem');
  if (value.overlay && picture) {
    const figure = make('div', 'fd-figure', '', box);
    const image = make('img', '', '', figure);
    image.alt = '';
    image.src = picture.url;
    const layer = make('div', 'fd-layer', '', figure);
    layer.inert = true;
    layer.innerHTML = value.overlay;
  } else {
    box.classList.add('fd-words');
  }
  const open = make('button', 'fd-open', value.title, box);
  open.type = 'button';
  open.dataset.index = index;
  make('p', '', value.sentence, box);
};
const sync = () => {
  const value = props.value || {};
  const cards = value.cards || [];
  list.replaceChildren();
  list.hidden = !cards.length;
  cards.forEach((each, index) => card(each, index, value.picture));
};
element.addEventListener('click', event => {
  const button = event.target.closest('.fd-open');
  if (!button) return;
  trigger('pick', {index: Number(button.dataset.index)});
  const panel = element.closest('[role=tabpanel]') || document;
  panel.querySelector('.fd-answer')?.scrollIntoView({behavior: 'smooth', block: 'start'});
});
watch('value', sync);
sync();
