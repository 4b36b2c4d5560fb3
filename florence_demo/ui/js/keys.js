// One stop of the Tab key for a row of buttons, the arrow keys within: data-keys names them by a
// selector. Others are known by their place: gradio's tabs, where a picture comes from, and what is
// found in a picture.
(() => {
  const KNOWN = {'[role=tablist]': '[role=tab]', '[data-testid=source-select]': 'button',
    '.fd-tools': 'button', '.fd-layer': '.fd-item[data-index]'};
  const ROWS = ['[data-keys]', ...Object.keys(KNOWN)].join();
  const STEPS = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1};
  const selector = row => row.dataset.keys
    || KNOWN[Object.keys(KNOWN).find(each => row.matches(each))];
  const items = row => [...row.querySelectorAll(selector(row))].filter(each => each.offsetParent);
  const settle = row => {
    const all = items(row);
    const at = all.find(each => each.getAttribute('aria-selected') === 'true')
      || all.find(each => each.getAttribute('tabindex') === '0') || all[0];
    all.forEach(each => { each.tabIndex = each === at ? 0 : -1; });
  };
  document.addEventListener('keydown', event => {
    const row = event.target.closest(ROWS);
    const all = row ? items(row) : [];
    const from = all.indexOf(event.target);
    if (from < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = event.key === 'Home' ? 0 : event.key === 'End' ? all.length - 1
      : event.key in STEPS ? (from + STEPS[event.key] + all.length) % all.length : -1;
    if (to < 0) return;
    event.preventDefault();
    all.forEach((each, i) => { each.tabIndex = i === to ? 0 : -1; });
    all[to].focus();
    if (row.getAttribute('role') === 'tablist') all[to].click();
  });
  let planned = false;
  new MutationObserver(() => {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      document.querySelectorAll(ROWS).forEach(settle);
    });
  }).observe(document.documentElement, {
    childList: true, subtree: true, attributes: true, attributeFilter: ['aria-selected', 'hidden'],
  });
})();
