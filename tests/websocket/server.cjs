// Says every message back, and does what some paths ask for. It tells how each connection ended.

const { WebSocketServer } = require('ws');

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  maxPayload: 32 * 1024 * 1024,
  perMessageDeflate: { threshold: 0 },
});

server.on('connection', (socket, request) => {
  socket.on('message', (message, isBinary) => socket.send(message, { binary: isBinary }));
  socket.on('close', (code, reason) => console.log(`closed with ${code} ${reason}`));
  socket.on('error', (error) => console.log(`error ${error.message}`));
  if (request.url === '/close') socket.close(4001, 'because');
  if (request.url === '/vanish') socket.terminate();
  if (request.url === '/talk') {
    const talking = setInterval(() => socket.send('x'.repeat(100_000), () => {}), 1);
    socket.on('close', () => clearInterval(talking));
  }
  if (request.url === '/fragments') {
    for (let n = 0; n < 100; n += 1) socket.send(`${n},`, { fin: n === 99, compress: false });
  }
});
server.on('listening', () => {
  const { address, port } = server.address();
  console.log(`listens on ${address}:${port}`);
});
