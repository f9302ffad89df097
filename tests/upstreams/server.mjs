// A site that reads its paths in as many ways as there are frameworks for Node.js, and has one secret: whatever any of
// them would take for a page under /account gets it.

import { createServer } from 'node:http';
import { posix } from 'node:path';

const secret = process.argv[2];

const attempt = (read) => (path) => {
  try {
    return read(path);
  } catch {
    return path;
  }
};
const steps = [
  (path) => path.split(/[?#]/)[0],
  (path) => path.replaceAll('\\', '/'),
  (path) => path.replace(/\/+/g, '/'),
  (path) => path.replace(/;[^/]*/g, ''),
  (path) => posix.normalize(path),
  attempt(decodeURI),
  attempt(decodeURIComponent),
  attempt(unescape),
  attempt((path) => new URL(path, 'http://localhost').pathname),
  attempt((path) => new URL(`http://localhost${path}`).pathname),
  (path) => path.trim(),
];

// Every order of up to three steps.
function* readings(path, depth = 3) {
  yield path;
  if (depth === 0) return;
  for (const step of steps) {
    const next = step(path);
    if (next !== path) yield* readings(next, depth - 1);
  }
}

const isProtected = (path) => /^\/account(\/|$)/i.test(path);

const server = createServer((request, response) => {
  const found = [...readings(request.url)].some(isProtected);
  response.setHeader('Content-Type', 'text/plain');
  response.end(found ? secret : 'for everybody');
});
server.listen(0, '127.0.0.1', () => {
  const { address, port } = server.address();
  console.log(`listens on ${address}:${port}`);
});
