// One stream for everything that is live. It is read by hand, since EventSource can send no token and tells no status.
const LONGEST_WAIT = 15_000, SILENCE = 5_000, HIDDEN = 60_000;
let since = null, why = '', tries = 0, next = 0, seenAt = 0, wake = () => {}, cut = null, hiddenAt = 0;

async function read() {
  cut = new AbortController();
  const answer = await fetch('/live/events', { cache: 'no-store', headers: headers(), signal: cut.signal });
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(`${said.what ?? `It answered ${answer.status}.`} ${said.next ?? ''}`.trim());
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  seenAt = Date.now();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error('The stream ended; the process may be restarting.');
    seenAt = Date.now();
    rest += value;
    for (let at; (at = rest.indexOf('\n\n')) >= 0; rest = rest.slice(at + 2)) {
      const data = rest.slice(0, at).split('\n').find(line => line.startsWith('data: '));
      if (data) { live = JSON.parse(data.slice(6)); since = null; tries = 0; draw(); }
    }
  }
}

async function listen() {
  for (;;) {
    try { await read(); } catch (error) { why = error.name === 'AbortError' ? 'Nothing was heard for a while.' : error.message === 'Failed to fetch' || error.name === 'TypeError' ? 'Nobody answers at this address.' : error.message; }
    since ??= live ? Date.parse(live.at) : Date.now();
    // Longer and longer, and not all pages at once.
    const wait = Math.min(LONGEST_WAIT, 500 * 2 ** tries++) * (.75 + Math.random() / 2);
    next = Date.now() + wait;
    tell();
    await new Promise(done => { wake = done; setTimeout(done, wait); });
    while (document.hidden) await new Promise(done => document.addEventListener('visibilitychange', done, { once: true }));
  }
}

function tell() {
  document.body.classList.toggle('stale', since !== null);
  // What was well a minute ago may not be.
  if (since !== null && live) text('headline', 'What happens now is not known');
  if (since === null) return text('stream', live ? `live · ${clock(live.at)} UTC` : 'connecting');
  const left = Math.max(0, Math.ceil((next - Date.now()) / 1000));
  const from = live ? `Stale since ${new Date(since).toISOString().slice(11, 19)} UTC (${span(Math.round((Date.now() - since) / 1000))}).` : 'Nothing was heard yet.';
  show('stream', `${from} ${why} ${left ? `Trying again in ${left} s.` : 'Trying now.'} `, el('button', { type: 'button', class: 'small', 'data-act': 'retry' }, 'Try now'));
}

setInterval(() => {
  if (cut && since === null && Date.now() - seenAt > SILENCE) cut.abort();
  // A page that nobody looks at gives its place back.
  if (document.hidden) { hiddenAt ||= Date.now(); if (Date.now() - hiddenAt > HIDDEN) cut?.abort(); } else hiddenAt = 0;
  tell();
}, 1000);
