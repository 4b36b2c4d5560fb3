// Values are written as text; only the overlay is markup, escaped where it was made. The picture
// stands on the canvas: what is to be drawn there, looked at or picked, is told by events.
const uid = '__UID__';
const find = name => element.querySelector(name);
let gone = new Set();   // what is filtered away
const rowAt = index => element.querySelector(`tr[data-index="${index}"]`);
const tell = (kind, detail) => document.dispatchEvent(
  new CustomEvent(kind, {detail: {uid, from: 'answer', ...detail}}));
[['mouseover', true], ['focusin', true], ['mouseout', false], ['focusout', false]].forEach(([kind, on]) =>
  element.addEventListener(kind, event => {
    const row = event.target.closest('[data-index]');
    if (!row) return;
    row.classList.toggle('fd-on', on);
    tell('fd-look', {index: row.dataset.index, on});
  }));
element.addEventListener('click', event => {
  const row = event.target.closest('[data-index]');
  if (row && !String(document.getSelection())) tell('fd-pick', {index: row.dataset.index});
});
element.addEventListener('keydown', event => {
  const row = event.target.closest('[data-index]');
  if (!row || (event.key !== 'Enter' && event.key !== ' ')) return;
  event.preventDefault();
  tell('fd-pick', {index: row.dataset.index, keys: true});
});
document.addEventListener('fd-look', ({detail}) => {
  if (detail.uid === uid && detail.from !== 'answer') {
    rowAt(detail.index)?.classList.toggle('fd-on', detail.on);
  }
});
document.addEventListener('fd-pick', ({detail}) => {
  if (detail.uid !== uid || detail.from === 'answer') return;
  element.querySelector('tr.fd-picked')?.classList.remove('fd-picked');
  element.querySelector('tr[aria-current]')?.removeAttribute('aria-current');
  const row = detail.index == null ? null : rowAt(detail.index);
  if (!row) return;
  row.classList.add('fd-picked');
  row.setAttribute('aria-current', 'true');
  // The table alone is scrolled: the picture stays in sight.
  const box = find('.fd-tablebox');
  const head = box.querySelector('thead').offsetHeight;
  if (row.offsetTop - head < box.scrollTop) box.scrollTop = row.offsetTop - head;
  const low = row.offsetTop + row.offsetHeight - box.clientHeight;
  if (low > box.scrollTop) box.scrollTop = low;
});
// The focus comes back from the menu to the row that opened it.
document.addEventListener('fd-back', ({detail}) => {
  if (detail.uid === uid) rowAt(detail.index)?.focus({preventScroll: true});
});
document.addEventListener('fd-keep', ({detail}) => {
  if (detail.uid !== uid) return;
  gone = new Set(detail.gone);
  element.querySelectorAll('tr[data-index]').forEach(row => { row.hidden = gone.has(Number(row.dataset.index)); });
});
const wordsOf = value => {
  const {pieces = [], rows = []} = value;
  if (!pieces.length) return value.words || textOf(value);
  return joined(pieces, i => (gone.has(i) ? '' : rows[i].label.split(/\s+/).join(' ').trim()));
};
find('.fd-copy').addEventListener('click', async () => {
  await copy(wordsOf(props.value || {}));
  find('.fd-copy').textContent = fd.say('Copied');
  find('.fd-copy').focus();
});
const drawRow = (body, row, index, calibrated) => {
  const line = body.insertRow();
  line.dataset.index = index;
  line.tabIndex = 0;
  line.hidden = gone.has(index);
  make('td', '', index + 1, line);
  const name = make('td', '', '', line);
  const swatch = make('i', '', '', name);
  swatch.style.background = row.color;
  name.append(row.label || row.asked || fd.say('(no name)'));
  const sure = make('td', '', '', line);
  if (row.sure == null) sure.textContent = '–';
  // Numbers of a model that nobody measured only compare: they say neither high nor low.
  else if (calibrated) {
    make('span', '', howSure(row.sure), sure);
    sure.append(' ');
    sure.title = fd.say('Of a hundred such answers about {n} are right.', {n: percent(row.sure)});
  }
  if (row.sure != null) make('small', '', exactly(row.sure), sure);
  make('td', '', row.box.map(v => Math.round(v)).join(', '), line);
};
const textOf = value => (value.sentence ? sentenceOf(value.sentence, value.counted)
  : fd.say(value.hint || ''));
// All that is words, again where the page's language changes.
const write = value => {
  find('.fd-question').textContent = questionOf(value.question);
  find('.fd-question').hidden = !value.question;
  find('.fd-sentence').textContent = textOf(value);
  find('.fd-copy').textContent = fd.say('Copy');
  const notices = find('.fd-notices');
  notices.replaceChildren();
  (value.notices || []).forEach(text => make('p', '', fd.say(text), notices));
  const body = find('tbody');
  body.replaceChildren();
  (value.rows || []).forEach((row, index) => drawRow(body, row, index, value.calibrated));
  find('.fd-meta').textContent = metaOf(value.meta);
};
// Who hears the page is told that a question began and how it ended, not each word on the way.
let told = '';         // of the question that is being answered
const announce = value => {
  const words = value.busy ? value.hint || '' : told && textOf(value);
  if (words && words !== told) fd.tell(words);
  told = value.busy ? words || told : '';
};
let last = {};
const sync = () => {
  const value = props.value || {};
  if (value.asked < last.asked) {
    props.value = last;
    return;
  }
  // Values may overtake each other: that something is asked comes after its answer.
  if (value.asked && value.asked === last.asked && value.busy && !last.busy) return;
  if (value.asked) last = value;
  gone = new Set();
  const {overlay = '', rows = [], pieces = [], task, calibrated, busy, question} = value;
  tell('fd-overlay', {overlay, rows, pieces, task, calibrated, busy, question});
  write(value);
  find('.fd-sentence').classList.toggle('fd-quiet', !value.sentence);
  // Stop goes: who pressed it by keys goes on beside it.
  if (!value.busy && document.activeElement?.closest('.fd-stop')) {
    document.getElementById(`fd-ask-${uid}`)?.focus({preventScroll: true});
  }
  find('.fd-sentence').classList.toggle('fd-busy', Boolean(value.busy));
  find('.fd-sentence').setAttribute('aria-busy', Boolean(value.busy));
  find('.fd-copy').hidden = !value.sentence || Boolean(value.busy);
  find('.fd-tablebox').hidden = !rows.length;
  find('.fd-rough').hidden = value.calibrated || !rows.some(row => row.sure != null);
  find('.fd-details').hidden = !value.meta;
  announce(value);
  if (value.meta && !value.busy) comeIntoView(Boolean(value.overlay));
};
// On a small screen an answer could come where nobody looks: what was found, or the words.
const SMALL = matchMedia('(max-width: 759px), (max-height: 500px)');
const comeIntoView = drawn => {
  if (!SMALL.matches) return;
  const surface = element.closest('.fd-surface');
  const canvas = surface?.querySelector('.fd-canvas:not([hidden])');
  // Where they stand side by side the picture stays by itself.
  const target = drawn && canvas && window.innerWidth <= 640 ? canvas : element;
  const {top, bottom} = target.getBoundingClientRect();
  const foot = surface?.querySelector('.fd-askbar')?.getBoundingClientRect().top;
  if (top >= 0 && bottom <= (foot ?? window.innerHeight)) return;
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  target.scrollIntoView({block: 'start', behavior: calm ? 'auto' : 'smooth'});
};
watch('value', sync);
document.addEventListener('fd-language', () => write(props.value || {}));
sync();
