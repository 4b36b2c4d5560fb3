// What of the answer on the canvas is kept: how sure, of which names, each once. All of it acts here
// at once; the value tells the server what a download leaves out, by numbers alone.
const uid = '__UID__';
const find = name => element.querySelector(name);
const root = find('.fd-holding');
const sure = find('.fd-sure');
const merge = find('.fd-merge');
const names = find('.fd-names');
const MERGE = 'Merge overlapping boxes of one name (IoU {iou} or more): {n} less';
let fewer = 0;         // boxes that merging takes away
let rows = [];
let off = new Set();   // names that are off, each by the index of its first thing

const keep = () => {
  const least = Number(sure.value);
  const gone = [];
  rows.forEach((row, i) => {
    const stay = stays(row.name, row.sure, off, least) && !(merge.checked && row.into != null);
    if (!stay) gone.push(i);
  });
  find('.fd-least').textContent = `${least} %`;
  sure.setAttribute('aria-valuetext', fd.say('{n} percent', {n: least}));
  find('.fd-kept-count').textContent = gone.length
    ? fd.say('{shown} of {n} shown, and taken home', {shown: rows.length - gone.length, n: rows.length}) : '';
  find('.fd-holding [data-all]').hidden = !gone.length;
  props.value = gone.length ? {least, off: [...off], merge: merge.checked, of: rows.length} : {};
  document.dispatchEvent(new CustomEvent('fd-keep', {detail: {uid, gone}}));
};
const label = () => {
  find('.fd-merging span').textContent = fd.say(MERGE, {n: fewer, iou: fd.number(__IOU__)});
};
const begin = detail => {
  rows = detail.rows || [];
  off = new Set();
  sure.value = 0;
  merge.checked = false;
  const counts = new Map();
  rows.forEach(({name, label}) => {
    if (name != null) counts.set(name, {label, count: (counts.get(name)?.count || 0) + 1});
  });
  names.replaceChildren(...(counts.size > 1 ? nameChips(counts, off, 24) : []));
  names.hidden = counts.size < 2;
  const scored = rows.length > 1 && rows.some(row => row.sure != null);
  find('.fd-slider').hidden = !scored;
  find('.fd-only-compares').hidden = !scored || detail.calibrated;
  fewer = rows.filter(row => row.into != null).length;
  find('.fd-merging').hidden = !fewer;
  label();
  root.hidden = counts.size < 2 && !scored && !fewer;
  find('.fd-kept-count').textContent = '';
  find('.fd-least').textContent = '0 %';
  find('.fd-holding [data-all]').hidden = true;
  if (Object.keys(props.value || {}).length) props.value = {};
};
element.addEventListener('input', keep);
element.addEventListener('click', event => {
  const chip = event.target.closest('.fd-name');
  if (chip) {
    pressName(chip, Number(chip.dataset.name), off);
    keep();
  }
  if (event.target.closest('[data-all]')) {
    off = new Set();
    sure.value = 0;
    merge.checked = false;
    names.querySelectorAll('.fd-name').forEach(n => n.setAttribute('aria-pressed', 'true'));
    keep();
    (root.querySelector('input:not([type=checkbox])') || names).focus();
  }
});
document.addEventListener('fd-overlay', ({detail}) => { if (detail.uid === uid) begin(detail); });
document.addEventListener('fd-language', () => {
  label();
  if (!root.hidden) keep();
});
