// The address of the page: after the #, the tab that is open, and what was asked there last. None
// of it goes to the server with the page. A link opens its tab and sets its question; Back goes
// back to the tab before.
const tabs = __TABS__;
const usual = __USUAL__;  // values that need not stand in a link
const parts = () => {
  const [tab, query = ''] = location.hash.slice(1).split(/\?(.*)/s);
  return {tab: tabs.includes(tab) ? tab : tabs[0], query};
};
let shown = parts().tab;
let asked = parts().query;
let going = null;  // where the address leads, until that tab is open
const address = () => {
  const query = shown === tabs[0] && asked ? `?${asked}` : '';
  return `${location.pathname}${location.search}#${shown}${query}`;
};
const panel = name => document.getElementById(`fd-tab-${name}`);
const go = () => {
  shown = parts().tab;
  going = open() === shown ? null : shown;
  if (!going) return;
  props.value = going;
  // A narrow page keeps some of the buttons in a menu.
  const button = document.getElementById(`fd-tab-${going}-button`);
  button ? button.click() : trigger('go');
};
const open = () => tabs.find(name => panel(name) && panel(name).style.display !== 'none');
const follow = () => {
  const now = open();
  if (going && now === going) going = null;
  if (going || !now || now === shown) return;
  shown = now;
  history.pushState(null, '', address());
};
const remember = event => {
  const unusual = Object.entries(event.detail).filter(
    ([name, value]) => value !== null && value !== '' && value !== usual[name]);
  const written = unusual.map(([name, value]) => [name, value === true ? 1 : value || 0]);
  asked = new URLSearchParams(written).toString();
  history.replaceState(null, '', address());
};
// A page that was drawn anew left its listeners behind.
window.fdAddress?.abort();
window.fdAddress = new AbortController();
const {signal} = window.fdAddress;
window.addEventListener('popstate', go, {signal});
document.addEventListener('fd-asked', remember, {signal});
const watcher = new MutationObserver(follow);
signal.addEventListener('abort', () => watcher.disconnect());
watcher.observe(document.body, {subtree: true, attributes: true, attributeFilter: ['style']});
go();
// What a page that is loaded anew had is brought back as it was, with what was not asked yet.
if (asked && performance.getEntriesByType('navigation')[0]?.type === 'navigate') {
  const query = Object.fromEntries(new URLSearchParams(asked));
  setTimeout(() => trigger('linked', {query}));
}
