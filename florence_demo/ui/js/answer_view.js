// Values are written as text; only the overlay is markup, escaped where it was made. The picture
// stands on the canvas: what is to be drawn there, and what is looked at, is told by events.
const uid = '__UID__';
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
const tell = (index, on) => document.dispatchEvent(
  new CustomEvent('fd-look', {detail: {uid, index, on, from: 'answer'}}));
[['mouseover', true], ['focusin', true], ['mouseout', false], ['focusout', false]].forEach(([kind, on]) =>
  element.addEventListener(kind, event => {
    const node = event.target.closest('[data-index]');
    if (!node) return;
    light(node.dataset.index, on);
    tell(node.dataset.index, on);
  }));
document.addEventListener('fd-look', ({detail}) => {
  if (detail.uid !== uid || detail.from === 'answer') return;
  light(detail.index, detail.on);
  if (detail.chosen) {
    element.querySelector(`tr[data-index="${detail.index}"]`)?.scrollIntoView({block: 'nearest'});
  }
});
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
let last = {};
const sync = () => {
  const value = props.value || {};
  if (value.asked < last.asked) {
    props.value = last;
    return;
  }
  if (value.asked) last = value;
  find('.fd-question').textContent = value.question || '';
  find('.fd-question').hidden = !value.question;
  const detail = {uid, overlay: value.overlay || ''};
  document.dispatchEvent(new CustomEvent('fd-overlay', {detail}));
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
  if (value.meta && !value.busy) comeIntoView(Boolean(value.overlay));
};
// On a small screen an answer could come where nobody looks: what was found, or the words.
const comeIntoView = drawn => {
  if (window.innerWidth > 640) return;
  const canvas = [...document.querySelectorAll('.fd-canvas')].find(c => c.offsetParent);
  const target = drawn && canvas ? canvas : element;
  const {top, bottom} = target.getBoundingClientRect();
  if (top >= 0 && bottom <= window.innerHeight) return;
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  target.scrollIntoView({block: 'start', behavior: calm ? 'auto' : 'smooth'});
};
watch('value', sync);
sync();
