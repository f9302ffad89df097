
// Numbers and moments in words, and the verdict: pure functions of what `/status` says.

const MARKS = { good: '●', idle: '○', note: 'ℹ', warn: '▲', bad: '✕', wait: '…' };
const DAY = 86400;

const count = number => Math.round(number).toLocaleString('en');
const several = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
const rate = number => (number >= 100 || number === 0 ? count(number) : number.toFixed(number < 10 ? 1 : 0));
// What is nearly all is not rounded to all: the one in a thousand is what one looks for.
const percent = share => `${(share > 0.9995 && share < 1 ? 99.9 : share * 100).toFixed(share < 1 && share > 0 ? 1 : 0)}\u00a0%`;

function span(seconds) {
  const pair = (big, unit, small, rest) => (small ? `${big} ${unit} ${small} ${rest}` : `${big} ${unit}`);
  if (seconds < 0) return `−${span(-seconds)}`;
  if (seconds < 0.001) return 'less than 1 ms';
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 2 * DAY) return pair(Math.floor(seconds / 3600), 'h', Math.floor((seconds % 3600) / 60), 'min');
  if (seconds < 10 * DAY) return pair(Math.floor(seconds / DAY), 'd', Math.floor((seconds % DAY) / 3600), 'h');
  return `${Math.floor(seconds / DAY)} days`;
}

// RFC 3339 moments, all in UTC: the time of day alone where the day is today's.
const clockTime = (moment, now) => (moment.slice(0, 10) === now.slice(0, 10) ? '' : `${moment.slice(0, 10)} `) + moment.slice(11, 19);
const between = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;
const total = counts => Object.values(counts).reduce((sum, number) => sum + number, 0);
const sum = (list, step) => list.reduce((sum, number) => sum + number, 0) * step;

// From three weeks before its end on somebody should know that nothing renews a certificate, from three days on act.
const certificateLevel = left => (left <= 3 * DAY ? 'bad' : left <= 21 * DAY ? 'warn' : 'good');

function genesysIn(status) {
  const { genesys, last_minutes: last } = status;
  const failed = total(last.mint_failure_reasons);
  if (!genesys) return ['wait', 'Genesys is not known yet.'];
  if (genesys.breaker === 'open') {
    return ['warn', 'Genesys keeps failing: new visits get no session.'];
  }
  const refused = (last.mint_failure_reasons.unauthorized ?? 0) + (last.mint_failure_reasons.forbidden ?? 0);
  if (refused > 0) return ['bad', `Genesys refuses our OAuth client, so ${several(refused, 'visit', 'visits')} got no session in the last five minutes: check its id, secret and permissions.`];
  if (failed > 0) return ['warn', `Genesys answers, but ${several(failed, 'visit', 'visits')} got no session in the last five minutes.`];
  return genesys.token_seconds === null ? ['good', 'Genesys has not been needed yet.'] : ['good', 'Genesys answers.'];
}

function serversIn({ upstreams }) {
  const healthy = upstreams.filter(server => server.healthy).length;
  if (upstreams.length === 0) return ['wait', 'No upstream server is known yet.'];
  const level = healthy === upstreams.length ? 'good' : 'warn';
  if (upstreams.length === 1) return [level, `The upstream server is ${healthy ? 'healthy' : 'not healthy'}.`];
  return [level, `${healthy} of ${upstreams.length} upstream servers are healthy.`];
}

// What needs somebody, the worst first: [level, words].
function troublesIn(status) {
  const { now, audit, outbox, reloads, certificates, upstreams, last_minutes: last } = status;
  const troubles = status.not_ready_because.map(why => ['bad', `Not ready: ${why}.`]);
  const sent = total(last.readings) - (last.readings.absent ?? 0);
  const shadowed = status.shadowed.reduce((sum, route) => sum + route.requests, 0);
  if (audit?.failing) troubles.push(['bad', 'The audit log cannot be written.']);
  if (audit?.lost > 0) troubles.push(['warn', `${several(audit.lost, 'audit line has', 'audit lines have')} been lost since the start.`]);
  if (outbox?.unwritable) troubles.push(['bad', 'What the KMS is to hear cannot be written down: nobody new gets a session.']);
  if (outbox?.dead_letters > 0) troubles.push(['warn', `${several(outbox.dead_letters, 'event was', 'events were')} given up, and the KMS has not heard of ${outbox.dead_letters === 1 ? 'it' : 'them'}.`]);
  if (outbox?.oldest_age_seconds > 60) troubles.push(['warn', `The KMS is behind: the oldest event has waited for ${span(outbox.oldest_age_seconds)}.`]);
  for (const server of upstreams.filter(server => !server.healthy)) {
    troubles.push(['warn', `${server.server} (${server.upstream}) is left alone since ${clockTime(server.since, now)}${server.last_error ? `: ${server.last_error}` : ''}.`]);
  }
  for (const { names, seconds_left: left } of certificates) {
    if (left > 0 && certificateLevel(left) !== 'good') troubles.push([certificateLevel(left), `The certificate of ${names.join(', ')} ends in ${span(left)}.`]);
  }
  if (reloads.last_result === 'refused') {
    troubles.push(['warn', `The configuration that was read at ${clockTime(reloads.last_at, now)} was refused, and the last good one is in use: the log says why.`]);
  }
  if (status.key_rotation_due_at && between(status.key_rotation_due_at, now) > 3600) {
    troubles.push(['warn', `The signing key was to be replaced by ${clockTime(status.key_rotation_due_at, now)}, and nobody did.`]);
  }
  // Of a hundred cookies one in twenty that is no good is more than people who come back late.
  if (sent >= 100 && last.validity < 0.95) troubles.push(['warn', `Only ${percent(last.validity)} of the cookies that were sent in the last five minutes were good.`]);
  if (shadowed > 0) troubles.push(['note', `Routes in shadow have let ${several(shadowed, 'request', 'requests')} pass that they would have turned away.`]);
  return troubles;
}

function verdictOn(status) {
  const [genesys, servers, troubles] = [genesysIn(status), serversIn(status), troublesIn(status)];
  const levels = [genesys, servers, ...troubles].map(([level]) => level);
  const level = ['bad', 'warn'].find(level => levels.includes(level)) ?? 'good';
  const first = status.ready ? 'Serving.' : 'Not ready.';
  const worst = status.ready && troubles.find(([level]) => level === 'bad')?.[1];
  return { level, first, sentence: [first, worst, genesys[1], servers[1]].filter(Boolean).join(' '), troubles };
}
