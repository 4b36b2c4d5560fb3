// HTML of ours about runs, made anew as they go on: what is pressed, what stays open, where one is.
const KEYS = '[data-run]';
const same = (one, other) => one.dataset.run === other.dataset.run
  && one.dataset.sample === other.dataset.sample;
const opened = new Set();
let last = null;  // where the focus was

element.addEventListener('click', event => {
  const at = event.target.closest(KEYS);
  if (!at) return;
  const {run, sample} = at.dataset;
  trigger('pick', {run, sample: sample === undefined ? null : Number(sample)});
});
element.addEventListener('focusin', event => { last = event.target.closest(KEYS); });
element.addEventListener('focusout', event => { if (event.relatedTarget) last = null; });
// It does not bubble.
element.addEventListener('toggle', event => {
  const name = event.target.dataset && event.target.dataset.keep;
  if (name && event.target.isConnected) opened[event.target.open ? 'add' : 'delete'](name);
}, true);
new MutationObserver(() => {
  element.querySelectorAll('details[data-keep]').forEach(node => {
    if (opened.has(node.dataset.keep) && !node.open) node.open = true;
  });
  if (last && !last.isConnected && document.activeElement === document.body) {
    [...element.querySelectorAll(KEYS)].find(node => same(node, last))?.focus({preventScroll: true});
  }
}).observe(element, {childList: true, subtree: true});
