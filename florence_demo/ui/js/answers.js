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
const howSure = sure => (percent(sure) >= 80 ? 'high' : percent(sure) >= 50 ? 'medium' : 'low');
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
