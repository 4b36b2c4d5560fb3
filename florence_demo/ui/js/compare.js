// Answers side by side. Words are written as text; only the overlay is markup, escaped where it was
// made. The picture stays until another one comes.
const root = element.querySelector('.fd-compare');
const list = element.querySelector('.fd-columns');
const legend = element.querySelector('.fd-legend-words');
const hint = element.querySelector('.fd-compare-hint');
const BEGIN = 'Put a picture in, choose two to four models and press Compare.';
let picture = null;
let busy = false;
const TAGS = {same: 'span', first: 'del', here: 'ins'};
const sentence = (column, box) => {
  const said = make('p', 'fd-sentence', '', box);
  if (column.words.length) {
    column.words.forEach(([kind, text]) => {
      make(TAGS[kind], '', text, said);
      said.append(' ');
    });
  } else {
    said.textContent = column.counts.length ? fd.say(column.sentence) : column.sentence;
  }
  said.classList.toggle('fd-busy', column.busy);
};
const figure = (column, box) => {
  if (!column.overlay || !picture) return;
  const frame = make('div', 'fd-figure', '', box);
  const image = make('img', '', '', frame);
  image.alt = fd.say('What {model} found', {model: column.title});
  image.src = picture.url;
  const layer = make('div', 'fd-layer', '', frame);
  layer.innerHTML = column.overlay;
  nameThings(layer);
};
const counts = (column, box) => {
  if (!column.counts.length) return;
  const facts = make('dl', 'fd-counts', '', box);
  column.counts.forEach(([title, count, names, n]) => {
    const row = make('div', '', '', facts);
    make('dt', '', fd.say(title), row);
    const value = make('dd', '', fd.number(count), row);
    const most = names.join(', ');
    const all = n ? fd.say('{names} and {n} more', {names: most, n}) : most;
    if (names.length) make('span', 'fd-note', all, value);
  });
};
const draw = column => {
  const box = make('article', 'fd-column', '', list);
  make('h3', '', column.title, box);
  if (column.problem) {
    make('p', 'fd-alert', fd.say(column.problem), box);
    return;
  }
  if (!column.sentence) {
    make('p', 'fd-note', fd.say('Waiting for its answer …'), box);
    return;
  }
  sentence(column, box);
  figure(column, box);
  counts(column, box);
  const notices = make('div', 'fd-notices', '', box);
  column.notices.forEach(text => make('p', '', fd.say(text), notices));
  const {seconds, weights} = column.cost;
  const meta = weights ? fd.say('{seconds} s · {weights} of weights', {seconds, weights}) : '';
  make('p', 'fd-meta', meta, box);
};
const sync = () => {
  const value = props.value || {};
  if ('picture' in value) picture = value.picture;
  const columns = value.columns || [];
  list.replaceChildren();
  columns.forEach(draw);
  root.setAttribute('aria-busy', String(Boolean(value.busy)));
  const said = [value.hint || BEGIN, ...(value.notices || [])].map(words => fd.say(words));
  hint.textContent = columns.length ? '' : said.join(' ');
  legend.hidden = !columns.some(column => column.words.length);
  if (busy && !value.busy) fd.tell(value.hint || 'All answers are there.');
  busy = Boolean(value.busy);
  legend.querySelector('b').textContent = value.against || '';
};
// What is pointed at in one column is lit in that column alone.
const light = event => {
  const node = event.target.closest('[data-index]');
  const column = event.target.closest('.fd-column');
  if (!node || !column) return;
  const on = event.type === 'mouseover' || event.type === 'focusin';
  column.querySelectorAll(`[data-index="${node.dataset.index}"]`)
    .forEach(each => each.classList.toggle('fd-on', on));
};
['mouseover', 'mouseout', 'focusin', 'focusout'].forEach(kind => element.addEventListener(kind, light));
watch('value', sync);
document.addEventListener('fd-language', sync);
sync();
