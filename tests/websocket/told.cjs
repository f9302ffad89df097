// WebSockets that stay open until they are closed from the other side, through the proxy whose address is the argument.

const { WebSocket } = require('ws');

let opening = 4;
for (const path of ['/', '/talk']) {
  for (const perMessageDeflate of [false, { threshold: 0 }]) {
    const socket = new WebSocket(process.argv[2] + path, { rejectUnauthorized: false, perMessageDeflate });
    socket.on('open', () => {
      opening -= 1;
      if (opening === 0) console.log('all are open');
    });
    socket.on('message', (message) => {
      if (message.length !== 100_000) throw new Error(`a message of ${message.length}`);
    });
    socket.on('close', (code) => console.log(`closed with ${code}`));
  }
}
