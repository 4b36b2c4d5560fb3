// Drag a box on the picture. The box is kept in pixels of the original picture.
const root = element.querySelector('.fd-picker');
const stage = element.querySelector('.fd-stage');
const image = element.querySelector('img');
const mark = element.querySelector('.fd-box');
const hint = element.querySelector('.fd-hint');
let start = null;
const size = () => (props.value && props.value.size) || [image.naturalWidth, image.naturalHeight];
const draw = box => {
  mark.hidden = !box;
  if (box) {
    const [w, h] = size();
    mark.style.left = `${box[0] / w * 100}%`;
    mark.style.top = `${box[1] / h * 100}%`;
    mark.style.width = `${(box[2] - box[0]) / w * 100}%`;
    mark.style.height = `${(box[3] - box[1]) / h * 100}%`;
  }
  hint.textContent = box
    ? `Region ${box.map(v => Math.round(v)).join(', ')}. Drag again to change it; Esc removes it.`
    : 'Drag a box around the thing you mean, or press an arrow key.';
};
const set = box => { props.value = {...props.value, box}; draw(box); trigger('input'); };
const point = event => {
  const r = image.getBoundingClientRect();
  const [w, h] = size();
  const clamp = v => Math.min(1, Math.max(0, v));
  return [clamp((event.clientX - r.left) / r.width) * w, clamp((event.clientY - r.top) / r.height) * h];
};
const between = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]),
  Math.max(a[0], b[0]), Math.max(a[1], b[1])];
element.addEventListener('pointerdown', event => {
  if (!event.target.closest('.fd-stage') || event.button > 0) return;
  event.preventDefault();
  stage.focus({preventScroll: true});
  stage.setPointerCapture(event.pointerId);
  start = point(event);
});
element.addEventListener('pointermove', event => { if (start) draw(between(start, point(event))); });
element.addEventListener('pointerup', event => {
  if (!start) return;
  const box = between(start, point(event));
  start = null;
  const [w, h] = size();
  // A click without a drag leaves the box as it was.
  if (box[2] - box[0] < w * 0.005 || box[3] - box[1] < h * 0.005) draw(props.value.box);
  else set(box);
});
element.addEventListener('pointercancel', () => { start = null; draw(props.value && props.value.box); });
element.addEventListener('keydown', event => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (event.key === 'Escape') { set(null); return; }
  if (!step) return;
  event.preventDefault();
  const [w, h] = size();
  const dx = step[0] * w * 0.01;
  const dy = step[1] * h * 0.01;
  let box = (props.value && props.value.box) || [w / 4, h / 4, w * 3 / 4, h * 3 / 4];
  if (event.shiftKey) {
    box = [box[0], box[1], Math.min(w, Math.max(box[0] + w * 0.01, box[2] + dx)),
      Math.min(h, Math.max(box[1] + h * 0.01, box[3] + dy))];
  } else {
    const mx = Math.min(w - box[2], Math.max(-box[0], dx));
    const my = Math.min(h - box[3], Math.max(-box[1], dy));
    box = [box[0] + mx, box[1] + my, box[2] + mx, box[3] + my];
  }
  set(box);
});
const sync = () => {
  const value = props.value || {};
  root.hidden = !value.picture;
  if (value.picture && image.getAttribute('src') !== value.picture.url) image.src = value.picture.url;
  draw(value.box);
};
watch('value', sync);
sync();
