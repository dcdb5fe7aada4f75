// Cells, with what they answer and how they stand; and what of all this somebody should look at.
const PHASES = { full: ['good', 'serving'], ramping: ['warn', 'coming back'], probing: ['warn', 'probing'], down: ['bad', 'down'] };
const lost = ended => (ended?.failed ?? 0) + (ended?.down ?? 0);
const turnedAway = ended => ['no_room', 'on_purpose', 'moving', 'ours'].reduce((sum, kind) => sum + (ended?.[kind] ?? 0), 0);
// A tenth of ten requests says something; one of two does not.
const failsMuch = window => window && lost(window.ended) >= 3 && lost(window.ended) / window.requests >= .05;
const isOut = endpoint => endpoint.state !== 'up';

function wrong(cell) {
  const of = cell.standing, found = [];
  if (of && of.phase !== 'full') found.push(of.phase === 'ramping' ? 'warn' : PHASES[of.phase]?.[0] ?? 'warn');
  if (failsMuch(cell.traffic?.last_10s)) found.push('bad');
  if (of && (of.panic !== 'calm' || of.queued > 0 || of.no_headroom_rps > 0 || of.failover_frozen)) found.push('warn');
  if (of?.groups.some(group => (group.standing ?? 'serving') !== 'serving' || group.endpoints.some(isOut))) found.push('warn');
  return found.includes('bad') ? 'bad' : found[0] ?? null;
}

function state(cell) {
  const of = cell.standing;
  if (!of) return ['quiet', 'not looked at yet'];
  const [kind, word] = PHASES[of.phase] ?? ['warn', of.phase];
  if (kind === 'good' && wrong(cell)) return [wrong(cell), failsMuch(cell.traffic?.last_10s) ? 'failing' : 'impaired'];
  return [kind, of.admitted_rps !== undefined ? `${word}, ${rate(of.admitted_rps)}/s` : word];
}

function spark(traffic) {
  const all = traffic?.requests ?? [], bad = traffic?.failed ?? [], most = Math.max(1, ...all), step = 120 / Math.max(59, all.length - 1), from = 120 - (all.length - 1) * step;
  const x = at => (from + at * step).toFixed(1), y = count => (23 - 22 * count / most).toFixed(1);
  const line = all.map((count, at) => `${x(at)},${y(count)}`).join(' ');
  const bars = bad.map((count, at) => count && el('rect', { class: 'lost', x: x(at), width: Math.max(1.5, step).toFixed(1), y: y(count), height: (24 - y(count)).toFixed(1) })).filter(Boolean);
  return el('svg', { class: 'spark', viewBox: '0 0 120 24', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, el('rect', { class: 'floor', y: 23, width: 120, height: 1 }), all.length ? el('polyline', { class: 'all', points: `${from.toFixed(1)},24 ${line} 120,24` }) : null, bars);
}

function meter(taken, room) {
  const part = room ? Math.min(1, taken / room) : 0;
  return el('svg', { class: part > .9 ? 'meter full' : 'meter', viewBox: '0 0 100 4', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, el('rect', { class: 'room', width: 100, height: 4 }), el('rect', { class: 'taken', width: (part * 100).toFixed(1), height: 4 }));
}

const labelled = (name, ...value) => el('span', {}, el('span', { class: 'label' }, name), ...value);

function cellRow(cell) {
  const now = cell.traffic?.last_10s, of = cell.standing, [kind, word] = state(cell), bad = lost(now?.ended);
  return el('details', { class: 'cell', 'data-key': cell.name },
    el('summary', {},
      el('span', { class: 'name' }, el('b', {}, cell.name), cell.shared ? el('span', { class: 'quiet' }, ' shared') : null),
      el('span', { class: kind }, sign(kind), word),
      el('span', { class: 'rate-box' }, el('span', { class: 'rate' }, spark(cell.traffic), el('span', { class: 'per' }, `${rate(now?.rps ?? 0)}/s`))),
      labelled('failed', el('span', { class: bad ? 'bad' : 'quiet' }, now?.requests ? percent(bad / now.requests) : '–'), el('span', { class: 'sr' }, ' failed')),
      el('span', { class: 'slow' }, el('span', { class: 'label' }, 'p50 · p95 · p99'), latencies(now)),
      labelled('in flight', `${of?.in_flight ?? cell.in_flight} of ${of?.limit ?? cell.max_in_flight}`, meter(of?.in_flight ?? cell.in_flight, of?.limit ?? cell.max_in_flight)),
      labelled('queue', of ? `${of.queued}` : '–', el('span', { class: 'sr' }, ' waiting'))),
    el('div', { class: 'inside' }, of ? inside(cell, of) : el('p', { class: 'quiet' }, 'Nobody has looked at it yet.')));
}

function ended(window) {
  const words = { served: 'served', failed: 'failed', down: 'refused: down', no_room: 'refused: no room', on_purpose: 'refused on purpose', moving: 'refused: moving', by_client: "the client's fault", ours: 'ours' };
  return Object.entries(window?.ended ?? {}).map(([kind, count]) => `${count.toLocaleString('en')} ${words[kind] ?? kind}`).join(', ') || 'none';
}

function inside(cell, of) {
  const facts = [
    ['Last 10 s', ended(cell.traffic?.last_10s)], ['Last 60 s', ended(cell.traffic?.last_60s)],
    ['Permits', `${of.in_flight} of ${of.limit} (${of.limit_why.replaceAll('_', ' ')}; ${cell.max_in_flight} configured), ${of.long_lived} long-lived`],
    ['Queue', `${of.queued} wait, room for ${of.queue_room}`],
    ['First byte, p95', `${ms(of.p95_ms)}, usually ${ms(of.usual_p95_ms)}`],
    ['Demand', of.demand_rps.map(([name, value]) => `${name} ${rate(value)}/s`).join(', ')],
    of.ramp.capacity_rps !== undefined && ['Capacity', `${rate(of.ramp.capacity_rps)}/s (${of.ramp.capacity_from})`],
    of.ramp.recent[0] > 0 && ['Coming back', `${of.ramp.recent[0]} ended, ${of.ramp.recent[1]} failed, of ${of.ramp.recent[2]} accounts lately`],
    of.no_headroom_rps > 0 && ['No room elsewhere', `${rate(of.no_headroom_rps)}/s of lost groups`],
    of.failover_frozen && ['Failover', 'frozen: the way there is suspected'], !of.retries && ['Retries', 'none now'],
    of.would_have && ['Would have', of.would_have.map(([by, act, count]) => `${by}: ${act} ${count}`).join(', ')],
    of.observe_alarm && ['Only watches', of.observe_alarm],
  ].filter(Boolean);
  const surfaces = cell.traffic?.surfaces ?? [];
  return [el('dl', {}, facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
    surfaces.length > 1 ? [el('h3', {}, 'Surfaces, last 10 s'), table(['Surface', { text: 'Rate', num: true }, { text: 'Failed', num: true }, { text: 'p95', num: true }], surfaces.map(one => el('tr', {}, el('td', {}, one.surface), num(`${rate(one.last_10s.rps)}/s`), num(one.last_10s.requests ? percent(lost(one.last_10s.ended) / one.last_10s.requests) : '–'), num(ms(one.last_10s.p95_ms)))))] : null,
    of.groups.map(group => [el('h3', {}, `Zone ${group.zone}`, group.standing ? `, ${group.standing}` : '', `: ${group.in_flight} in flight, ${many(group.connections, 'connection')}`, group.failover?.moved_here_rps > 0 ? `, takes ${rate(group.failover.moved_here_rps)}/s of others` : ''),
      table(['Endpoint', 'State', { text: 'Requests, 10 s', num: true }, { text: 'Failed', num: true }, { text: 'Median', num: true }], group.endpoints.map(endpoint => el('tr', {},
        el('td', {}, code(endpoint.address)),
        el('td', { class: isOut(endpoint) ? 'bad' : 'good' }, sign(isOut(endpoint) ? 'bad' : 'good'), endpoint.state.replaceAll('_', ' '), endpoint.out_for_s ? `, ${span(endpoint.out_for_s)} more` : '', endpoint.held ? el('small', {}, ` should be out for ${endpoint.held.join(', held by ')}`) : ''),
        num(endpoint.requests_10s), num(endpoint.failed_10s), num(ms(endpoint.median_ms)))))])].flat(2);
}

function drawCells() {
  const sought = $('cell-find').value.trim().toLowerCase(), only = $('cell-wrong').checked;
  const fits = cell => (!sought || cell.name.includes(sought) || cell.groups.some(group => group.zone.includes(sought))) && (!only || wrong(cell));
  $('cell-tools').hidden = live.cells.length < 9 && !sought && !only;
  const cells = live.cells.filter(fits), left = live.cells.length - cells.length;
  show('cell-list', el('div', { class: 'head', 'aria-hidden': 'true' }, ['Cell', 'State', 'Requests, 60 s', 'Failed', 'p50 · p95 · p99', 'In flight', 'Queue'].map(name => el('span', {}, name))),
    cells.map(cellRow), left ? el('p', { class: 'quiet' }, `${many(left, 'cell')} not shown.`) : null,
    live.no_cell ? el('p', { class: 'quiet' }, `Of no cell: ${ended(live.no_cell.last_60s)} in the last minute. These were refused before a cell was known.`) : null);
}

const NUMBERS = { sick: 'sick', likely_sick: 'likely sick', heard: 'heard of', cells: 'cells', others_sick: 'others sick', others_heard: 'others heard of', chance: 'by chance', round_trip_times: 'round trip ×', first_byte_times: 'first byte ×', retransmitted: 'retransmitted', unreachable: 'unreachable', failed: 'failed', late_ms: 'woken late, ms' };
// What it was found by; of one that is only held, what is there now.
const foundBy = one => one.evidence + (one.present ? `. Seen ${span(one.found_s_ago)} ago, held for ${span(one.held_for_s)} more; now ${one.present}` : '');
function drawVerdicts() {
  show('verdict-list', live.verdicts.length ? live.verdicts.map(one => el('details', { class: 'event', 'data-key': one.verdict }, el('summary', {}, el('b', {}, one.verdict), ` is sick, for ${span(one.stands_for_s)}. `, el('span', { class: 'quiet' }, foundBy(one))),
    el('dl', {}, Object.entries(one.numbers).flatMap(([name, value]) => [el('dt', {}, NUMBERS[name] ?? name), el('dd', {}, name === 'chance' ? (value < 1 ? value.toExponential(0) : 'not compared') : ['retransmitted', 'unreachable', 'failed'].includes(name) ? percent(value) : String(value))])))) : el('p', { class: 'quiet' }, 'None: nothing points to one cell, a zone, the network or this machine.'));
}

// What somebody should look at, the worst first; [kind, title, detail].
function attention() {
  const found = [], add = (kind, title, detail, link) => found.push([kind, title, detail, link]);
  for (const one of live.reasons.filter(one => one.reason !== 'levers' && one.reason !== 'brownout')) add(one.blocks ? 'bad' : 'warn', one.blocks ? 'This replica takes no traffic' : one.reason.replaceAll('_', ' '), one.detail);
  for (const one of live.verdicts) add(/^(ambiguous|endpoint)/.test(one.kind) ? 'warn' : 'bad', `Sick: ${one.verdict}`, `For ${span(one.stands_for_s)}. ${foundBy(one)}`, '#verdicts');
  for (const cell of live.cells) {
    const kind = wrong(cell), now = cell.traffic?.last_10s, of = cell.standing;
    if (!kind) continue;
    const out = of?.groups.flatMap(group => group.endpoints.filter(isOut)) ?? [], all = of?.groups.flatMap(group => group.endpoints) ?? [];
    const says = [failsMuch(now) && `${percent(lost(now.ended) / now.requests)} of its requests fail`, out.length && `${out.length} of ${many(all.length, 'endpoint')} out`, of?.queued > 0 && `${of.queued} wait for a permit`, of?.admitted_rps !== undefined && `${rate(of.admitted_rps)}/s are let through`, of?.no_headroom_rps > 0 && `no room elsewhere for ${rate(of.no_headroom_rps)}/s`].filter(Boolean);
    add(kind, `Cell ${cell.name} ${of && of.phase !== 'full' ? `is ${PHASES[of.phase]?.[1] ?? of.phase}` : kind === 'bad' ? 'is failing' : 'is impaired'}`, says.length ? `${says.join('; ')}.` : '', '#cells');
  }
  const last = live.reloads[0];
  if (last && ['rejected', 'refused', 'needs_restart', 'rolled_back'].includes(last.outcome) && !live.reasons.some(one => ['refused', 'reload_rejected', 'rolled_back'].includes(one.reason))) add('warn', `The last reload was ${last.outcome.replaceAll('_', ' ')}`, `${ago(last.at)}. ${last.problems ? many(last.problems, 'problem') + '. ' : ''}${last.guards.length ? 'Guards: ' + last.guards.join(', ') + '. ' : ''}What served before serves.`, '#history');
  const only = live.cells.filter(cell => cell.standing?.observe_alarm);
  if (only.length) add('warn', `Protection only watches in ${only.map(cell => cell.name).join(', ')}`, only[0].standing.observe_alarm);
  const order = { bad: 0, warn: 1 };
  return found.sort((a, b) => order[a[0]] - order[b[0]]);
}

function drawAttention() {
  const found = attention(), bad = found.filter(([kind]) => kind === 'bad').length;
  text('headline', !found.length ? 'All is well' : bad ? `${many(bad, 'thing is', 'things are')} wrong${found.length > bad ? `, ${found.length - bad} more to look at` : ''}` : `${many(found.length, 'thing')} to look at`);
  document.title = `${found.length ? `(${found.length}) ` : ''}cellgate${bad ? ': wrong' : ''}`;
  const quietly = [live.levers.length && el('a', { href: '#levers' }, `${many(live.levers.length, 'lever')} pulled`), live.candidate && el('a', { href: '#history' }, `generation ${live.candidate.generation} on trial${live.candidate.share ? ` with ${live.candidate.share}` : ''}`), live.brownouts.some(one => one.in_force) && el('a', { href: '#plans' }, `brownout in force: ${live.brownouts.filter(one => one.in_force).map(one => one.id).join(', ')}`), live.moves.length && el('a', { href: '#plans' }, `${many(live.moves.reduce((sum, one) => sum + one.accounts, 0), 'account')} on the move`)].filter(Boolean);
  show('attention', found.map(([kind, title, detail, link]) => el('div', { class: `note ${kind}`, 'data-key': `${kind} ${title}` }, el('p', {}, sign(kind), el('b', {}, link ? el('a', { href: link }, title) : title)), detail ? el('small', {}, detail) : null)),
    quietly.length ? el('p', {}, quietly.flatMap((one, at) => at ? [' · ', one] : [one])) : null);
  const all = live.cells.reduce((sum, cell) => sum + (cell.traffic?.last_10s.rps ?? 0), live.no_cell?.last_10s.rps ?? 0);
  text('facts', `${rate(all)} requests a second in ${many(live.cells.length, 'cell')}, ${many(live.accounts, 'account')}. Generation ${live.generation} (${live.hash.slice(0, 12)}) has served for ${span(live.serves_for_s)}.`);
  text('what', `${location.host} · ${live.program} · process ${live.process.slice(0, 8)}`);
}
