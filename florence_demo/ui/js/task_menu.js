// Two rows of radio buttons: groups, then the tasks of the chosen group.
const groups = Object.entries(__TASKS__);
const show = name => {
  groups.forEach(([, tasks], index) => {
    const task = tasks.find(t => t.name === name);
    const row = element.querySelector(`.fd-row[data-group="${index}"]`);
    row.hidden = !task;
    if (!task) return;
    [`group"][value="${index}"]`, `task"][value="${name}"]`].forEach(which => {
      const input = element.querySelector(`input[name="__UID__-${which}`);
      input.checked = true;
      // On a small screen the rows are swiped.
      const chip = input.parentElement;
      chip.parentElement.scrollLeft = chip.offsetLeft - chip.parentElement.offsetLeft - 24;
    });
    element.querySelector('.fd-help').textContent = fd.say(task.help);
  });
};
element.addEventListener('change', event => {
  const input = event.target;
  const name = input.name === '__UID__-group' ? groups[input.value][1][0].name : input.value;
  props.value = name;
  show(name);
  trigger('input');
});
watch('value', () => show(props.value));
document.addEventListener('fd-language', () => show(props.value));
show(props.value);
