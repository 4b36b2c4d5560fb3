// Put an answer right: move, resize, add, remove, rename. All places are in pixels of the picture.
// Names are a stranger's words: they are written as values and text, never as markup.
const NS = 'http://www.w3.org/2000/svg';
const find = name => element.querySelector(name);
const root = find('.fd-editor');
const stage = find('.fd-edit-stage');
const image = find('.fd-edit-stage img');
const layer = find('.fd-edit-shapes');
const handles = find('.fd-edit-handles');
const list = find('.fd-edit-rows');
const words = find('.fd-edit-text');
const names = find('datalist');
let state = null;   // what the server sent, with the places as they are now
let chosen = -1;
let drag = null;
let undo = [];

const rings = thing => thing.rings || [corners(thing.box)];
const corners = ([x1, y1, x2, y2]) => [x1, y1, x2, y1, x2, y2, x1, y2];
const bounds = thing => {
  const xs = rings(thing).flatMap(r => r.filter((_, i) => i % 2 === 0));
  const ys = rings(thing).flatMap(r => r.filter((_, i) => i % 2 === 1));
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
};
const copy = value => JSON.parse(JSON.stringify(value));
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const remember = () => { undo.push(copy(state.things)); if (undo.length > 100) undo.shift(); };
// One text: the door admits few values in a body, and an outline has many numbers.
const tell = () => {
  const edited = JSON.stringify({text: state.text, things: state.things},
    (_, v) => (typeof v === 'number' ? Math.round(v * 10) / 10 : v));
  props.value = {...props.value, edited};
};

const node = (kind, parent, values) => {
  const made = document.createElementNS(NS, kind);
  Object.entries(values).forEach(([k, v]) => made.setAttribute(k, v));
  parent.append(made);
  return made;
};
const path = thing => rings(thing).map(r => {
  const points = [];
  for (let i = 0; i < r.length; i += 2) points.push(`${r[i]} ${r[i + 1]}`);
  return `M${points.join('L')}Z`;
}).join('');

const drawShapes = () => {
  const [w, h] = state.size;
  layer.setAttribute('viewBox', `0 0 ${w} ${h}`);
  layer.replaceChildren();
  if (state.asked) node('path', layer, {d: path({box: state.asked}), class: 'fd-edit-asked'});
  state.things.forEach((thing, i) => {
    const kind = i === chosen ? 'fd-edit-shape fd-on' : 'fd-edit-shape';
    node('path', layer, {d: path(thing), class: kind, 'data-index': i});
  });
  handles.replaceChildren();
  state.things.forEach((thing, i) => {
    const [x1, y1] = bounds(thing);
    const tag = document.createElement('span');
    tag.className = i === chosen ? 'fd-edit-tag fd-on' : 'fd-edit-tag';
    tag.textContent = i + 1;
    tag.style.left = `${x1 / w * 100}%`;
    tag.style.top = `${y1 / h * 100}%`;
    handles.append(tag);
  });
  if (!state.things[chosen]) return;
  rings(state.things[chosen]).forEach((ring, r) => {
    for (let i = 0; i < ring.length; i += 2) {
      const grip = document.createElement('i');
      grip.className = 'fd-edit-handle';
      grip.dataset.ring = r;
      grip.dataset.point = i / 2;
      grip.style.left = `${ring[i] / w * 100}%`;
      grip.style.top = `${ring[i + 1] / h * 100}%`;
      handles.append(grip);
    }
  });
};

const drawRows = () => {
  list.replaceChildren();
  state.things.forEach((thing, i) => {
    const row = document.createElement('li');
    row.dataset.index = i;
    row.classList.toggle('fd-on', i === chosen);
    const number = document.createElement('span');
    number.textContent = i + 1;
    row.append(number);
    if (state.named) {
      const name = document.createElement('input');
      name.value = thing.label;
      name.placeholder = state.kind === 'quads' ? fd.say('What is written here') : fd.say('What is this?');
      name.setAttribute('aria-label', fd.say('Name of place {n}', {n: i + 1}));
      name.setAttribute('list', names.id);
      name.maxLength = 2000;
      row.append(name);
    } else {
      const place = document.createElement('button');
      place.type = 'button';
      place.dataset.pick = i;
      place.textContent = fd.say('Place {n}', {n: i + 1});
      row.append(place);
    }
    const away = document.createElement('button');
    away.type = 'button';
    away.dataset.remove = i;
    away.textContent = fd.say('Remove');
    away.setAttribute('aria-label', fd.say('Remove place {n}', {n: i + 1}));
    row.append(away);
    list.append(row);
  });
  names.replaceChildren(...[...new Set(state.things.map(t => t.label))].filter(Boolean).map(n => {
    const option = document.createElement('option');
    option.value = n;
    return option;
  }));
};

const say = () => {
  const count = state.things.length;
  find('.fd-edit-count').textContent = fd.say('{n} places', {n: count});
  find('[data-do=undo]').disabled = !undo.length;
};
const draw = () => { drawShapes(); drawRows(); say(); };
const pick = index => {
  chosen = index;
  drawShapes();
  list.querySelectorAll('li').forEach((row, i) => row.classList.toggle('fd-on', i === chosen));
};
const nameField = index => list.querySelector(`li[data-index="${index}"] input`);

const place = box => state.kind === 'quads' || state.kind === 'outlines'
  ? {label: '', rings: [corners(box)]} : {label: '', box};
const add = box => {
  remember();
  state.things.push(place(box));
  chosen = state.things.length - 1;
  draw();
  tell();
  const field = nameField(chosen);
  if (field) field.focus({preventScroll: true});
};
const remove = index => {
  remember();
  state.things.splice(index, 1);
  chosen = -1;
  draw();
  tell();
};
const back = () => {
  if (!undo.length) return;
  state.things = undo.pop();
  chosen = -1;
  draw();
  tell();
};

const at = event => {
  const r = image.getBoundingClientRect();
  const [w, h] = state.size;
  return [clamp((event.clientX - r.left) / r.width, 0, 1) * w,
    clamp((event.clientY - r.top) / r.height, 0, 1) * h];
};
const shifted = (thing, dx, dy) => {
  const [w, h] = state.size;
  const [x1, y1, x2, y2] = bounds(thing);
  const mx = clamp(dx, -x1, w - x2);
  const my = clamp(dy, -y1, h - y2);
  const move = r => r.map((v, i) => v + (i % 2 ? my : mx));
  return thing.rings ? {...thing, rings: thing.rings.map(move)} : {...thing, box: move(thing.box)};
};
const reshaped = (thing, ring, point, to) => {
  if (thing.rings) {
    const changed = copy(thing.rings);
    changed[ring].splice(point * 2, 2, ...to);
    return {...thing, rings: changed};
  }
  const [x1, y1, x2, y2] = thing.box;
  const [ox, oy] = [[x2, y2], [x1, y2], [x1, y1], [x2, y1]][point];
  return {...thing, box: [Math.min(ox, to[0]), Math.min(oy, to[1]),
    Math.max(ox, to[0]), Math.max(oy, to[1])]};
};

element.addEventListener('pointerdown', event => {
  if (!state || !event.target.closest('.fd-edit-stage') || event.button > 0) return;
  event.preventDefault();
  stage.focus({preventScroll: true});
  stage.setPointerCapture(event.pointerId);
  const from = at(event);
  const grip = event.target.closest('.fd-edit-handle');
  const shape = event.target.closest('.fd-edit-shape');
  if (grip) {
    drag = {from, ring: Number(grip.dataset.ring), point: Number(grip.dataset.point),
      thing: copy(state.things[chosen]), moved: false};
  } else if (shape) {
    pick(Number(shape.dataset.index));
    drag = {from, thing: copy(state.things[chosen]), moved: false};
  } else {
    pick(-1);
    drag = {from, thing: null, moved: false};
  }
});
element.addEventListener('pointermove', event => {
  if (!drag) return;
  const to = at(event);
  const [w, h] = state.size;
  const far = Math.abs(to[0] - drag.from[0]) > w * 0.005 || Math.abs(to[1] - drag.from[1]) > h * 0.005;
  if (!drag.moved && !far) return;
  if (!drag.moved) {
    remember();
    drag.moved = true;
    if (!drag.thing) { state.things.push(place([...drag.from, ...to])); chosen = state.things.length - 1; }
  }
  if (!drag.thing) {
    state.things[chosen] = place([Math.min(drag.from[0], to[0]), Math.min(drag.from[1], to[1]),
      Math.max(drag.from[0], to[0]), Math.max(drag.from[1], to[1])]);
  } else if (drag.point == null) {
    state.things[chosen] = shifted(drag.thing, to[0] - drag.from[0], to[1] - drag.from[1]);
  } else {
    state.things[chosen] = reshaped(drag.thing, drag.ring, drag.point, to);
  }
  drawShapes();
});
const drop = () => {
  if (!drag) return;
  const {moved, thing} = drag;
  drag = null;
  if (!moved) return;
  draw();
  tell();
  if (!thing) nameField(chosen)?.focus({preventScroll: true});
};
element.addEventListener('pointerup', drop);
element.addEventListener('pointercancel', drop);
// Where an outline is wrong between two points, a double click puts another there.
element.addEventListener('dblclick', event => {
  const thing = state && state.things[chosen];
  if (!thing || !thing.rings || state.kind === 'quads' || !event.target.closest('.fd-edit-shape')) return;
  const [x, y] = at(event);
  let best = null;
  thing.rings.forEach((ring, r) => {
    const n = ring.length / 2;
    for (let i = 0; i < n; i += 1) {
      const [ax, ay] = [ring[2 * i], ring[2 * i + 1]];
      const [bx, by] = [ring[2 * ((i + 1) % n)], ring[2 * ((i + 1) % n) + 1]];
      const length = (bx - ax) ** 2 + (by - ay) ** 2 || 1;
      const t = clamp(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1);
      const d = (ax + t * (bx - ax) - x) ** 2 + (ay + t * (by - ay) - y) ** 2;
      if (!best || d < best.d) best = {d, r, i};
    }
  });
  remember();
  thing.rings[best.r].splice(2 * best.i + 2, 0, x, y);
  draw();
  tell();
});

element.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!state || !button) return;
  const [w, h] = state.size;
  if (button.dataset.do === 'add') add([w / 4, h / 4, w * 3 / 4, h * 3 / 4]);
  if (button.dataset.do === 'undo') back();
  if (button.dataset.pick) pick(Number(button.dataset.pick));
  if (button.dataset.remove) remove(Number(button.dataset.remove));
});
element.addEventListener('focusin', event => {
  const row = event.target.closest('.fd-edit-rows li');
  if (row && Number(row.dataset.index) !== chosen) pick(Number(row.dataset.index));
});
element.addEventListener('input', event => {
  if (!state) return;
  if (event.target === words) {
    state.text = words.value;
    tell();
    return;
  }
  const row = event.target.closest('.fd-edit-rows li');
  if (!row) return;
  state.things[Number(row.dataset.index)].label = event.target.value;
  tell();
});
element.addEventListener('keydown', event => {
  if (!state || !event.target.closest('.fd-edit-stage')) return;
  const thing = state.things[chosen];
  if ((event.ctrlKey || event.metaKey) && event.key === 'z') { event.preventDefault(); back(); return; }
  if (event.key === 'Escape') { pick(-1); return; }
  if (thing && (event.key === 'Delete' || event.key === 'Backspace')) {
    event.preventDefault();
    remove(chosen);
    return;
  }
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (!step || !thing) return;
  event.preventDefault();
  const [w, h] = state.size;
  remember();
  const [dx, dy] = [step[0] * w * 0.01, step[1] * h * 0.01];
  if (event.shiftKey && thing.box) {
    const [x1, y1, x2, y2] = thing.box;
    thing.box = [x1, y1, clamp(x2 + dx, x1 + w * 0.01, w), clamp(y2 + dy, y1 + h * 0.01, h)];
  } else {
    state.things[chosen] = shifted(thing, dx, dy);
  }
  drawShapes();
  say();
  tell();
});

const relabel = () => {
  if (!state) return;
  find('.fd-hint').textContent = fd.say(state.kind === 'text' ? 'Write what would have been right.'
    : 'Drag a place to move it, its corners to resize it; drag beside it to add one.');
  draw();
};
const sync = () => {
  const value = props.value || {};
  root.hidden = !value.id;
  if (!value.id) { state = null; return; }
  if (state && state.id === value.id) return;  // our own word
  state = {...value, ...JSON.parse(value.edited)};
  chosen = -1;
  undo = [];
  image.src = value.picture.url;
  const text = state.kind === 'text';
  words.hidden = !text;
  words.value = state.text;
  list.hidden = text;
  find('.fd-edit-bar').hidden = text;
  stage.classList.toggle('fd-still', text);
  relabel();
};
watch('value', sync);
document.addEventListener('fd-language', relabel);
sync();
