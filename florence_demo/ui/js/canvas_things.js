// -- What an answer draws: which of it is looked at, which is picked, and what is asked about that.
// The overlay is markup, escaped where it was made; words are written as text.
const [before, layer] = element.querySelectorAll('.fd-layer');
const menu = find('.fd-menu');
let drawn = {rows: []};      // the answer that is drawn: overlay, rows, task, pieces
let behind = null;           // the answer whose thing was asked about: it stays, to point at more
let picked = null;           // {index, from}: the thing that is picked, of which answer
let gone = new Set();        // what is filtered away
let asked = false;           // whether what is being answered was asked about a thing

const nodes = (from, index) => from.querySelectorAll(`[data-index="${index}"]`);
const light = (from, index, name, on) => nodes(from, index).forEach(n => n.classList.toggle(name, on));
const tell = (kind, detail) => document.dispatchEvent(
  new CustomEvent(kind, {detail: {uid, from: 'canvas', ...detail}}));
const answerOf = node => (before.contains(node) ? behind : drawn);
const layerOf = answer => (answer === behind ? before : layer);
const hide = () => {
  layer.querySelectorAll('[data-index], [data-shape]').forEach(node => {
    node.toggleAttribute('hidden', gone.has(Number(node.dataset.index || node.dataset.shape)));
  });
  if (picked && picked.of === drawn && gone.has(picked.index)) unpick();
};

// -- the menu of what can be asked
const placeMenu = () => {
  if (menu.hidden || !picked) return;
  const at = onCanvas(picked.of.rows[picked.index].box);
  const [wide, high] = [menu.offsetWidth, menu.offsetHeight];
  const [low, top] = [view.offsetTop + view.offsetHeight, view.offsetTop];
  const below = at.bottom + 6 + high <= low;
  const y = below ? at.bottom + 6 : at.top - 6 - high >= top ? at.top - 6 - high : low - high - 8;
  menu.style.left = `${clamp((at.left + at.right - wide) / 2, 4, Math.max(4, root.clientWidth - wide - 4))}px`;
  menu.style.top = `${clamp(y, top, Math.max(top, low - high - 8))}px`;
};
const unpick = () => {
  if (!picked) return;
  light(layerOf(picked.of), picked.index, 'fd-picked', false);
  if (picked.of === drawn) tell('fd-pick', {index: null});
  picked = null;
  menu.hidden = true;
};
const pick = (of, index, keys, from) => {
  const row = of && of.rows[index];
  if (!row) return;
  unpick();
  picked = {of, index, from};
  light(layerOf(of), index, 'fd-picked', true);
  if (of === drawn) tell('fd-pick', {index});
  look(row.box);
  const sure = of.calibrated && row.sure != null;
  const what = (row.label || row.asked || fd.say('Number {n}', {n: index + 1}))
    + (sure ? `, ${howSure(row.sure)}` : '');
  menu.querySelector('b').textContent = what;
  menu.querySelector('b').title = sure ? exactly(row.sure) : '';
  menu.setAttribute('aria-label', fd.say('Ask about {what}', {what}));
  // What was said about a box is not asked again about the same one.
  menu.querySelectorAll('[data-task]').forEach(b => { b.hidden = b.dataset.task === of.task; });
  menu.hidden = false;
  placeMenu();
  if (keys) menu.querySelector('button:not([hidden])').focus({preventScroll: true});
};
const closeMenu = () => {
  const inside = menu.contains(document.activeElement);
  const {of, index, from} = picked || {};
  unpick();
  if (!inside || !of) return;
  if (from === 'answer') tell('fd-back', {index});
  else layerOf(of).querySelector(`.fd-item[data-index="${index}"]`)?.focus({preventScroll: true});
};
const pointAt = task => {
  const {of, index} = picked;
  const {box} = of.rows[index];
  if (of === drawn) {
    behind = drawn;
    before.innerHTML = '';
    before.append(...[...layer.children].map(n => n.cloneNode(true)));
    before.querySelectorAll('.fd-on, .fd-picked').forEach(n => n.classList.remove('fd-on', 'fd-picked'));
    picked = {...picked, of: behind};
    drawn = {rows: []};
  }
  closeMenu();
  asked = true;
  stage.focus({preventScroll: true});
  props.value = {...value(), pointed: {task, box}};
  trigger('point');
};

[['mouseover', true], ['focusin', true], ['mouseout', false], ['focusout', false]].forEach(([kind, on]) =>
  element.addEventListener(kind, event => {
    const node = event.target.closest('[data-index]');
    if (!node) return;
    light(before.contains(node) ? before : layer, node.dataset.index, 'fd-on', on);
    if (layer.contains(node)) tell('fd-look', {index: node.dataset.index, on});
  }));
document.addEventListener('fd-look', ({detail}) => {
  if (detail.uid === uid && detail.from !== 'canvas') light(layer, detail.index, 'fd-on', detail.on);
});
document.addEventListener('fd-pick', ({detail}) => {
  if (detail.uid !== uid || detail.from === 'canvas') return;
  pick(drawn, Number(detail.index), detail.keys, 'answer');
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  if (picked) view.scrollIntoView({block: 'nearest', behavior: calm ? 'auto' : 'smooth'});
});
document.addEventListener('fd-keep', ({detail}) => {
  if (detail.uid !== uid) return;
  gone = new Set(detail.gone);
  hide();
});
document.addEventListener('fd-language', () => nameThings(layer, drawn.rows));
document.addEventListener('fd-overlay', ({detail}) => {
  if (detail.uid !== uid) return;
  unpick();
  drawn = {rows: [], ...detail};
  gone = new Set();
  layer.innerHTML = detail.overlay;
  nameThings(layer, drawn.rows);
  layer.querySelectorAll('.fd-item').forEach(node => node.setAttribute('role', 'button'));
  // What was pointed at stays until something else is asked.
  if (!asked) { behind = null; before.innerHTML = ''; }
  if (!detail.busy) asked = false;
});

// -- text that was read: what is selected is copied line by line, as one reads it
document.addEventListener('copy', event => {
  const selection = document.getSelection();
  if (!element.isConnected || selection.isCollapsed || !layer.contains(selection.anchorNode)) return;
  const range = selection.getRangeAt(0);
  const texts = new Map();
  layer.querySelectorAll('.fd-text').forEach(node => {
    if (!range.intersectsNode(node) || node.closest('[hidden]')) return;
    const part = range.cloneRange();
    if (!node.contains(range.startContainer)) part.setStart(node, 0);
    if (!node.contains(range.endContainer)) part.setEnd(node, node.childNodes.length);
    texts.set(Number(node.closest('[data-index]').dataset.index), part.toString());
  });
  if (!texts.size) return;
  event.preventDefault();
  event.clipboardData.setData('text/plain', joined(drawn.pieces || [], i => texts.get(i)));
});
