// Many answered pictures. Only those in sight are drawn, so that thousands stay smooth; cards arrive
// in parts and are kept here. All words are written as text; only the overlay is markup, escaped
// where it was made.
const find = name => element.querySelector(name);
const box = find('.fd-gallery');
const scroll = find('.fd-gallery-scroll');
const space = find('.fd-gallery-space');
const names = find('.fd-gallery-names');
const search = find('.fd-gallery-search');
const sure = find('.fd-gallery-sure');
const which = find('.fd-gallery-which');
let job = null;
let cards = [];
let shown = [];      // indices of the cards that pass the filters
let off = new Set(); // names switched off
let tasks = [];
let task = 0;
let asTable = false;
let drawn = new Map();

// Of what is filtered away nothing is said either: "2 / 6: 2 × duck".
const left = things => {
  const counts = new Map();
  things.forEach(([label]) => counts.set(label, (counts.get(label) || 0) + 1));
  return [...counts].map(([label, n]) => (n > 1 ? `${fd.number(n)} × ${label}` : label)).join(', ');
};
const said = (card, told) => {
  const staying = told.things.filter(kept);
  if (staying.length === told.things.length) return fd.say(card.error || told.sentence || '');
  const n = `${fd.number(staying.length)} / ${fd.number(told.things.length)}`;
  return staying.length ? `${n}: ${left(staying)}` : n;
};
const answer = card => card.answers[task] || {sentence: card.error || '', overlay: '', things: []};
const kept = ([label, score]) => stays(label, score, off, Number(sure.value));
const passes = card => {
  const {sentence, things} = answer(card);
  const words = search.value.trim().toLowerCase();
  if (words && !`${card.name} ${sentence}`.toLowerCase().includes(words)) return false;
  if (!off.size && Number(sure.value) === 0) return true;
  return things.some(kept);
};

const layout = () => {
  const width = scroll.clientWidth || 600;
  const columns = asTable ? 1 : Math.max(1, Math.floor((width + 12) / 232));
  return {columns, height: asTable ? 64 : 232};
};
const cell = index => {
  const card = cards[index];
  const told = answer(card);
  const node = make('button', `fd-tile${asTable ? ' fd-line' : ''}${card.error || told.failed ? ' fd-bad' : ''}`);
  node.type = 'button';
  node.dataset.card = index;
  node.setAttribute('aria-label', `${card.name}: ${said(card, told)}`);
  const frame = make('span', 'fd-tile-frame', '', node);
  if (card.picture) {
    const figure = make('span', 'fd-figure', '', frame);
    const image = make('img', '', '', figure);
    image.alt = '';
    image.src = card.picture.url;
    const layer = make('span', 'fd-layer', '', figure);
    layer.inert = true;
    layer.innerHTML = told.overlay;
    told.things.forEach((thing, i) => {
      if (kept(thing)) return;
      layer.querySelectorAll(`[data-index="${i}"], [data-shape="${i}"]`).forEach(n => n.remove());
    });
  }
  make('strong', '', card.name, node);
  make('span', 'fd-tile-said', said(card, told), node);
  return node;
};
const draw = fresh => {
  if (fresh) { drawn.forEach(n => n.remove()); drawn.clear(); }
  const {columns, height} = layout();
  const lines = Math.ceil(shown.length / columns);
  space.style.height = `${lines * height}px`;
  scroll.style.height = `min(${lines * height}px, 68vh, 760px)`;
  const first = Math.max(0, Math.floor(scroll.scrollTop / height) - 1);
  const last = Math.min(lines, Math.ceil((scroll.scrollTop + scroll.clientHeight) / height) + 1);
  const wanted = new Set();
  for (let at = first * columns; at < Math.min(shown.length, last * columns); at += 1) {
    const index = shown[at];
    wanted.add(index);
    let node = drawn.get(index);
    if (!node) {
      node = cell(index);
      space.append(node);
      drawn.set(index, node);
    }
    node.style.top = `${Math.floor(at / columns) * height}px`;
    node.style.left = `${(at % columns) * 100 / columns}%`;
    node.style.width = `calc(${100 / columns}% - 12px)`;
    node.style.height = `${height - 12}px`;
  }
  drawn.forEach((node, index) => {
    if (wanted.has(index)) return;
    node.remove();
    drawn.delete(index);
  });
};
const chips = () => {
  const counts = new Map();
  cards.forEach(card => new Set(answer(card).things.map(([label]) => label)).forEach(label => {
    if (label) counts.set(label, {label, count: (counts.get(label)?.count || 0) + 1});
  }));
  names.hidden = !counts.size;
  names.replaceChildren(...nameChips(counts, off, 24));
  find('.fd-gallery-slider').hidden = !cards.some(c => answer(c).things.some(t => t[1] != null));
};
const count = () => {
  const n = cards.length;
  const said = shown.length === n ? fd.say('{n} pictures', {n})
    : fd.say('{shown} of {n} pictures', {shown: shown.length, n});
  const whole = off.size || Number(sure.value) ? fd.say('A download holds all answers.') : '';
  find('.fd-gallery-count').textContent = [said, whole].filter(Boolean).join(' · ');
};
const filter = () => {
  shown = cards.map((_, i) => i).filter(i => passes(cards[i]));
  count();
  find('.fd-gallery-level').textContent = fd.number(sure.value / 100, {style: 'percent'});
  draw(true);
};
const choices = () => {
  which.parentElement.hidden = tasks.length < 2;
  which.replaceChildren(...tasks.map((title, i) => {
    const option = make('option', '', fd.say(title));
    option.value = i;
    return option;
  }));
};

const sync = () => {
  const value = props.value || {};
  if (value.job !== job) {
    job = value.job || null;
    cards = [];
    off = new Set();
    task = 0;
    tasks = value.tasks || [];
    scroll.scrollTop = 0;
    choices();
  }
  box.hidden = !job;
  const news = value.cards || [];
  if (value.from === cards.length && news.length) {
    cards.push(...news);
    // Those that came after what is in sight change nothing that is drawn.
    news.forEach((card, i) => { if (passes(card)) shown.push(cards.length - news.length + i); });
    chips();
    count();
    draw(false);
  } else if (!cards.length) {
    shown = [];
    chips();
    draw(true);
  }
};
element.addEventListener('click', event => {
  const chip = event.target.closest('.fd-name');
  if (chip) {
    pressName(chip, chip.dataset.name, off);
    filter();
    return;
  }
  if (event.target.closest('.fd-gallery-table')) {
    asTable = !asTable;
    event.target.closest('button').setAttribute('aria-pressed', String(asTable));
    draw(true);
    return;
  }
  const tile = event.target.closest('.fd-tile');
  if (tile) trigger('pick', {index: Number(tile.dataset.card), task});
});
element.addEventListener('input', event => {
  if (event.target === which) { task = Number(which.value); off = new Set(); chips(); }
  if (event.target.closest('.fd-gallery-tools')) filter();
});
let waiting = false;
scroll.addEventListener('scroll', () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(false); });
}, {passive: true});
new ResizeObserver(() => draw(true)).observe(scroll);
watch('value', sync);
document.addEventListener('fd-language', () => { choices(); filter(); });
sync();
filter();
