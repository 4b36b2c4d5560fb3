// The picture as one looks at it: how large, which part, and where a pointer is on it. Places are
// in pixels of the original picture. The four scripts of the canvas are one, in this order: view,
// boxes, things, and what pointers and keys do with them.
const uid = '__UID__';
const find = name => element.querySelector(name);
const root = find('.fd-canvas');
const view = find('.fd-view');
const stage = find('.fd-stage');
const image = find('.fd-stage img');
const hint = find('.fd-hint');
let zoom = {scale: 1, x: 0, y: 0};

const value = () => props.value || {};
const size = () => value().size || [image.naturalWidth || 1, image.naturalHeight || 1];
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const button = (name, text, label, parent) => {
  const node = make('button', name, text, parent);
  node.type = 'button';
  if (label) node.setAttribute('aria-label', label);
  return node;
};
const point = event => {
  const r = image.getBoundingClientRect();
  const [w, h] = size();
  return [clamp((event.clientX - r.left) / r.width, 0, 1) * w,
    clamp((event.clientY - r.top) / r.height, 0, 1) * h];
};
const between = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]),
  Math.max(a[0], b[0]), Math.max(a[1], b[1])];

const place = () => {
  const w = stage.offsetWidth;
  const h = stage.offsetHeight;
  zoom.x = clamp(zoom.x, w * (1 - zoom.scale), 0);
  zoom.y = clamp(zoom.y, h * (1 - zoom.scale), 0);
  stage.style.transform = zoom.scale === 1
    ? '' : `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
  placeMenu();
};
// What has the same size at any zoom follows the scale; a move alone must not touch it, since every
// drawn thing would be styled anew.
const scaled = () => {
  place();
  boxLayer.style.setProperty('--zoom', zoom.scale);
  stage.classList.toggle('fd-zoomed', zoom.scale > 1);
  find('[data-zoom=fit]').hidden = zoom.scale === 1;
};
const zoomTo = (scale, clientX, clientY) => {
  const r = view.getBoundingClientRect();
  const left = stage.offsetLeft;
  const top = stage.offsetTop;
  const x = (clientX == null ? r.left + r.width / 2 : clientX) - r.left - left;
  const y = (clientY == null ? r.top + r.height / 2 : clientY) - r.top - top;
  const next = clamp(scale, 1, 12);
  zoom.x = x - (x - zoom.x) * next / zoom.scale;
  zoom.y = y - (y - zoom.y) * next / zoom.scale;
  zoom.scale = next;
  scaled();
};
const fit = () => { zoom = {scale: 1, x: 0, y: 0}; scaled(); };
// Where a box of the picture lies, in pixels of the canvas.
const onCanvas = ([x1, y1, x2, y2]) => {
  const [w, h] = size();
  const across = x => view.offsetLeft + view.clientLeft + stage.offsetLeft + zoom.x
    + x / w * stage.offsetWidth * zoom.scale;
  const down = y => view.offsetTop + view.clientTop + stage.offsetTop + zoom.y
    + y / h * stage.offsetHeight * zoom.scale;
  return {left: across(x1), top: down(y1), right: across(x2), bottom: down(y2)};
};
// Bring a box of a zoomed picture into sight.
const look = box => {
  if (zoom.scale === 1) return;
  const at = onCanvas(box);
  const [right, bottom] = [view.offsetLeft + view.clientWidth, view.offsetTop + view.clientHeight];
  const inside = at.left >= view.offsetLeft && at.right <= right
    && at.top >= view.offsetTop && at.bottom <= bottom;
  if (inside) return;
  zoom.x += (view.offsetLeft + right - at.left - at.right) / 2;
  zoom.y += (view.offsetTop + bottom - at.top - at.bottom) / 2;
  place();
};
view.addEventListener('wheel', event => {
  // A plain turn of the wheel scrolls the page, until the picture is zoomed.
  if (!event.ctrlKey && zoom.scale === 1) return;
  event.preventDefault();
  zoomTo(zoom.scale * Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.clientX, event.clientY);
}, {passive: false});
