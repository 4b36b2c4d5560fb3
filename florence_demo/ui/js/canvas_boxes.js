// -- The boxes that a question is about: several, numbered; one of them is chosen.
const MOST = __MOST__;
const boxLayer = find('.fd-boxes');
const regions = find('.fd-regions');
const regionList = find('.fd-region-list');
let chosen = -1;
let full = false;      // whether one more box was refused

const boxes = () => {
  const {draw, box, boxes: several} = value();
  // A box that was dragged is the question; where none can be, it is not shown.
  return !draw ? [] : several && several.length ? several : box ? [box] : [];
};
const rounded = box => box.map(v => Math.round(v)).join(', ');
const drawBox = (node, box) => {
  const [w, h] = size();
  node.style.left = `${box[0] / w * 100}%`;
  node.style.top = `${box[1] / h * 100}%`;
  node.style.width = `${(box[2] - box[0]) / w * 100}%`;
  node.style.height = `${(box[3] - box[1]) / h * 100}%`;
};
const newFrame = () => {
  const node = make('div', 'fd-frame', '', boxLayer);
  node.tabIndex = 0;
  node.setAttribute('role', 'group');
  make('b', '', '', node);
  ['nw', 'ne', 'sw', 'se'].forEach(corner => { make('i', 'fd-grip', '', node).dataset.corner = corner; });
  return node;
};
const newEntry = () => {
  const node = make('span', '', '', regionList);
  button('fd-region', '', '', node);
  button('fd-region-away', '×', '', node);
  return node;
};
// Nodes stay what they are, so that the one with the focus keeps it.
const drawBoxes = shown => {
  while (boxLayer.children.length > shown.length) boxLayer.lastChild.remove();
  while (regionList.children.length > shown.length) regionList.lastChild.remove();
  shown.forEach((box, i) => {
    const frame = boxLayer.children[i] || newFrame();
    drawBox(frame, box);
    frame.dataset.box = i;
    frame.classList.toggle('fd-on', i === chosen);
    frame.firstChild.textContent = i + 1;
    frame.setAttribute('aria-label', fd.say('Box {n}: {place}', {n: i + 1, place: rounded(box)}));
    const [pick, away] = (regionList.children[i] || newEntry()).children;
    pick.dataset.pick = away.dataset.drop = i;
    pick.textContent = fd.say('Box {n}', {n: i + 1});
    pick.setAttribute('aria-pressed', String(i === chosen));
    away.setAttribute('aria-label', fd.say('Remove box {n}', {n: i + 1}));
  });
  boxLayer.classList.toggle('fd-many', shown.length > 1);
  regions.hidden = !value().draw || !value().picture;
  find('[data-region=clear]').hidden = !shown.length;
  find('[data-region=add]').disabled = shown.length >= MOST;
  hint.hidden = !value().draw;
  hint.textContent = sayBoxes(shown);
};
const FULL = '{n} boxes are the most for one question: ask about these first, or remove one.';
const CHOSEN = '{n} boxes, each is asked about. Box {box}: {place}.';
const sayBoxes = shown => {
  if (full) return fd.say(FULL, {n: MOST});
  if (!shown.length) return fd.say('Drag a box around the thing you mean, or press an arrow key.');
  const box = shown[chosen] || shown[0];
  const place = rounded(box);
  const n = shown.length;
  if (n === 1) return fd.say('Region {place}. Drag beside it for another; Esc removes it.', {place});
  return shown[chosen] ? fd.say(CHOSEN, {n, box: chosen + 1, place})
    : fd.say('{n} boxes, each is asked about.', {n});
};
const setBoxes = (next, pick) => {
  chosen = pick;
  full = false;
  props.value = {...value(), box: null, boxes: next};
  drawBoxes(next);
  trigger('input');
};
const choose = index => {
  chosen = index;
  full = false;
  drawBoxes(boxes());
};
const addBox = box => {
  const now = boxes();
  if (now.length < MOST) { setBoxes([...now, box], now.length); return; }
  full = true;
  drawBoxes(now);
};
const changeBox = (index, box) => setBoxes(boxes().map((b, i) => (i === index ? box : b)), index);
const dropBox = index => {
  const left = boxes().filter((_, i) => i !== index);
  setBoxes(left, left.length ? Math.min(index, left.length - 1) : -1);
};
const middle = () => {
  const [w, h] = size();
  // Each beside the one before, so that none hides another.
  const off = (boxes().length % 5) * 0.03;
  return [w * (0.25 + off), h * (0.25 + off), w * (0.75 + off), h * (0.75 + off)];
};
const movedBox = (box, dx, dy) => {
  const [w, h] = size();
  const mx = clamp(dx, -box[0], w - box[2]);
  const my = clamp(dy, -box[1], h - box[3]);
  return [box[0] + mx, box[1] + my, box[2] + mx, box[3] + my];
};
const resizedBox = (box, corner, to) => between(to,
  [corner.includes('w') ? box[2] : box[0], corner.includes('n') ? box[3] : box[1]]);
const large = box => {
  const [w, h] = size();
  return box[2] - box[0] >= Math.max(1, w * 0.005) && box[3] - box[1] >= Math.max(1, h * 0.005);
};

// -- by keys: where the stage has the focus, the chosen box or else the last one is meant
const keyBox = event => {
  if (!value().draw) return false;
  const frame = event.target.closest('.fd-frame');
  if (!frame && event.target !== stage) return false;
  const now = boxes();
  const index = frame ? Number(frame.dataset.box) : chosen >= 0 ? chosen : now.length - 1;
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (['Escape', 'Delete', 'Backspace'].includes(event.key) && now[index]) {
    dropBox(index);
    if (frame) (boxLayer.children[chosen] || stage).focus({preventScroll: true});
    return true;
  }
  if (event.key === 'n' || event.key === 'N') { addBox(middle()); return true; }
  if (!step) return false;
  const [w, h] = size();
  const [dx, dy] = [step[0] * w * 0.01, step[1] * h * 0.01];
  const box = now[index] || middle();
  const next = event.shiftKey
    ? [box[0], box[1], clamp(box[2] + dx, box[0] + w * 0.01, w), clamp(box[3] + dy, box[1] + h * 0.01, h)]
    : movedBox(box, dx, dy);
  if (now[index]) changeBox(index, next); else addBox(next);
  return true;
};
const clickBoxes = target => {
  if (target.dataset.pick) {
    choose(Number(target.dataset.pick));
    look(boxes()[chosen]);
    boxLayer.children[chosen].focus({preventScroll: true});
  }
  if (target.dataset.drop) {
    dropBox(Number(target.dataset.drop));
    (regionList.children[chosen]?.lastChild || find('[data-region=add]')).focus();
  }
  if (target.dataset.region === 'add') addBox(middle());
  if (target.dataset.region === 'clear') { setBoxes([], -1); find('[data-region=add]').focus(); }
};
element.addEventListener('focusin', event => {
  const frame = event.target.closest('.fd-frame');
  if (frame && Number(frame.dataset.box) !== chosen) choose(Number(frame.dataset.box));
});
