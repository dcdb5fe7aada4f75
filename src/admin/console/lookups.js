// What is asked for and not streamed: an account, refusals, the history. Each is asked when somebody looks, or when the stream
// says that there is something new.
const ACCOUNTS = 'It names accounts, which this address shows to nobody who is not known: set admin.loopback_report in boot.yaml, or call the admin socket.';
const failed = error => el('p', { class: 'note warn' }, sign('warn'), error.message);

async function findAccount() {
  const sought = $('account-find').value.trim();
  if (!sought) return;
  if (!seesAccounts()) return show('account-answer', el('p', { class: 'quiet' }, ACCOUNTS), el('p', {}, code(`curl --unix-socket state/admin.sock 'http://admin/accounts?find=${encodeURIComponent(sought)}'`)));
  show('account-answer', el('p', { class: 'quiet' }, 'Looking ...'));
  let found;
  booksOf = null;
  try { found = await ask(`/accounts?find=${encodeURIComponent(sought)}`); } catch (error) { return show('account-answer', failed(error)); }
  const { account, row } = found;
  const facts = [
    ['Account', `${account}${row?.prefixes.length ? ` (${row.prefixes.join(', ')})` : ''}, found by ${found.found_by}`],
    ['Cell', row ? `${row.cell}${row.shared ? ', the shared one' : ''}` : 'none: it has no row, and requests that name it are refused'],
    ['On the move', found.move ? `${found.move.from ?? '–'} to ${found.move.to ?? '–'}, ${found.move.state} (epoch ${found.move.epoch}): ${found.move.writes_at_old_cell} writes at the old cell, ${found.move.waiting} wait` : 'no'],
    ['Brownouts', found.brownouts.map(one => `${one.id} (${one.mode})${one.exempt ? ', exempt now' : ''}: ${one.in_force ? 'in force' : one.next ? `next at ${moment(one.next.start)}` : 'over'}`).join('; ') || 'in none'],
    ['Levers', found.levers.join('; ') || 'none is about it'],
  ];
  show('account-answer', el('dl', {}, facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
    el('h3', {}, 'How a request of it would go'),
    table(['Goes to', 'Because of', 'Request'], found.ways.map(way => el('tr', {}, el('td', { class: way.refusal ? 'bad' : 'keep' }, way.refusal ? `refused: ${way.refusal.status} ${way.refusal.reason}` : way.cell ?? way.verdict), el('td', {}, way.refusal ? way.refusal.advice : `${way.source.replaceAll('_', ' ')}, ${(way.why ?? way.verdict).replaceAll('_', ' ')}`), el('td', {}, code(`${way.host}${way.path}`))))),
    el('h3', {}, 'Its recent refusals and failures'), found.refusals.length ? refusalTable(found.refusals) : el('p', { class: 'quiet' }, 'None of the last two hundred is its.'),
    el('h3', {}, 'What it has been doing on the legacy hosts'), el('div', { id: 'books' }, el('p', { class: 'quiet' }, 'Reading the books ...')));
  booksOf = account;
  readBooks(account, 0);
}

let booksOf = null;
async function readBooks(account, tried) {
  // Somebody may have looked for another one meanwhile.
  if (booksOf !== account || !$('books')) return;
  let books;
  try { books = await ask(`/report/accounts/${account}.json`); } catch (error) {
    if (error.error === 'being_made' && tried < 10) return setTimeout(readBooks, 2000, account, tried + 1);
    return booksOf === account && show('books', failed(error));
  }
  if (booksOf !== account) return;
  const of = books.accounts[0], more = el('p', {}, el('a', { href: `/report/accounts/${account}` }, 'The whole report of this account'));
  if (!of) return show('books', el('p', { class: 'quiet' }, 'The books know nothing of it.'));
  const uses = of.detail?.integrations ?? [];
  show('books', el('p', {}, el('b', {}, of.verdict), ` ${of.reasons.join('; ')}.`),
    el('p', {}, `${many(of.requests_24h ?? 0, 'request')} in a day, ${(of.requests_7d ?? 0).toLocaleString('en')} in seven, ${(of.requests_30d ?? 0).toLocaleString('en')} in thirty.`),
    uses.length ? table(['Client', 'Credential', 'Network', 'Calls', { text: '30 days', num: true }, 'Last seen'], uses.map(one => el('tr', {}, el('td', {}, one.client), el('td', {}, one.credential ? code(one.credential) : '–'), el('td', {}, one.network ?? '–'), el('td', {}, one.endpoints.join(', ')), num(one.requests_30d.toLocaleString('en')), el('td', { class: 'keep' }, moment(one.last_seen))))) : null, more);
}

// Those that are alike are one row: a client in a loop must not hide the others.
function refusalTable(refusals) {
  const alike = new Map();
  for (const one of refusals) {
    const key = [one.account, one.method, one.host, one.path, one.cell, one.status, one.reason].join(' ');
    alike.has(key) ? alike.get(key).count++ : alike.set(key, { one, key, count: 1 });
  }
  return table(['Last', { text: 'Times', num: true }, 'Account', 'Request', 'Cell', { text: 'Answer', num: true }, 'Reason, and id of the last'], [...alike.values()].map(({ one, key, count }) => el('tr', { 'data-key': key }, el('td', { class: 'keep' }, clock(one.at)), num(count), el('td', { class: 'keep' }, one.account ?? '–'),
    el('td', {}, `${one.method} `, code(`${one.host}${one.path}`)), el('td', { class: 'keep' }, one.cell ?? '–'), num(one.status), el('td', {}, one.reason.replaceAll('_', ' '), one.cell_error ? ` (${one.cell_error.replaceAll('_', ' ')})` : '', el('small', { class: 'quiet' }, ` ${one.request_id}`)))));
}

let refusalsAt = 0, refusalsSeen = false, refusalCount = -1;
async function drawRefusals() {
  if (!seesAccounts()) return show('refusal-list', el('p', { class: 'quiet' }, ACCOUNTS));
  refusalsAt = Date.now();
  const wish = new URLSearchParams({ cell: $('refusal-cell').value, reason: $('refusal-reason').value });
  try {
    const said = await ask(`/refusals?${wish}`);
    options('refusal-reason', said.reasons.map(one => one.reason), 'all');
    show('refusal-list', said.refusals.length ? [el('p', { class: 'quiet' }, `${said.reasons.map(one => `${one.reason.replaceAll('_', ' ')} ${one.count}`).join(', ')}. Of one reason four a second are kept at most, two hundred in all; the access log has every one.`), refusalTable(said.refusals)] : el('p', { class: 'quiet' }, 'None.'));
  } catch (error) { show('refusal-list', failed(error)); }
}

// While somebody looks at them and there are new ones; every five seconds at most.
function watchRefusals() {
  options('refusal-cell', live.cells.map(cell => cell.name), 'all');
  const count = [...live.cells, { traffic: live.no_cell }].reduce((sum, cell) => sum + (cell.traffic ? cell.traffic.last_60s.requests - (cell.traffic.last_60s.ended.served ?? 0) : 0), 0);
  if (refusalsSeen && count !== refusalCount && Date.now() - refusalsAt > 5000) { refusalCount = count; drawRefusals(); }
}

const OUTCOMES = { applied: 'good', unchanged: 'quiet', staged: 'good', pulled: 'quiet', released: 'quiet', over: 'quiet' };
let historyOf = null;
function drawReloads() {
  const { candidate } = live;
  show('reload-list', candidate ? el('div', { class: 'note' }, el('p', {}, el('b', {}, `Generation ${candidate.generation} is on trial`), ` with ${candidate.share ?? 'nobody yet'}, step ${candidate.step} of ${candidate.steps}, ${span(candidate.seconds_left)} left of it: ${candidate.failed} of ${many(candidate.requests, 'request')} failed.`),
    table(['Cell', 'With it: failed of all', 'Without it: failed of all'], candidate.cells.map(cell => el('tr', {}, el('td', {}, cell.cell), el('td', {}, `${cell.with.failed} of ${cell.with.requests}`), el('td', {}, `${cell.without.failed} of ${cell.without.requests}`))))) : null,
    seesAccounts() ? null : live.reloads.map(one => el('p', { class: 'event' }, sign(OUTCOMES[one.outcome] ?? 'bad'), `${moment(one.at)} `, el('b', {}, one.outcome.replaceAll('_', ' ')), `, by ${one.trigger.replaceAll('_', ' ')}`, one.generation ? `: generation ${one.generation}` : '', one.problems ? `: ${many(one.problems, 'problem')}; /config has them` : '', one.guards.length ? `: ${one.guards.join(', ')}` : '')));
  const newest = JSON.stringify([live.reloads[0]?.at, live.levers.map(one => one.id), candidate?.generation, candidate?.step]);
  if (newest === historyOf) return;
  historyOf = newest;
  readHistory();
}

async function readHistory() {
  if (!seesAccounts()) return show('history-list', el('p', { class: 'quiet' }, `Who, why and what changed stands in the audit trail. ${ACCOUNTS}`), el('p', {}, code('cellgate history'), ' and ', code('cellgate audit show'), ' have it.'));
  try {
    const said = await ask('/history');
    show('history-list', said.is_whole ? null : failed({ message: 'The audit trail is broken, so who, why and what may be false: see cellgate audit verify.' }), said.lines.map(event));
  } catch (error) { show('history-list', failed(error)); }
}

function event(line) {
  const people = [line.approved_by?.length && `approved by ${line.approved_by.join(', ')}`, line.author && `author ${line.author}`, line.who?.length && `says ${line.who.join(', ')}`].filter(Boolean).join('; ');
  const changes = (line.changes ?? '').split('; ').filter(Boolean), reasons = line.reasons ?? [];
  const what = { start: 'started', intent: 'applied', outcome: 'reload', lever: 'lever', override: 'override', rollback: 'rollback' }[line.event] ?? line.event;
  const outcome = line.outcome ? line.outcome.replaceAll('_', ' ') : '', versions = line.to ? ` generation ${line.to.generation} (${line.to.hash.slice(0, 12)})${line.from ? ` after ${line.from.generation} (${line.from.hash.slice(0, 12)})` : ''}` : '';
  return el('div', { class: 'event', 'data-key': `line ${line.seq}` }, el('p', {}, sign(OUTCOMES[line.outcome] ?? (line.outcome ? 'bad' : 'quiet')), `${moment(line.at)} `, el('b', {}, `${what}${outcome ? `: ${outcome}` : ''}`), versions, line.trigger && line.event !== 'start' ? el('span', { class: 'quiet' }, ` by ${line.trigger.replaceAll('_', ' ')}`) : null, el('span', { class: 'quiet' }, ` · line ${line.seq}`)),
    people || line.why ? el('p', {}, line.why ? `“${line.why}” ` : '', el('span', { class: 'quiet' }, people)) : null,
    changes.length ? (changes.length > 4 ? el('details', { 'data-key': 'changes' }, el('summary', {}, `${many(changes.length, 'change')}: ${changes[0]}`), el('ul', {}, changes.map(one => el('li', {}, one)))) : el('ul', {}, changes.map(one => el('li', {}, one)))) : null,
    reasons.length ? el('ul', { class: 'bad' }, reasons.map(one => el('li', {}, one))) : null);
}

async function reload() {
  if (!await sure({ title: 'Read the configuration files anew?', words: 'POST /reload', told: 'They are read, checked and guarded as always, and come in force if nothing objects. What serves goes on serving otherwise.', yes: 'Read them' })) return;
  await done(async () => { const said = await change('POST', '/reload', {}); return `The reload: ${said.outcome.replaceAll('_', ' ')}.`; });
}
