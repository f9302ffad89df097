// A KMS that knows nothing of guestpass but a secret: it verifies each delivery with the stock library of Standard
// Webhooks, says on standard output what came of it, and accepts what was genuine.

import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.argv[2]);

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    const event = webhook.verify(Buffer.concat(chunks).toString(), request.headers);
    console.log(`verified ${request.headers["webhook-id"]} ${event.event} ${event.sessionId}`);
    response.writeHead(204).end();
  } catch (error) {
    console.log(`rejected ${request.headers["webhook-id"]}: ${error.message}`);
    response.writeHead(401).end();
  }
});

server.listen(0, "127.0.0.1", () => console.log(`receiving on ${server.address().port}`));
