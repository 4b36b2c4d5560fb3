// What the scripts that show answers share: how a node is made and text is copied, what is filtered
// away, how text is put together, and what of it is the page's own words.
const make = (tag, name, text, parent) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};
const copy = async text => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages that came without https have no clipboard, but still the older way.
    const area = make('textarea', '', '', element);
    area.value = text;
    area.select();
    document.execCommand('copy');
    area.remove();
  }
};
// What is read out of a drawn answer: its things are called by their tags, what has none as it was
// asked for.
const nameThings = (layer, rows = []) => {
  layer.firstElementChild?.setAttribute('aria-label', fd.say('What was found'));
  layer.querySelectorAll('.fd-item').forEach(node => {
    if (node.querySelector('.fd-label')) return;
    node.setAttribute('aria-label', rows[node.dataset.index]?.asked || fd.say('one place'));
  });
};
// A question in the page's language: its title is ours, what it is about a person's.
const BOXES = /^(\d+) boxes$/;
const aboutOf = about => {
  const boxes = (about || '').match(BOXES);
  return boxes ? fd.say('{n} boxes', {n: Number(boxes[1])}) : about;
};
const questionOf = question => {
  const at = (question || '').indexOf(': ');
  if (at < 0) return fd.say(question || '');
  return `${fd.say(question.slice(0, at))}: ${aboutOf(question.slice(at + 2))}`;
};
// An answer that was counted together is our sentence, any other is the model's.
const sentenceOf = (sentence, counted) => {
  if (!counted) return sentence;
  const [, what, gone] = sentence.match(/^(?:([^]*); )?no (.*)$/i) || [];
  if (!gone) return fd.say(sentence);
  const names = gone.split(', no ').join(', ');
  return what ? fd.say('{what}; not found: {names}', {what, names})
    : fd.say('Not found: {names}', {names});
};
// How it came about: "0.25 s · 18 tokens".
const metaOf = meta => (meta || '').split(' · ').map(part => {
  const seconds = part.match(/^(\d+\.\d+) s$/);
  return seconds ? `${fd.number(Number(seconds[1]), {maximumFractionDigits: 2})} s` : fd.say(part);
}).join(' · ');
const percent = sure => Math.floor(100 * sure + 0.5);
// How sure in words, of one thing or from the least to the most sure of several; and in numbers.
const LEVELS = ['unsure', 'fairly sure', 'very sure'];
const BETWEEN = {'01': 'unsure to fairly sure', '02': 'unsure to very sure', '12': 'fairly to very sure'};
const levelOf = sure => (percent(sure) >= 80 ? 2 : percent(sure) >= 50 ? 1 : 0);
const howSure = (low, high = low) => {
  const [from, to] = [levelOf(low), levelOf(high)];
  return fd.say(from === to ? LEVELS[to] : BETWEEN[`${from}${to}`]);
};
const exactly = (low, high = low) => (percent(low) === percent(high) ? `${percent(low)} %`
  : `${percent(low)}–${percent(high)} %`);
// Whether a thing stays: of a name that is on, and as sure as is asked; without a number it stays.
const stays = (name, sure, off, least) => !off.has(name) && (sure == null || percent(sure) >= least);
// A chip for each of the most frequent names; pressed ones are on.
const nameChips = (counts, off, most) => [...counts].sort((a, b) => b[1].count - a[1].count)
  .slice(0, most).map(([name, {label, count}]) => {
    const chip = document.createElement('button');
    chip.type = 'button';
    chip.className = 'fd-name';
    chip.textContent = `${label} ${count}`;
    chip.title = label;
    chip.dataset.name = name;
    chip.setAttribute('aria-pressed', String(!off.has(name)));
    return chip;
  });
const pressName = (chip, name, off) => {
  if (off.has(name)) off.delete(name); else off.add(name);
  chip.setAttribute('aria-pressed', String(!off.has(name)));
};
// Text of its pieces, each an index and what stands before it. Of pieces that are left out the widest
// gap stays.
const joined = (pieces, texts) => {
  let said = '';
  let between = '';
  pieces.forEach(([index, space]) => {
    if (space.length > between.length || (space === '\n' && between === ' ')) between = space;
    const text = texts(index);
    if (!text) return;
    said += (said ? between : '') + text;
    between = '';
  });
  return said;
};
