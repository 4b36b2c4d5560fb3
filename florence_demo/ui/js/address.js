// The tab that is open stands in the address: a link opens it, Back goes back to the one before.
const tabs = __TABS__;
const named = () => {
  const name = location.hash.slice(1);
  return tabs.includes(name) ? name : tabs[0];
};
let shown = named();
let going = null;  // where the address leads, until that tab is open
const go = () => {
  going = shown = named();
  props.value = shown;
  trigger('go');
};
const follow = event => {
  if (going) {
    // What opened before comes late; the page opens its first tab whatever the address.
    if (event.detail === going) going = null;
  } else if (event.detail !== shown) {
    shown = event.detail;
    history.pushState(null, '', `${location.pathname}${location.search}#${shown}`);
  }
};
// A page that was drawn anew left its listeners behind.
window.fdAddress?.abort();
window.fdAddress = new AbortController();
const {signal} = window.fdAddress;
window.addEventListener('popstate', go, {signal});
document.addEventListener('fd-tab', follow, {signal});
if (shown !== tabs[0]) {
  going = shown;
  setTimeout(go);
}
