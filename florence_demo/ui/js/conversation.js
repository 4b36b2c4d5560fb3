// Cards of what was asked, the newest first, under the picture that they are about. All words are
// written as text. One stop for Tab: arrow keys go from card to card, and to a card's copy button.
const box = element.querySelector('.fd-talk');
const list = element.querySelector('.fd-talk-list');
let drawn = {name: null, version: -1};
let timer = 0;
let coded = null;  // the card whose calls are shown

const opens = () => [...list.querySelectorAll('.fd-talk-open')];
const STATES = {asking: 'Asking …', stopped: 'Stopped', failed: 'Not answered'};

// Why a question failed is our sentence too.
const saidOf = card => (card.state === 'failed' ? fd.say(card.said)
  : sentenceOf(card.said, card.counted));

const heading = (picture, group) => {
  const name = picture ? picture.name : fd.say('A picture that is no longer here');
  group.setAttribute('role', 'group');
  group.setAttribute('aria-label', fd.say('About {picture}', {picture: name}));
  const line = make('p', 'fd-talk-about', '', group);
  if (picture) {
    const image = make('img', '', '', line);
    image.alt = '';
    image.src = picture.small.url;
  }
  make('span', '', name, line);
};
// How a program asks the same: three buttons that copy, shown on demand.
const drawCalls = (card, row) => {
  const name = fd.say('Ask this from a program: {question}', {question: fd.say(card.title)});
  const button = make('button', 'fd-talk-code', '', row);
  button.type = 'button';
  button.tabIndex = -1;
  button.setAttribute('aria-label', name);
  button.setAttribute('aria-expanded', String(coded === card.id));
  button.title = fd.say('Ask this from a program');
  if (coded !== card.id) return;
  const group = make('div', 'fd-talk-calls', '', row);
  group.setAttribute('role', 'group');
  group.setAttribute('aria-label', name);
  make('span', '', fd.say('Copy as'), group);
  Object.keys(LANGUAGES).forEach(language => {
    const one = make('button', 'fd-talk-call', language, group);
    one.type = 'button';
    one.dataset.language = language;
  });
};
const draw = (card, current, parent) => {
  const row = make('li', `fd-talk-card fd-${card.state}`, '', parent);
  row.dataset.id = card.id;
  const open = make('button', 'fd-talk-open', '', row);
  open.type = 'button';
  open.tabIndex = -1;
  if (current) open.setAttribute('aria-current', 'true');
  const title = make('span', 'fd-talk-title', fd.say(card.title), open);
  if (card.about) make('span', 'fd-talk-words', aboutOf(card.about), title);
  if (card.said) make('span', 'fd-talk-said', saidOf(card), open);
  const state = STATES[card.state];
  const said = [state && fd.say(state), metaOf(card.meta)].filter(Boolean);
  const meta = said.length && make('span', 'fd-talk-meta', said.join(' · '), open);
  if (meta && card.sure.length) {
    meta.append(' · ');
    make('span', '', howSure(...card.sure), meta).title = exactly(...card.sure);
  }
  if (card.call) drawCalls(card, row);
  if (!card.words) return;
  const copy = make('button', 'fd-talk-copy', '', row);
  row.insertBefore(copy, row.querySelector('.fd-talk-code'));
  copy.type = 'button';
  copy.tabIndex = -1;
  copy.setAttribute('aria-label', fd.say('Copy the answer to {question}', {question: fd.say(card.title)}));
  copy.title = fd.say('Copy');
};
const focusOn = node => {
  if (!node) return;
  opens().forEach(each => { each.tabIndex = -1; });
  (node.closest('.fd-talk-card').querySelector('.fd-talk-open')).tabIndex = 0;
  node.focus();
};

const sync = () => {
  const value = props.value || {};
  const cards = value.cards || [];
  clearTimeout(timer);
  // Nobody may be waiting for that answer on this page: it was loaded anew, or left the question.
  if (cards.some(card => card.state === 'asking')) {
    timer = setTimeout(() => { if (element.isConnected) trigger('look'); }, 1500);
  }
  if (value.name === drawn.name && value.version <= drawn.version) return; // late, or nothing new
  drawn = {name: value.name, version: value.version};
  const at = document.activeElement?.closest?.('.fd-talk-card');
  const held = at && list.contains(at) ? [at.dataset.id, document.activeElement.className] : null;
  list.replaceChildren();
  box.hidden = !cards.length;
  let about = null;
  let rows = null;
  cards.forEach(card => {
    if (rows === null || card.picture !== about) {
      about = card.picture;
      const group = make('div', 'fd-talk-group', '', list);
      if (about) heading((value.pictures || {})[about], group);
      rows = make('ul', '', '', group);
    }
    draw(card, card.id === value.current, rows);
  });
  const first = list.querySelector('[aria-current=true]') || opens()[0];
  if (first) first.tabIndex = 0;
  if (held) focusOn(list.querySelector(`[data-id="${held[0]}"] .${held[1]}`));
};

// Another picture takes the answer out of sight: then no card is the one that is looked at.
document.addEventListener('fd-overlay', ({detail}) => {
  const here = element.closest('.fd-surface')?.querySelector(`#fd-ask-${detail.uid}`);
  if (here && !detail.question) list.querySelector('[aria-current]')?.removeAttribute('aria-current');
});

const isHere = picture => {
  const canvas = element.closest('.fd-surface')?.querySelector('.fd-canvas:not([hidden]) img');
  return Boolean(picture && canvas && canvas.getAttribute('src') === picture.copy.url);
};
element.addEventListener('click', async event => {
  const row = event.target.closest('.fd-talk-card');
  const card = row && (props.value.cards || []).find(each => each.id === Number(row.dataset.id));
  const button = event.target.closest('button');
  if (!card || !button) return;
  focusOn(button);
  if (button.dataset.language) {
    const picture = (props.value.pictures || {})[card.picture];
    await copy(LANGUAGES[button.dataset.language](card.call, picture ? picture.name : 'picture.png'));
    row.querySelectorAll('.fd-talk-call').forEach(each => each.classList.remove('fd-done'));
    button.classList.add('fd-done');
    fd.tell?.(fd.say('Copied'));
    button.focus();
  } else if (button.classList.contains('fd-talk-code')) {
    coded = coded === card.id ? null : card.id;
    redraw();
    list.querySelector(`[data-id="${card.id}"] .fd-talk-code`).focus();
  } else if (button.classList.contains('fd-talk-copy')) {
    await copy(card.words);
    button.classList.add('fd-done');
    button.setAttribute('aria-label', fd.say('Copied'));
    button.focus();
  } else {
    trigger('pick', {id: card.id, here: isHere((props.value.pictures || {})[card.picture])});
  }
});
element.addEventListener('keydown', event => {
  const all = opens();
  const row = event.target.closest('.fd-talk-card');
  const at = row ? all.indexOf(row.querySelector('.fd-talk-open')) : -1;
  const to = {
    ArrowDown: all[at + 1], ArrowUp: all[at - 1], Home: all[0], End: all.at(-1),
    ArrowRight: row && actions(row)[actions(row).indexOf(event.target) + 1],
    ArrowLeft: row && actions(row)[actions(row).indexOf(event.target) - 1],
  };
  if (at < 0 || !(event.key in to)) return;
  event.preventDefault();
  focusOn(to[event.key]);
});
const actions = row => [...row.querySelectorAll('button')];
const redraw = () => { drawn = {name: null, version: -1}; sync(); };
watch('value', sync);
document.addEventListener('fd-language', redraw);
sync();
