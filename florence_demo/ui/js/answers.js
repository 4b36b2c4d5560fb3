// What the scripts that show answers share: what is filtered away, and how text is put together.
const percent = sure => Math.floor(100 * sure + 0.5);
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
