// Two rows of radio buttons: groups, then the tasks of the chosen group.
const groups = Object.entries(__TASKS__);
const show = name => {
  groups.forEach(([, tasks], index) => {
    const task = tasks.find(t => t.name === name);
    const row = element.querySelector(`.fd-row[data-group="${index}"]`);
    row.hidden = !task;
    if (!task) return;
    element.querySelector(`input[name="__UID__-group"][value="${index}"]`).checked = true;
    element.querySelector(`input[name="__UID__-task"][value="${name}"]`).checked = true;
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
