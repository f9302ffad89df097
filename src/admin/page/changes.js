
// What the operator may change: only with the admin token, which is typed in, held in a variable, and stored nowhere.

function hold(typed) {
  token = typed;
  by('token').value = by('unlock-token').value = '';
  by('token-form').hidden = Boolean(token);
  by('token-held').hidden = !token;
  by('calls').disabled = !token;
}

function changes({ can_be_changed: can, key_ring: ring, outbox }) {
  by('off').hidden = can;
  by('on').hidden = !can;
  for (const control of by('rotate').querySelectorAll('button, input')) control.disabled = !ring?.writable;
  const staged = ring && `The next key verifies at once, and signs after ${span(ring.stage_seconds)}: by then every replica has read it.`;
  by('retry').hidden = !outbox;
  for (const control of by('retry').querySelectorAll('button')) control.disabled = !outbox?.dead_letters;
  set(by('retry-how'), outbox?.dead_letters ? `${several(outbox.dead_letters, 'event was', 'events were')} given up.` : 'No event was given up.');
  set(by('rotate-how'), ring?.writable ? staged : ring ? 'This process may only read the ring file: rotate it where it is written.' : 'The key is a secret of the configuration, and no ring file.');
}

for (const [form, input] of [['token-form', 'token'], ['unlock', 'unlock-token']]) {
  by(form).addEventListener('submit', event => {
    event.preventDefault();
    hold(by(input).value.trim());
    set(by('outcome'), '');
    poll();
  });
}
by('forget').addEventListener('click', () => { hold(null); poll(); });

// Asks whether that is meant; Escape is no.
function sure(what, means, yes) {
  set(by('sure-what'), what);
  set(by('sure-means'), means);
  set(by('sure-yes'), yes);
  by('sure').returnValue = '';
  by('sure').showModal();
  return new Promise(done => by('sure').addEventListener('close', () => done(by('sure').returnValue === 'yes'), { once: true }));
}
by('sure-yes').addEventListener('click', () => by('sure').close('yes'));
by('sure-no').addEventListener('click', () => by('sure').close('no'));

function tell(level, text) {
  by('outcome').replaceChildren(marked(level, ''), text);
}

async function change(path, body, done) {
  tell('wait', 'It is being done …');
  try {
    const response = await call(path, { method: 'POST', headers: { 'content-type': 'application/json', ...authorized() }, body: JSON.stringify(body) });
    const said = await response.json();
    if (response.ok) return tell('good', done(said));
    if (response.status === 401) hold(null);
    tell('bad', `${said.title}${said.detail ? `: ${said.detail}` : ''}.`);
  } catch {
    tell('bad', 'The proxy has not answered: whether it was done is not known.');
  }
}

function when(form, ask) {
  by(form).addEventListener('submit', async event => {
    event.preventDefault();
    await ask();
    poll();
  });
}

when('revoke-one', async () => {
  const id = by('session-id').value.trim();
  if (!await sure(`Revoke session ${id}?`, 'Whoever has it is a stranger from then on. This cannot be undone.', 'Revoke it')) return;
  await change('/sessions/revoke', { session_id: id }, () => `Session ${id} is revoked, on disk and on every core.`);
});

when('revoke-all', async () => {
  const typed = by('before').value;
  const moment = typed ? new Date(`${typed}Z`).toISOString() : status.now;
  if (!await sure(`Revoke all sessions issued before ${moment}?`, 'Every visitor who came before is a stranger from then on, and gets another session with the next visit. This cannot be undone.', 'Revoke them all')) return;
  await change('/sessions/revoke', { issued_before: moment }, () => `All sessions issued before ${moment} are revoked.`);
});

when('rotate', async () => {
  const now = by('at-once').checked;
  const means = now ? 'The new key signs at once. Replicas that have not read it yet take its cookies for outdated. The old key still verifies: where it has leaked, end it with `guestpass keys retire ID --force`.' : `The new key verifies at once and signs after ${span(status.key_ring.stage_seconds)}. Nobody loses a session.`;
  if (!await sure('Rotate the keys?', means, 'Rotate them')) return;
  await change('/keys/rotate', { now }, ({ key, signs_from: from }) => `${key} is in the ring, and signs from ${from.slice(11, 19)}.`);
});

when('retry', async () => {
  if (!await sure('Tell the KMS again?', 'Every event that was given up is delivered again, behind all that waits.', 'Deliver them')) return;
  await change('/outbox/retry', { all: true }, ({ retried }) => `${several(retried, 'event is', 'events are')} to be delivered again.`);
});

poll();
