// Brings the page up to date in place: told by events where somebody tells, else by asking. Without it the page loads itself anew.
(() => {
  'use strict';
  const POLL = 15000, STALE = 90000, SLOW_POLL = 60000;
  const stale = document.getElementById('stale'), said = document.getElementById('said');
  let told = false, asked = Date.now(), fresh = Date.now();
  const show = (is) => { stale.hidden = !is; };
  const load = async () => {
    asked = Date.now();
    try {
      const answer = await fetch(location.href, { cache: 'no-cache' });
      if (!answer.ok) return;
      const next = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('main');
      const main = document.querySelector('main');
      if (!next || !main) return;
      const now = Date.parse(answer.headers.get('date')) || Date.now();
      if (now - Date.parse(next.dataset.asOf) < STALE) fresh = Date.now();
      const sentence = next.querySelector('.whole').textContent;
      if (sentence !== main.querySelector('.whole').textContent) said.textContent = sentence;
      main.replaceWith(document.adoptNode(next));
      document.title = document.querySelector('main').dataset.title;
    } catch { /* the next turn asks again, and says so when it has lasted */ }
  };
  setInterval(() => {
    show(Date.now() - fresh > STALE);
    if (document.hidden) return;
    if (Date.now() - asked >= (told ? SLOW_POLL : POLL)) load();
  }, 1000);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) load(); });
  if (document.documentElement.dataset.live && window.EventSource) {
    const source = new EventSource(new URL('status/events', location.href));
    source.addEventListener('status', () => { told = true; if (!document.hidden) load(); });
    source.addEventListener('error', () => { told = false; });
  }
})();
