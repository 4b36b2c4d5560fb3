// Two rows of radio buttons, groups and then the entries of the chosen group, and a switch. The value
// is a task; an entry may mean several.
const groups = Object.entries(__TASKS__);
const find = name => element.querySelector(name);
const where = find('.fd-where');
const entries = groups.flatMap(([, each]) => each);
const entryOf = name => entries.find(each => name in each.helps);
let placing = false;
let own = null;   // what was picked here
// Which of its tasks an entry means where a person picks it.
const meant = entry => {
  if (entry.placed) return placing ? entry.placed : entry.name;
  return props.suited.find(name => name in entry.helps) || entry.name;
};
const show = name => {
  const entry = entryOf(name);
  if (!entry) return;
  groups.forEach(([, each], index) => {
    const row = find(`.fd-row[data-group="${index}"]`);
    row.hidden = !each.includes(entry);
    if (row.hidden) return;
    [`group"][value="${index}"]`, `task"][value="${entry.name}"]`].forEach(which => {
      const input = find(`input[name="__UID__-${which}`);
      input.checked = true;
      // On a small screen the rows are swiped.
      const chip = input.parentElement;
      chip.parentElement.scrollLeft = chip.offsetLeft - chip.parentElement.offsetLeft - 24;
    });
  });
  where.hidden = !entry.placed;
  if (entry.placed) placing = name === entry.placed;
  where.firstChild.checked = placing;
  find('.fd-help').textContent = fd.say(entry.helps[name]);
};
const pick = entry => {
  own = meant(entry);
  if (own === props.value) return;
  props.value = own;
  show(own);
  trigger('input');
};
element.addEventListener('change', ({target}) => {
  if (target.name === '__UID__-group') pick(groups[target.value][1][0]);
  else if (target.name) pick(entryOf(target.value));
  else {
    placing = target.checked;
    pick(entryOf(props.value));
  }
});
watch('value', () => show(props.value));
// What was picked here follows the model; what came from elsewhere stays, where the model knows it.
watch('suited', () => {
  const name = props.value;
  if (own === name || (props.suited.length && !props.suited.includes(name))) pick(entryOf(name));
});
document.addEventListener('fd-language', () => show(props.value));
show(props.value);
