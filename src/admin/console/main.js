// What is drawn when a document comes, and what a click does.
function draw() {
  tell();
  for (const part of [drawAttention, drawCells, drawVerdicts, drawLevers, drawPlans, drawReloads, watchRefusals]) part();
}

function drawPlans() {
  const brownouts = live.brownouts.map(one => el('p', { class: 'event' }, sign(one.in_force ? 'warn' : 'quiet'), el('b', {}, one.id), ` (${one.mode}, ${one.share}) `, one.cancelled ? 'cancelled by a lever' : one.in_force ? `in force until ${moment(one.window.end)}` : `next ${moment(one.next.start)} to ${moment(one.next.end)}`, one.in_force && one.next ? `; next ${moment(one.next.start)}` : ''));
  const moves = live.moves.map(one => el('p', { class: 'event' }, el('b', {}, `${many(one.accounts, 'account')} ${one.from ?? '–'} to ${one.to ?? '–'}`), `, ${one.state}: ${one.writes_at_old_cell} writes at the old cell, ${one.waiting} wait`));
  show('plan-list', [...moves, ...brownouts].length ? [...moves, ...brownouts] : el('p', { class: 'quiet' }, 'No account is on the move, and no brownout is planned.'));
}

const ACTS = {
  retry: () => wake(),
  release: button => release(Number(button.dataset.id)),
  reload,
  copy: button => navigator.clipboard?.writeText($(button.dataset.of).textContent),
  forget: () => { sessionStorage.removeItem('cellgate-token'); known(); },
};
document.addEventListener('click', event => { const button = event.target.closest('[data-act]'); if (button) ACTS[button.dataset.act](button); });
const onSubmit = (id, act) => $(id).addEventListener('submit', event => { event.preventDefault(); act(); });
onSubmit('lever-form', () => { if (may('POST /levers')) pull(); });
onSubmit('account-form', findAccount);
onSubmit('refusal-form', drawRefusals);
onSubmit('token-form', () => { if ($('token').value) sessionStorage.setItem('cellgate-token', $('token').value.trim()); $('token').value = ''; known(); });
$('lever-form').addEventListener('input', () => live && drawLevers());
for (const id of ['refusal-cell', 'refusal-reason']) $(id).addEventListener('change', drawRefusals);
for (const id of ['cell-find', 'cell-wrong']) $(id).addEventListener('input', () => live && drawCells());
new IntersectionObserver(([seen]) => { refusalsSeen = seen.isIntersecting; if (refusalsSeen && Date.now() - refusalsAt > 5000) drawRefusals(); }).observe($('refusals'));

// Another token: who is it now, and what does the page show them?
async function known() {
  await whoami();
  $('reload-now').hidden = !may('POST /reload');
  historyOf = null; refusalsAt = 0;
  cut?.abort(); wake();
}
whoami().then(() => { $('reload-now').hidden = !may('POST /reload'); listen(); });
