// -- Pointers: one draws, moves, resizes or pans, two move and zoom; what did not move is a click.
const fingers = new Map();
let drag = null;       // what the pointer that is down does
let pinch = null;      // distance and scale when two fingers came down, and where they are
let pressed = null;    // what a pointer went down and up on

const spread = () => {
  const [a, b] = [...fingers.values()];
  return {d: Math.hypot(a.x - b.x, a.y - b.y) || 1, x: (a.x + b.x) / 2, y: (a.y + b.y) / 2};
};
const begun = event => {
  const frame = event.target.closest('.fd-frame');
  const index = frame ? Number(frame.dataset.box) : -1;
  const corner = event.target.dataset.corner;
  if (frame && index === chosen) return {kind: corner ? 'resize' : 'move', index, corner};
  if (value().draw) return {kind: 'new'};
  // Text is selected by the browser; beside it the zoomed picture is moved.
  if (event.target.closest('.fd-text')) return {kind: 'select'};
  return {kind: zoom.scale > 1 ? 'pan' : 'click'};
};
const changed = event => {
  const to = point(event);
  if (drag.kind === 'new') return between(drag.from, to);
  if (drag.kind === 'move') return movedBox(drag.box, to[0] - drag.from[0], to[1] - drag.from[1]);
  return resizedBox(drag.box, drag.corner, to);
};
const endDrag = () => {
  stage.classList.remove('fd-panning');
  drag = null;
  drawBoxes(boxes());
};
element.addEventListener('pointerdown', event => {
  if (!event.target.closest('.fd-stage') || event.button > 0) return;
  fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
  if (fingers.size === 2) {
    endDrag();
    pinch = {...spread(), scale: zoom.scale};
    return;
  }
  drag = {...begun(event), from: point(event), target: event.target, at: [event.clientX, event.clientY]};
  drag.box = boxes()[drag.index];
  drag.pan = [event.clientX - zoom.x, event.clientY - zoom.y];
  if (drag.kind === 'select' || drag.kind === 'click') return;
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
  if (!event.target.closest('.fd-frame')) stage.focus({preventScroll: true});
});
element.addEventListener('pointermove', event => {
  if (!fingers.has(event.pointerId)) return;
  fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
  if (pinch && fingers.size === 2) {
    const now = spread();
    zoom.x += now.x - pinch.x;
    zoom.y += now.y - pinch.y;
    zoomTo(pinch.scale * now.d / pinch.d, now.x, now.y);
    [pinch.x, pinch.y] = [now.x, now.y];
    return;
  }
  if (!drag) return;
  if (!drag.moved && Math.hypot(event.clientX - drag.at[0], event.clientY - drag.at[1]) < 4) return;
  if (!drag.moved && drag.kind === 'pan') stage.classList.add('fd-panning');
  drag.moved = true;
  if (drag.kind === 'pan') {
    zoom.x = event.clientX - drag.pan[0];
    zoom.y = event.clientY - drag.pan[1];
    place();
  } else if (['new', 'move', 'resize'].includes(drag.kind)) {
    const now = boxes();
    const box = changed(event);
    if (drag.kind !== 'new') drawBoxes(now.map((b, i) => (i === drag.index ? box : b)));
    else if (now.length < MOST) drawBoxes([...now, box]);
  }
});
// Two fingers are ours at any zoom; with one the browser scrolls the page.
['touchstart', 'touchmove'].forEach(kind => element.addEventListener(kind, event => {
  if (event.touches.length > 1 && event.target.closest('.fd-stage')) event.preventDefault();
}, {passive: false}));
const lift = event => {
  fingers.delete(event.pointerId);
  if (fingers.size < 2) pinch = null;
};
element.addEventListener('pointerup', event => {
  lift(event);
  if (!drag) return;
  const {kind, moved, index, target, at} = drag;
  const box = ['new', 'move', 'resize'].includes(kind) ? changed(event) : null;
  endDrag();
  if (!moved) pressed = {target, at};
  else if (box && large(box)) {
    unpick();
    if (kind === 'new') addBox(box); else changeBox(index, box);
  }
});
element.addEventListener('pointercancel', event => { lift(event); endDrag(); });
// Not before the click is over: it would press what comes up beneath the finger.
const click = ({target, at}) => {
  const frame = target.closest('.fd-frame');
  // In a box that is chosen already the thing beneath is meant.
  const through = frame && Number(frame.dataset.box) === chosen;
  const under = through ? document.elementsFromPoint(...at) : [target];
  const thing = under.map(node => node.closest('.fd-item')).find(Boolean);
  if (frame && !(through && thing)) choose(Number(frame.dataset.box));
  else if (thing && !String(document.getSelection())) {
    pick(answerOf(thing), Number(thing.dataset.index), false, 'canvas');
  } else {
    unpick();
    if (chosen >= 0) choose(-1);
  }
};
element.addEventListener('dblclick', event => {
  if (event.target.closest('.fd-view') && !event.target.closest('.fd-text, .fd-tools')) fit();
});

// -- keys
element.addEventListener('keydown', event => {
  const inMenu = menu.contains(event.target);
  const thing = event.target.closest('.fd-item');
  let done = true;
  if (event.key === 'Escape' && picked && !event.target.closest('.fd-frame')) closeMenu();
  else if (thing && (event.key === 'Enter' || event.key === ' ')) {
    pick(answerOf(thing), Number(thing.dataset.index), true, 'canvas');
  } else if (!inMenu && keyBox(event)) unpick();
  else if (event.target === stage && (event.key === '+' || event.key === '-')) {
    zoomTo(zoom.scale * (event.key === '+' ? 1.5 : 1 / 1.5));
  } else if (event.target === stage && event.key === '0') fit();
  else done = false;
  if (done) event.preventDefault();
});

// -- buttons
element.addEventListener('click', event => {
  const down = pressed;
  pressed = null;
  const clicked = event.target.closest('button');
  if (down && !clicked) click(down);
  if (!clicked) return;
  clickBoxes(clicked);
  const {zoom: way, task, menu: close} = clicked.dataset;
  if (way === 'in') zoomTo(zoom.scale * 1.5);
  if (way === 'out') zoomTo(zoom.scale / 1.5);
  if (way === 'fit') fit();
  if (way === 'away') trigger('away');
  if (task) pointAt(task);
  if (close) closeMenu();
});

// -- another picture: dropped, pasted, or the way back to the upload
const bring = async file => {
  if (!file) return;
  hint.hidden = false;
  if (!file.type.startsWith('image/')) {
    hint.textContent = fd.say('Invalid file type: {file}. Only image/* allowed.', {file: file.name});
    return;
  }
  hint.textContent = file.name ? fd.say('Reading {file} …', {file: file.name}) : fd.say('Reading the picture …');
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

let shown = null;
const sync = () => {
  const now = value();
  root.hidden = !now.picture;
  if (now.picture && image.getAttribute('src') !== now.picture.url) image.src = now.picture.url;
  const fresh = now.picture ? now.picture.url : null;
  if (fresh !== shown) {
    shown = fresh;
    asked = false;
    chosen = -1;
    fit();
  }
  stage.classList.toggle('fd-draws', Boolean(now.draw));
  full = false;
  drawBoxes(boxes());
};
watch('value', sync);
document.addEventListener('fd-language', sync);
sync();
