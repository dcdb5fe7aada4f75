'use strict';
// Everything is built from text: nothing that traffic or an operator has written can become markup.
const $ = id => document.getElementById(id);
const SVG = new Set(['svg', 'path', 'rect', 'polyline']);

// An element; `false` and `null` among its children are left out.
function el(name, attributes, ...children) {
  const node = SVG.has(name) ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) if (value !== null && value !== false) node.setAttribute(key, value);
  node.append(...children.flat().filter(child => child !== null && child !== false && child !== undefined));
  return node;
}

// Makes what stands there like `next` with as few changes as possible: focus, open sections and what a screen reader has
// read stay. Children with a data-key keep it.
function morph(old, next) {
  if (old.nodeName !== next.nodeName) return old.replaceWith(next);
  if (old.nodeType === Node.TEXT_NODE) { if (old.data !== next.data) old.data = next.data; return; }
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (name !== 'open' && !next.hasAttribute(name)) old.removeAttribute(name);
  const keyed = new Map([...old.children].filter(child => child.dataset.key).map(child => [child.dataset.key, child]));
  let at = old.firstChild;
  for (const child of [...next.childNodes]) {
    const key = child.dataset?.key;
    const same = key ? keyed.get(key) : at && !at.dataset?.key && at.nodeName === child.nodeName ? at : null;
    if (!same) { old.insertBefore(child, at); continue; }
    if (same !== at) old.insertBefore(same, at); else at = at.nextSibling;
    morph(same, child);
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
}

function show(id, ...children) { const old = $(id), next = old.cloneNode(false); next.append(...children.flat().filter(Boolean)); morph(old, next); }
function text(id, value) { if ($(id).textContent !== value) $(id).textContent = value; }

// Words and numbers for people.
const many = (count, one, more = one + 's') => `${count.toLocaleString('en')} ${count === 1 ? one : more}`;
const rate = value => value === 0 ? '0' : value >= 100 ? Math.round(value).toLocaleString('en') : value >= 10 ? value.toFixed(0) : value.toFixed(1);
const ms = value => value === null || value === undefined ? '–' : value >= 9950 ? `${(value / 1000).toFixed(0)} s` : value >= 995 ? `${(value / 1000).toFixed(1)} s` : value >= 10 ? `${value.toFixed(0)} ms` : `${value.toFixed(1)} ms`;
// Three of them with their unit once.
const latencies = of => !of || of.p50_ms === null ? '–' : of.p99_ms < 9950 ? `${[of.p50_ms, of.p95_ms, of.p99_ms].map(value => ms(value).replace(' ms', '')).join(' · ')}${of.p99_ms < 995 ? ' ms' : ''}` : [of.p50_ms, of.p95_ms, of.p99_ms].map(ms).join(' · ');
const percent = share => share > 0 && share < .001 ? '<0.1 %' : `${(share * 100).toFixed(share < .1 ? 1 : 0)} %`;
function span(seconds) {
  const units = [['d', 86400], ['h', 3600], ['m', 60], ['s', 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return '0 s';
  const [unit, size] = units[first], rest = units[first + 1], left = rest ? Math.floor(seconds % size / rest[1]) : 0;
  return `${Math.floor(seconds / size)} ${unit}` + (left ? ` ${left} ${rest[0]}` : '');
}
const clock = at => at.slice(11, 19);
const day = at => at.slice(0, 10);
const moment = at => `${day(at)} ${clock(at)}`;
const ago = at => span(Math.max(0, Math.round((Date.parse(live?.at ?? new Date().toISOString()) - Date.parse(at)) / 1000))) + ' ago';
const code = value => el('code', {}, value);
const sign = kind => el('i', { class: `sign ${kind}`, 'aria-hidden': 'true' }, { bad: '✕', warn: '!', good: '✓', quiet: '·' }[kind]);
const table = (heads, rows) => el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': heads.map(head => head.text ?? head).join(', ') }, el('table', {},
  el('thead', {}, el('tr', {}, heads.map(head => el('th', { class: head.num ? 'num' : null, scope: 'col' }, head.text ?? head)))),
  el('tbody', {}, rows)));
const num = value => el('td', { class: 'num' }, String(value));

// Calls. A token is sent from here and never by the browser itself.
let live = null, me = null;
const token = () => sessionStorage.getItem('cellgate-token');
const headers = more => ({ ...(token() ? { Authorization: `Bearer ${token()}` } : {}), ...more });

async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: 'no-store', ...options, headers: headers(options.headers) });
  const said = await answer.json().catch(() => ({ error: 'no_json', what: `${path} answered ${answer.status}.`, next: '' }));
  if (!answer.ok) throw Object.assign(new Error(`${said.what ?? answer.status} ${said.next ?? ''}`.trim()), { status: answer.status, error: said.error });
  return said;
}
const change = (method, path, body) => ask(path, { method, body: JSON.stringify(body), headers: { 'Content-Type': 'application/json', 'X-Cellgate-Console': '1' } });

// Who this is, and what they may. Without an answer nobody may change anything here.
const may = route => !!me && (me.may ?? []).some(one => one === route || one === 'operate' && route !== 'POST /break-glass');
const seesAccounts = () => document.body.dataset.accounts === 'yes' || !!me?.role;
async function whoami() {
  try { me = await ask('/whoami'); } catch (error) { me = null; text('who', 'Who are you here?'); text('access-told', error.status === 404 ? 'This address knows nobody: it only shows.' : error.message); return; }
  text('access-told', me.role ? `You are ${me.name}, with the role ${me.role}.` : 'You have shown no token: you can look, and change nothing.');
  text('who', me.role ? `You are ${me.name} (${me.role})` : 'Who are you here?');
}

// A question before anything is changed: what will happen, in words. Answers whether, and the reason where one is asked for.
function sure({ title, words, told, yes, asksReason }) {
  text('sure-title', title); text('sure-text', told); text('sure-words', words); text('sure-yes', yes);
  $('sure-reason').hidden = !asksReason; $('sure-why').value = '';
  const dialog = $('sure');
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise(done => dialog.addEventListener('close', () => done(dialog.returnValue === 'yes' && { reason: $('sure-why').value }), { once: true }));
}
