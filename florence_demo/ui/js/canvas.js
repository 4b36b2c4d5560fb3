// One canvas: the picture as the server read it, the answer drawn on it, and a box dragged on it.
// Places are in pixels of the original picture. The overlay is markup, escaped where it was made.
const uid = '__UID__';
const find = name => element.querySelector(name);
const root = find('.fd-canvas');
const view = find('.fd-view');
const stage = find('.fd-stage');
const image = find('.fd-stage img');
const layer = find('.fd-layer');
const mark = find('.fd-box');
const hint = find('.fd-hint');
const fingers = new Map();
let start = null;      // where a box began, in pixels of the picture
let moving = null;     // where a drag of the zoomed picture began
let pinch = null;      // distance and scale when two fingers came down
let zoom = {scale: 1, x: 0, y: 0};

const value = () => props.value || {};
const size = () => value().size || [image.naturalWidth || 1, image.naturalHeight || 1];
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

// -- the box
const draw = box => {
  mark.hidden = !box;
  if (box) {
    const [w, h] = size();
    mark.style.left = `${box[0] / w * 100}%`;
    mark.style.top = `${box[1] / h * 100}%`;
    mark.style.width = `${(box[2] - box[0]) / w * 100}%`;
    mark.style.height = `${(box[3] - box[1]) / h * 100}%`;
  }
  hint.hidden = !value().draw;
  hint.textContent = box
    ? `Region ${box.map(v => Math.round(v)).join(', ')}. Drag again to change it; Esc removes it.`
    : 'Drag a box around the thing you mean, or press an arrow key.';
};
const set = box => { props.value = {...value(), box}; draw(box); trigger('input'); };
const point = event => {
  const r = image.getBoundingClientRect();
  const [w, h] = size();
  return [clamp((event.clientX - r.left) / r.width, 0, 1) * w,
    clamp((event.clientY - r.top) / r.height, 0, 1) * h];
};
const between = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]),
  Math.max(a[0], b[0]), Math.max(a[1], b[1])];

// -- zoom and pan
const place = () => {
  const w = stage.offsetWidth;
  const h = stage.offsetHeight;
  zoom.x = clamp(zoom.x, w * (1 - zoom.scale), 0);
  zoom.y = clamp(zoom.y, h * (1 - zoom.scale), 0);
  stage.style.transform = zoom.scale === 1
    ? '' : `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
  stage.style.setProperty('--zoom', zoom.scale);
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
  place();
};
const fit = () => { zoom = {scale: 1, x: 0, y: 0}; place(); };
view.addEventListener('wheel', event => {
  // A plain turn of the wheel scrolls the page, until the picture is zoomed.
  if (!event.ctrlKey && zoom.scale === 1) return;
  event.preventDefault();
  zoomTo(zoom.scale * Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.clientX, event.clientY);
}, {passive: false});
element.addEventListener('dblclick', event => { if (event.target.closest('.fd-view')) fit(); });

// -- pointers: one draws or moves, two zoom
const spread = () => {
  const [a, b] = [...fingers.values()];
  return {d: Math.hypot(a.x - b.x, a.y - b.y) || 1, x: (a.x + b.x) / 2, y: (a.y + b.y) / 2};
};
element.addEventListener('pointerdown', event => {
  if (!event.target.closest('.fd-stage') || event.button > 0) return;
  fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
  if (fingers.size === 2) {
    start = moving = null;
    draw(value().box);
    pinch = {...spread(), scale: zoom.scale};
    return;
  }
  if (value().draw) {
    event.preventDefault();
    stage.focus({preventScroll: true});
    stage.setPointerCapture(event.pointerId);
    start = point(event);
  } else if (zoom.scale > 1) {
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    moving = {x: event.clientX - zoom.x, y: event.clientY - zoom.y};
  }
});
element.addEventListener('pointermove', event => {
  if (!fingers.has(event.pointerId)) return;
  fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
  if (pinch && fingers.size === 2) {
    const now = spread();
    zoomTo(pinch.scale * now.d / pinch.d, now.x, now.y);
  } else if (start) {
    draw(between(start, point(event)));
  } else if (moving) {
    zoom.x = event.clientX - moving.x;
    zoom.y = event.clientY - moving.y;
    place();
  }
});
const lift = event => {
  fingers.delete(event.pointerId);
  if (fingers.size < 2) pinch = null;
  moving = null;
};
element.addEventListener('pointerup', event => {
  lift(event);
  if (!start) return;
  const box = between(start, point(event));
  start = null;
  const [w, h] = size();
  // A click without a drag leaves the box as it was.
  if (box[2] - box[0] < w * 0.005 || box[3] - box[1] < h * 0.005) draw(value().box);
  else set(box);
});
element.addEventListener('pointercancel', event => { lift(event); start = null; draw(value().box); });

// -- keys
element.addEventListener('keydown', event => {
  if (event.target !== stage) return;
  if (event.key === '+' || event.key === '-') {
    event.preventDefault();
    zoomTo(zoom.scale * (event.key === '+' ? 1.5 : 1 / 1.5));
    return;
  }
  if (event.key === '0') { fit(); return; }
  if (!value().draw) return;
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (event.key === 'Escape') { set(null); return; }
  if (!step) return;
  event.preventDefault();
  const [w, h] = size();
  const dx = step[0] * w * 0.01;
  const dy = step[1] * h * 0.01;
  let box = value().box || [w / 4, h / 4, w * 3 / 4, h * 3 / 4];
  if (event.shiftKey) {
    box = [box[0], box[1], clamp(box[2] + dx, box[0] + w * 0.01, w), clamp(box[3] + dy, box[1] + h * 0.01, h)];
  } else {
    const mx = clamp(dx, -box[0], w - box[2]);
    const my = clamp(dy, -box[1], h - box[3]);
    box = [box[0] + mx, box[1] + my, box[2] + mx, box[3] + my];
  }
  set(box);
});

// -- another picture: dropped, pasted, or the way back to the upload
const bring = async file => {
  if (!file || !file.type.startsWith('image/')) return;
  hint.hidden = false;
  hint.textContent = `Reading ${file.name || 'the picture'} …`;
  const {path, url} = await upload(file);
  props.value = {...value(), brought: {path, url, orig_name: file.name, meta: {_type: 'gradio.FileData'}}};
  trigger('bring');
};
element.addEventListener('dragover', event => { event.preventDefault(); root.classList.add('fd-over'); });
element.addEventListener('dragleave', () => root.classList.remove('fd-over'));
element.addEventListener('drop', event => {
  event.preventDefault();
  root.classList.remove('fd-over');
  bring(event.dataTransfer.files[0]);
});
document.addEventListener('paste', event => {
  if (!element.isConnected || !root.offsetParent) return;
  const file = [...(event.clipboardData?.files || [])].find(f => f.type.startsWith('image/'));
  if (file) { event.preventDefault(); bring(file); }
});
element.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.zoom === 'in') zoomTo(zoom.scale * 1.5);
  if (button.dataset.zoom === 'out') zoomTo(zoom.scale / 1.5);
  if (button.dataset.zoom === 'fit') fit();
  if (button.dataset.zoom === 'away') trigger('away');
});

// -- what the answer draws, and which of it is looked at
const light = (index, on) => layer.querySelectorAll(`[data-index="${index}"]`)
  .forEach(n => n.classList.toggle('fd-on', on));
const tell = (index, on, chosen) => document.dispatchEvent(
  new CustomEvent('fd-look', {detail: {uid, index, on, chosen, from: 'canvas'}}));
[['mouseover', true], ['focusin', true], ['mouseout', false], ['focusout', false]].forEach(([kind, on]) =>
  element.addEventListener(kind, event => {
    const node = event.target.closest('[data-index]');
    if (!node) return;
    light(node.dataset.index, on);
    tell(node.dataset.index, on, false);
  }));
element.addEventListener('click', event => {
  const node = event.target.closest('[data-index]');
  if (node) tell(node.dataset.index, true, true);
});
document.addEventListener('fd-look', ({detail}) => {
  if (detail.uid === uid && detail.from !== 'canvas') light(detail.index, detail.on);
});
document.addEventListener('fd-overlay', ({detail}) => {
  if (detail.uid === uid) layer.innerHTML = detail.overlay;
});

let shown = null;
const sync = () => {
  const now = value();
  root.hidden = !now.picture;
  if (now.picture && image.getAttribute('src') !== now.picture.url) image.src = now.picture.url;
  const fresh = now.picture ? now.picture.url : null;
  if (fresh !== shown) { shown = fresh; fit(); }
  stage.classList.toggle('fd-draws', Boolean(now.draw));
  // A box that was dragged is the question; where none can be, it is not shown.
  draw(now.draw ? now.box : null);
};
watch('value', sync);
sync();
