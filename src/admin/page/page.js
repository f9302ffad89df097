
// Asks `/status` every two seconds, which is how far apart its steps are, and shows what it says.

const INTERVAL = 2000;
const PATIENCE = 5000;
const by = id => document.getElementById(id);
let token = null;
let status = null;
let lostAt = null;
let timer;
let asking = 0;

const charts = {
  visits: ['Visits', 'visits'],
  mints: ['Sessions minted', 'mints', 'mint_failures', 'failed'],
  refusals: ['Refusals', 'refusals'],
  requests: ['All requests', 'requests'],
};
for (const figure of document.querySelectorAll('[data-chart]')) {
  const [title, list, others, second] = charts[figure.dataset.chart];
  charts[figure.dataset.chart] = { chart: new Chart(figure, title, second), list, others };
}

const authorized = () => (token ? { authorization: `Bearer ${token}` } : {});
const call = (path, more) => fetch(path, { cache: 'no-store', credentials: 'omit', redirect: 'error', signal: AbortSignal.timeout(PATIENCE), ...more });

async function poll() {
  clearTimeout(timer);
  const mine = ++asking;
  let show;
  try {
    const response = await call('/status', { headers: authorized() });
    const said = await response.json();
    show = response.ok ? () => fare(said) : () => locked(response.status, said);
  } catch {
    show = lost;
  }
  // Another one was begun meanwhile, or nobody looks.
  if (mine !== asking || document.hidden) return;
  show();
  // Whoever has to bring a token and brings none is asked for it, and the proxy is left alone meanwhile.
  if (by('unlock').hidden) timer = setTimeout(poll, INTERVAL);
}
document.addEventListener('visibilitychange', () => (document.hidden ? clearTimeout(timer) : poll()));
addEventListener('pagehide', () => hold(null));

function judge(level, first, sentence, detail, troubles = []) {
  const colours = { good: '#1d8a4e', warn: '#c77700', bad: '#c9302a', wait: '#7a8291' };
  by('verdict').dataset.level = level;
  set(by('mark'), MARKS[level]);
  set(by('sentence'), sentence);
  set(by('detail'), detail ?? '');
  by('detail').hidden = !detail;
  list(by('troubles'), troubles.map(([level, text]) => [level, text]), ([level, text]) => {
    const item = element('li', '', element('span', 'mark', MARKS[level]), element('span', '', text));
    item.firstChild.setAttribute('aria-hidden', 'true');
    item.dataset.level = level;
    return item;
  });
  document.title = `${MARKS[level]} ${first} guestpass`;
  const icon = `<svg xmlns="${SVG}" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colours[level]}"/></svg>`;
  if (by('icon').dataset.level !== level) by('icon').href = `data:image/svg+xml,${encodeURIComponent(icon)}`;
  by('icon').dataset.level = level;
}

function lost() {
  lostAt ??= new Date().toISOString();
  const since = clockTime(lostAt, new Date().toISOString());
  document.body.classList.add('lost');
  set(by('seen'), 'Not live');
  judge('bad', 'Unreachable.', `The proxy cannot be reached since ${since}.`, `${status ? `What stands below is from ${clockTime(status.now, lostAt)}. ` : ''}It is asked again every two seconds.`);
}

function locked(code, problem) {
  document.body.classList.remove('lost');
  by('board').hidden = true;
  set(by('seen'), 'Not live');
  if (code === 401) {
    const why = token ? 'That was another token.' : 'On this address whoever looks has to bring the token too.';
    hold(null);
    by('unlock').hidden = false;
    set(by('unlock-why'), `${why} It stays in this page's memory, and nowhere else.`);
    judge('wait', 'Locked.', 'The proxy answers, and asks for the admin token.');
  } else {
    judge('bad', 'Refused.', `The proxy refuses to say how it fares: ${problem.title ?? code}.`, problem.detail);
  }
}

function fare(said) {
  status = said;
  lostAt = null;
  document.body.classList.remove('lost');
  by('board').hidden = false;
  by('unlock').hidden = true;
  const { level, first, sentence, troubles } = verdictOn(said);
  judge(level, first, sentence, null, troubles);
  set(by('version'), said.commit ? `${said.version} (${said.commit})` : said.version);
  set(by('seen'), `Live · as of ${said.now.slice(11, 19)} UTC`);
  for (const { chart, list, others } of Object.values(charts)) {
    chart.show(said.last_minutes[list], said.last_minutes.step_seconds, others ? said.last_minutes[others] : []);
  }
  for (const show of [facts, genesys, waits, cookies, servers, keys, certificates, books, shadow, refusals, changes]) show(said);
}

// Makes as many children of `parent` as there are rows, and anew only those whose row has changed.
function list(parent, rows, make) {
  rows.forEach((row, index) => {
    const [said, old] = [JSON.stringify(row), parent.children[index]];
    if (old?.said === said) return;
    const made = make(row);
    made.said = said;
    if (old) old.replaceWith(made); else parent.append(made);
  });
  while (parent.children.length > rows.length) parent.lastChild.remove();
}

// Pairs of a name and what stands behind it; a level in third place has its mark before.
function pairs(parent, rows) {
  list(parent, rows.filter(Boolean), ([name, text, level]) => {
    const value = element('dd', '', ...(level ? [marked(level, text)] : [text]));
    return element('div', '', element('dt', '', name), value);
  });
}

function marked(level, text) {
  const mark = element('span', 'mark', MARKS[level]);
  mark.setAttribute('aria-hidden', 'true');
  const made = element('span', 'state', mark, text);
  made.dataset.level = level;
  return made;
}

// Each cell is a text, or {text, level} or {text, share}, and `label` its class.
function table(body, rows) {
  const heads = [...body.closest('table').querySelectorAll('th')];
  list(body, rows, row => element('tr', '', ...row.map((cell, index) => {
    const { text, level, share, label = '' } = typeof cell === 'string' ? { text: cell } : cell;
    const made = element('td', `${label} ${heads[index].className}`.trim(), ...(level ? [marked(level, text)] : share === undefined ? [text] : [meter(share), text]));
    made.dataset.label = heads[index].textContent;
    return made;
  })));
}

function meter(share) {
  const bar = element('i', '');
  bar.style.width = `${share * 100}%`;
  const made = element('span', 'meter', bar);
  made.setAttribute('aria-hidden', 'true');
  return made;
}

function facts({ uptime_seconds: uptime, started_at: started, now, connections, reloads }) {
  const read = reloads.last_at === null ? 'as at the start' : `read again at ${clockTime(reloads.last_at, now)}: ${reloads.last_result}`;
  pairs(by('facts'), [
    ['Up for', `${span(uptime)}, since ${clockTime(started, now)}`],
    ['Configuration', read, reloads.last_result === 'refused' ? 'warn' : undefined],
    connections && ['Connections', `${count(connections.open)} open${connections.refused ? `, ${count(connections.refused)} refused at a limit` : ''}`],
  ]);
}

function genesys({ genesys, pool }) {
  const open = genesys?.breaker === 'open';
  const again = genesys?.retry_in_seconds > 0 ? `in ${span(genesys.retry_in_seconds)}` : 'with the next visit';
  pairs(by('genesys'), [
    genesys && ['Breaker', open ? `open: left alone, tried again ${again}` : 'closed', open ? 'warn' : 'good'],
    genesys && ['OAuth token', genesys.token_seconds === null ? 'none: not needed yet, or not to be had' : `good for ${span(genesys.token_seconds)}`],
    pool && ['Warm pool', pool.size === 0 ? 'off' : `${count(pool.ready)} ready, ${count(pool.under_way)} under way, ${count(pool.size)} at most`],
  ]);
}

function waits({ last_minutes: { mint_seconds: waits, mint_failure_reasons: failures } }) {
  by('waits').hidden = !waits;
  by('waits-none').hidden = Boolean(waits);
  if (waits) pairs(by('waits'), [['Half, up to', span(waits.p50)], ['95 %, up to', span(waits.p95)], ['99 %, up to', span(waits.p99)]]);
  pairs(by('failures'), Object.entries(failures).map(([reason, number]) => [`failed: ${reason}`, count(number)]));
}

function cookies({ last_minutes: { validity, readings } }) {
  set(by('validity'), validity === null ? '—' : percent(validity));
  set(by('validity-unit'), validity === null ? 'no cookie was sent' : 'of those that were sent were good');
  pairs(by('readings'), Object.entries(readings).sort((a, b) => b[1] - a[1]).map(([reading, number]) => [reading, count(number)]));
}

function servers({ upstreams, now }) {
  table(by('servers'), upstreams.map(server => [
    { text: server.healthy ? 'healthy' : 'left alone', level: server.healthy ? 'good' : 'warn' },
    server.upstream,
    { text: server.server, label: 'code' },
    { text: `${clockTime(server.since, now)}`, label: 'tight' },
    count(server.under_way),
    server.last_error ?? 'nothing yet',
  ]));
}

function keys({ keys, now, key_rotation_due_at: due, key_ring: ring }) {
  const words = { signing: ['good', 'signs'], staged: ['idle', 'is next'], verifying: ['idle', 'verifies'] };
  table(by('keys'), keys.map(key => {
    const [level, word] = words[key.state] ?? ['idle', key.state];
    const soon = key.signs_from ? `, in ${span(Math.max(0, between(now, key.signs_from)))}` : '';
    return [
      { text: word + soon, level },
      { text: key.id, label: 'code tight' },
      { text: key.age_seconds === null ? 'not known' : span(key.age_seconds), label: 'tight' },
      count(key.verified),
      key.share === null ? '—' : { text: percent(key.share), share: key.share },
    ];
  }));
  set(by('rotation'), due ? `The next rotation is due on ${due.slice(0, 10)}, in ${span(between(now, due))}.` : ring ? 'Nothing rotates them by itself (keys.rotate_every is off).' : 'A secret of the configuration, which nothing rotates: a ring file (keys.file) can be.');
}

function certificates({ certificates }) {
  table(by('certificates'), certificates.map(({ names, not_after: end, seconds_left: left }) => [
    { text: left <= 0 ? 'expired' : certificateLevel(left) === 'good' ? 'good' : 'ends soon', level: certificateLevel(left) },
    names.join(', '),
    { text: `${end.slice(0, 10)} ${end.slice(11, 16)}`, label: 'tight' },
    { text: left <= 0 ? '—' : span(left), label: 'tight' },
  ]));
}

function books({ audit, outbox }) {
  pairs(by('books'), [
    audit ? ['Audit log', audit.failing ? 'cannot be written' : `${count(audit.written)} lines written${audit.lost ? `, ${count(audit.lost)} lost` : ''}`, audit.failing ? 'bad' : audit.lost ? 'warn' : 'good'] : ['Audit log', 'off (audit.path)'],
    outbox ? ['KMS', outboxIn(outbox), outbox.unwritable ? 'bad' : outbox.dead_letters || outbox.failing ? 'warn' : 'good'] : ['KMS', 'off: no webhook (kms.webhook_url)'],
  ]);
}

function outboxIn({ messages, oldest_age_seconds: oldest, dead_letters: dead, failing, unwritable, delivering }) {
  if (unwritable) return 'cannot be written down';
  const waiting = messages ? `${count(messages)} waiting, the oldest for ${span(oldest ?? 0)}` : 'nothing waits';
  return `${waiting}${dead ? `, ${count(dead)} given up` : ''}${failing ? '; the last attempt failed' : ''}${delivering ? '' : '; another process delivers'}`;
}

function shadow({ shadowed }) {
  by('shadow-none').hidden = shadowed.length > 0;
  by('shadow-table').hidden = shadowed.length === 0;
  table(by('shadow'), shadowed.map(({ route, requests }) => [{ text: route, label: 'code' }, count(requests)]));
}

function refusals({ refusals, now, last_minutes: { refusal_codes: codes } }) {
  by('refusals-none').hidden = refusals.length > 0;
  by('refusals-table').hidden = refusals.length === 0;
  const rows = Object.entries(codes).sort((a, b) => b[1] - a[1]);
  pairs(by('codes'), rows.map(([code, number]) => [code, `${count(number)} in 5 min`]));
  table(by('refusals'), refusals.map(refusal => [
    { text: clockTime(refusal.at, now), label: 'tight' },
    String(refusal.status),
    { text: refusal.code, label: 'code' },
    refusal.reason,
    { text: refusal.route ?? '—', label: 'code' },
    { text: refusal.client ?? '—', label: 'tight' },
  ]));
}
