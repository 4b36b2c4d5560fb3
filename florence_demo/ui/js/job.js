// How far a job is: in words, as a bar, and, when it turns to something else, for who hears the page.
const find = name => element.querySelector(name);
const STATES = {waiting: 'Waiting', running: 'Asking', paused: 'Paused', done: 'Done',
  failed: 'Ended early'};
let spoken = '';
const lasting = seconds => {
  const [amount, unit] = seconds < 90 ? [Math.max(1, Math.round(seconds)), 'second']
    : seconds < 5400 ? [Math.round(seconds / 60), 'minute'] : [seconds / 3600, 'hour'];
  return fd.number(amount, {style: 'unit', unit, maximumFractionDigits: 1});
};
const parts = job => {
  const said = [];
  if (job.before) said.push(fd.say('{n} before you', {n: job.before}));
  said.push(job.total ? fd.say('{n} of {total} answered', {n: job.done, total: job.total})
    : fd.say('{n} answered', {n: job.done}));
  if (job.failed) said.push(fd.say('{n} failed', {n: job.failed}));
  if (job.speed) said.push(fd.say('{n} a second', {n: job.speed}));
  if (job.left) said.push(fd.say('about {time} left', {time: lasting(job.left)}));
  if (job.seconds) said.push(fd.say('{time} in all', {time: lasting(job.seconds)}));
  return said;
};
const sync = () => {
  const job = props.value || {};
  find('.fd-job-none').hidden = Boolean(job.state);
  find('.fd-job-gone').hidden = !job.gone;
  find('.fd-job-is').hidden = !job.state;
  const state = job.state ? fd.say(STATES[job.state]) : '';
  if (job.state && spoken && state !== spoken) fd.tell(state);
  spoken = state;
  if (!job.state) return;
  const name = document.createElement('strong');
  name.textContent = state;
  find('.fd-job-said').replaceChildren(name, ...parts(job).map(part => ` · ${part}`));
  find('.fd-meter').setAttribute('aria-valuenow', job.share);
  find('.fd-meter i').style.width = `${job.share}%`;
  find('.fd-job-problem').textContent = job.problem ? fd.say(job.problem) : '';
  const passed = (job.passed || []).join(', ');
  find('.fd-job-passed').textContent = passed
    && fd.say('Passed over, for there is no picture, PDF or video in it: {names}', {names: passed});
};
watch('value', sync);
document.addEventListener('fd-language', sync);
sync();
