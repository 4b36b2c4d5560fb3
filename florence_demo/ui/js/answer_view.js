// Values are written as text; only the overlay is markup, escaped where it was made.
const find = name => element.querySelector(name);
const make = (tag, text, parent) => {
  const node = document.createElement(tag);
  node.textContent = text;
  parent.append(node);
  return node;
};
const light = (index, on) => {
  element.querySelectorAll(`[data-index="${index}"]`).forEach(n => n.classList.toggle('fd-on', on));
};
['mouseover', 'focusin'].forEach(kind => element.addEventListener(kind, event => {
  const node = event.target.closest('[data-index]');
  if (node) light(node.dataset.index, true);
}));
['mouseout', 'focusout'].forEach(kind => element.addEventListener(kind, event => {
  const node = event.target.closest('[data-index]');
  if (node) light(node.dataset.index, false);
}));
const copy = async text => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages that came without https have no clipboard, but still the older way.
    const area = make('textarea', text, element);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
};
find('.fd-copy').addEventListener('click', async () => {
  const value = props.value || {};
  await copy(value.words || value.sentence || '');
  find('.fd-copy').textContent = 'Copied';
  find('.fd-copy').focus();
});
const sync = () => {
  const value = props.value || {};
  const figure = find('.fd-figure');
  if ('picture' in value) {
    figure.hidden = !value.picture;
    if (value.picture) find('.fd-figure img').src = value.picture.url;
  }
  find('.fd-empty').hidden = !figure.hidden || Boolean(value.sentence);
  find('.fd-layer').innerHTML = value.overlay || '';
  find('.fd-sentence').textContent = value.sentence || value.hint || '';
  find('.fd-sentence').classList.toggle('fd-quiet', !value.sentence);
  find('.fd-sentence').classList.toggle('fd-busy', Boolean(value.busy));
  find('.fd-sentence').setAttribute('aria-busy', Boolean(value.busy));
  find('.fd-copy').hidden = !value.sentence || Boolean(value.busy);
  find('.fd-copy').textContent = 'Copy';
  const notices = find('.fd-notices');
  notices.replaceChildren();
  (value.notices || []).forEach(text => make('p', text, notices));
  const body = find('tbody');
  body.replaceChildren();
  (value.rows || []).forEach((row, index) => {
    const line = body.insertRow();
    line.dataset.index = index;
    line.tabIndex = 0;
    make('td', index + 1, line);
    const name = make('td', '', line);
    const swatch = make('i', '', name);
    swatch.style.background = row.color;
    name.append(row.label || '(no name)');
    make('td', row.sure == null ? '–' : `${Math.round(100 * row.sure)} %`, line);
    make('td', row.box.map(v => Math.round(v)).join(', '), line);
  });
  find('.fd-tablebox').hidden = !(value.rows || []).length;
  find('.fd-rough').hidden = value.calibrated || !(value.rows || []).some(row => row.sure != null);
  find('.fd-meta').textContent = value.meta || '';
};
watch('value', sync);
sync();
