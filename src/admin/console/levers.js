// Levers: what is pulled, what pulling one would do, and the command that does the same.
const DEFAULT = { hold: 60, brownout: 86400 };
const LENGTHS = { '5m': 300, '30m': 1800, '1h': 3600, '4h': 14400, '24h': 86400 };

function drawLevers() {
  const can = may('DELETE /levers/{id}');
  show('lever-list', live.levers.length ? live.levers.map(one => el('div', { class: 'pulled', 'data-key': `lever ${one.id}` },
    el('p', {}, el('b', {}, one.lever), el('span', { class: 'quiet' }, ` · lever ${one.id}`), el('br'), `${one.reason} `, el('span', { class: 'quiet' }, `by ${one.by}, ${ago(one.since)}; felt by ${many(one.requests ?? 0, 'request')}`)),
    el('p', {}, `${span(one.seconds_left)} left, until ${clock(one.until)} `, can ? el('button', { type: 'button', class: 'small', 'data-act': 'release', 'data-id': one.id }, 'Release ...') : code(`cellgate release ${one.id}`)))) : el('p', { class: 'quiet' }, 'None is pulled.'));
  options('l-cell', live.cells.map(cell => cell.name), ['shed', 'policy'].includes($('l-kind').value) ? 'any' : null);
  options('l-zone', [...new Set(live.cells.flatMap(cell => cell.groups.map(group => group.zone)))].sort());
  options('l-endpoint', [...new Set(live.cells.flatMap(cell => cell.groups.flatMap(group => group.endpoints)))].sort());
  options('l-brownout', ['all', ...live.brownouts.map(one => one.id)]);
  drawComposer();
}

// Fills a list where it has changed, and keeps what was chosen.
function options(id, values, any = null) {
  const wanted = [...(any ? [['', any]] : []), ...values.map(value => [value, value])];
  const list = $(id), had = list.value;
  if (JSON.stringify([...list.options].map(one => [one.value, one.text])) === JSON.stringify(wanted)) return;
  list.replaceChildren(...wanted.map(([value, name]) => el('option', { value }, name)));
  if (wanted.some(([value]) => value === had)) list.value = had;
}

const quoted = word => word !== '' && !/[ "\\]/.test(word) ? word : `"${word.replace(/[\\"]/g, '\\$&')}"`;
const forShell = word => /^[\w.,:%@/+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

function chosen() {
  const value = id => $(id).value.trim(), kind = value('l-kind'), cell = value('l-cell'), zone = value('l-zone'), place = value('l-place'), whose = value('l-whose');
  const words = {
    shed: () => ['shed', `${value('l-percent')}%`, ...(cell ? ['cell', cell] : []), ...(value('l-account') ? ['account', value('l-account')] : []), ...(value('l-client') ? ['client', value('l-client')] : []), ...(value('l-class') ? ['class', value('l-class')] : [])],
    drain: () => ['drain', place, ...{ cell: [cell], zone: [zone], group: [cell, zone], endpoint: [value('l-endpoint')] }[place]],
    evacuate: () => ['evacuate', 'zone', zone],
    cap: () => ['cap', 'cell', cell, value('l-unit'), value('l-number')],
    ramp: () => ['ramp', 'set', 'cell', cell, 'rps', value('l-number')],
    hold: () => ['hold', whose, whose === 'cell' ? cell : value('l-account'), ...($('l-writes').checked ? ['writes'] : [])],
    policy: () => ['policy', 'set', value('l-policy'), value('l-mode'), ...(cell ? ['cell', cell] : [])],
    brownout: () => ['brownout', 'cancel', value('l-brownout')],
  }[kind]();
  return { kind, words, lasts: value('l-for'), seconds: LENGTHS[value('l-for')] ?? null, reason: value('l-reason'), cell, zone, place };
}

// Cells that would have no endpoint left.
const bare = (inZone, inCell) => live.cells.filter(cell => (!inCell || cell.name === inCell) && cell.groups.every(group => group.zone === inZone)).map(cell => cell.name);

function sentence({ kind, words, seconds, cell, zone, place }) {
  const [, what] = words, whom = cell ? `of cell ${cell}` : 'of all cells', left = kind === 'drain' && place === 'group' ? bare(zone, cell) : ['drain', 'evacuate'].includes(kind) && (kind === 'evacuate' || place === 'zone') ? bare(zone) : [];
  const none = left.length ? ` NO ENDPOINT IS LEFT in ${left.join(', ')}: their requests are REFUSED.` : ' Other groups take what they have room for; the rest is refused.';
  const does = {
    shed: () => `${what.replace('%', '')} of 100 new requests ${whom}${words.length > 2 ? ` that fit (${words.slice(2).join(' ')})` : ''} are refused at once with 503, at random.`,
    drain: () => ({
      cell: `ALL new requests of cell ${cell} are REFUSED: there is no retry in another cell. What is under way ends as it would.`,
      zone: `Nothing new is sent to zone ${zone}, in any cell. What is under way ends as it would.${none}`,
      group: `Nothing new is sent to zone ${zone} of cell ${cell}. What is under way ends as it would.${none}`,
      endpoint: `Nothing new is sent to ${words[2]}, in all cells that have it. Where it is the only one of a cell, that cell's requests are refused.`,
    })[place],
    evacuate: () => `Nothing new is sent to zone ${zone}, in any cell, and WebSockets and streams that are open there are asked to leave within ten seconds.${none}`,
    cap: () => `Cell ${cell} takes no more than ${words[4]} ${words[3] === 'rps' ? 'requests a second' : 'requests at once'}; what is over waits or is refused. It never raises a limit.`,
    ramp: () => `While cell ${cell} comes back it is asked at ${words[5]} requests a second and no other rate, all replicas together.`,
    hold: () => `New ${$('l-writes').checked ? 'writes' : 'requests'} of ${words[1]} ${words[2]} wait for some seconds and are REFUSED after that. It bridges a failover of seconds; forgotten, it is an outage.`,
    policy: () => ({ off: `The protection ${what === 'set' ? words[2] : what} does nothing`, observe: `The protection ${words[2]} decides and counts, and changes nothing`, enforce: `The protection ${words[2]} acts` })[words[3]] + (cell ? ` in cell ${cell}.` : ' in all cells.'),
    brownout: () => `${words[2] === 'all' ? 'All brownouts are' : `Brownout ${words[2]} is`} over at once: legacy requests are served again.`,
  }[kind]();
  const lasts = seconds ?? DEFAULT[kind] ?? 1800;
  return `${does} On this replica alone, for ${span(lasts)}, until ${new Date(Date.parse(live.at) + lasts * 1000).toISOString().slice(11, 16)} UTC; it ends by itself, or when somebody releases it.`;
}

function drawComposer() {
  const kind = $('l-kind').value, place = $('l-place').value, whose = $('l-whose').value;
  const needs = { shed: ['shed', 'cell', 'account'], drain: ['drain', ...{ cell: ['cell'], zone: ['zone'], group: ['cell', 'zone'], endpoint: ['endpoint'] }[place]], evacuate: ['zone'], cap: ['cap', 'cell', 'number'], ramp: ['cell', 'number'], hold: ['hold', whose], policy: ['policy', 'cell'], brownout: ['brownout'] }[kind];
  for (const label of document.querySelectorAll('#lever-form [data-for]')) label.hidden = !needs.includes(label.dataset.for);
  const wish = chosen(), can = may('POST /levers');
  text('l-sentence', sentence(wish));
  text('l-command', `cellgate ${wish.words.map(forShell).join(' ')} --reason ${forShell(wish.reason || 'why')}${wish.lasts ? ` --for ${wish.lasts}` : ''}`);
  $('l-submit').hidden = !can; $('l-need').hidden = can;
  text('l-need', may('GET /levers') || me?.role ? 'Your role may not pull levers: it needs operate. Whoever may use the admin socket pulls it with this command:' : 'Nobody is known to this page, so it pulls nothing. On the machine, as the user who may use the admin socket:');
}

async function pull() {
  const wish = chosen();
  if (wish.reason.length < 3) { text('lever-answer', 'Say why, in 3 to 200 characters: it stands in the audit trail.'); return $('l-reason').focus(); }
  const words = wish.words.map(quoted).join(' ');
  if (!await sure({ title: `Pull this lever?`, words, told: sentence(wish), yes: 'Pull it' })) return;
  await done(async () => {
    const pulled = await change('POST', '/levers', { lever: words, reason: wish.reason, by: me?.name ?? 'console', ...(wish.seconds ? { seconds: wish.seconds } : {}) });
    const left = pulled.cells_without_endpoint?.length ? ` NO ENDPOINT IS LEFT in ${pulled.cells_without_endpoint.join(', ')}.` : '';
    return `Lever ${pulled.id} is pulled until ${clock(pulled.until)} UTC: ${pulled.lever}.${left}`;
  });
}

async function release(id) {
  const lever = live.levers.find(one => one.id === id);
  if (!lever) return;
  const answer = await sure({ title: `Release lever ${id}?`, words: lever.lever, told: `It is over at once, ${span(lever.seconds_left)} before its time: what it has kept away comes back with the next request.`, yes: 'Release it', asksReason: true });
  if (answer) await done(async () => { await change('DELETE', `/levers/${id}`, { by: me?.name ?? 'console', ...(answer.reason ? { reason: answer.reason } : {}) }); return `Lever ${id} is released.`; });
}

async function done(work) {
  try { text('lever-answer', await work()); $('lever-answer').className = 'good'; } catch (error) { text('lever-answer', error.message); $('lever-answer').className = 'bad'; }
}
