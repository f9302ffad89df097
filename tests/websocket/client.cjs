// What a client of the ws library does with a WebSocket, through the proxy whose address is the argument.

const assert = require('node:assert');
const { createHash, randomBytes } = require('node:crypto');
const { once } = require('node:events');
const { WebSocket } = require('ws');

const base = process.argv[2];
const MIB = 1024 * 1024;

const open = async (path, options) => {
  const socket = new WebSocket(base + path, { rejectUnauthorized: false, maxPayload: 32 * MIB, ...options });
  await once(socket, 'open');
  return socket;
};
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');
const says = async (socket, message, options = {}) => {
  const answer = once(socket, 'message');
  socket.send(message, options);
  const [said] = await answer;
  assert.strictEqual(digest(said), digest(message));
};

const run = async () => {
  for (const perMessageDeflate of [false, { threshold: 0 }]) {
    const socket = await open('/', { perMessageDeflate });
    assert.strictEqual(socket.extensions.includes('permessage-deflate'), perMessageDeflate !== false);
    await says(socket, 'hello');
    await says(socket, '');
    await says(socket, 'a'.repeat(MIB));
    await says(socket, randomBytes(16 * MIB), { binary: true });

    const answer = once(socket, 'message');
    for (let n = 0; n < 1000; n += 1) socket.send(`${n},`, { fin: false });
    socket.ping();
    socket.send('end', { fin: true });
    const [pong] = await Promise.all([once(socket, 'pong'), answer]);
    assert.strictEqual(pong[0].length, 0);
    assert.strictEqual((await answer)[0].toString(), [...Array(1000).keys()].map((n) => `${n},`).join('') + 'end');

    socket.close(4000, 'done');
    assert.strictEqual((await once(socket, 'close'))[0], 4000);
  }

  const fragments = new WebSocket(`${base}/fragments`, { rejectUnauthorized: false });
  const [whole] = await once(fragments, 'message');
  assert.strictEqual(whole.toString(), [...Array(100).keys()].map((n) => `${n},`).join(''));
  fragments.close();

  const closed = new WebSocket(`${base}/close`, { rejectUnauthorized: false });
  const [code, reason] = await once(closed, 'close');
  assert.deepStrictEqual([code, reason.toString()], [4001, 'because']);

  const vanished = new WebSocket(`${base}/vanish`, { rejectUnauthorized: false });
  assert.strictEqual((await once(vanished, 'close'))[0], 1006);

  const leaving = await open('/');
  leaving.terminate();
  console.log('all is well');
};

run().catch((error) => {
  console.error(error);
  process.exit(1);
});
