// What is promised of sessions, in headless Chromium. tests/it/browser.rs starts the proxies and the sites, and says in
// WORLD where they are. For each case it is shown how many sessions Genesys made, what the jar holds, and what a page's
// script sees of it.
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { chromium } from 'playwright-core';

const world = JSON.parse(process.env.WORLD);

// The shop, whose cookie is Strict, and a sibling of it; another one, whose cookie is Lax; a site that links to both;
// and the first one as browsers see it that send no Fetch Metadata.
const SHOP = 'https://www.shop.example';
const SIBLING = 'https://blog.shop.example';
const LAX = 'https://www.lax.example';
const ELSEWHERE = 'https://www.news.example';
const OLD = 'https://www.old.example';

const SESSION = 'genesys_session';
const MARKER = 'genesys_session_seen';
const HOP = 'genesys_session_hop';

let browser, forwarder, context, page, mintedBefore;

before(async () => {
  forwarder = await forwardWithoutFetchMetadata();
  const certificate = readFileSync(world.certificate);
  const publicKey = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' });
  const hosts = {
    '*.shop.example': world.strict,
    '*.lax.example': world.lax,
    '*.news.example': world.strict,
    '*.old.example': forwarder.address().port,
  };
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      // CI runs as root.
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      // As if the certificate were good: where errors are only ignored, nothing is kept in the cache.
      `--ignore-certificate-errors-spki-list=${createHash('sha256').update(publicKey).digest('base64')}`,
      `--host-resolver-rules=${Object.entries(hosts).map(([host, port]) => `MAP ${host} 127.0.0.1:${port}`)}`,
    ],
  });
  console.log(`Chromium ${browser.version()}`);
});

after(async () => {
  await browser?.close();
  forwarder?.close();
  forwarder?.closeAllConnections();
});

beforeEach(async () => {
  context = await browser.newContext();
  page = await context.newPage();
  mintedBefore = await mintedInAll();
});

// Whatever happened, a page's script sees nothing of ours.
afterEach(async t => {
  const seen = await page.evaluate(() => document.cookie);
  const jar = (await context.cookies()).map(cookie => `${cookie.name} (${cookie.domain}${cookie.path})`).sort();
  console.log(`${t.name}\n    minted ${await minted()}; jar: ${jar.join(', ') || 'empty'}; document.cookie: '${seen}'`);
  assert.equal(seen, '');
  await context.close();
});

test('a first visit gets one session, and a return no other', async () => {
  await page.goto(SHOP);
  const [session, marker] = [await cookie(SESSION), await cookie(MARKER)];
  for (const set of [session, marker]) {
    assert.deepEqual([set.domain, set.path, set.httpOnly, set.secure], ['www.shop.example', '/', true, true]);
  }
  assert.deepEqual([session.sameSite, marker.sameSite], ['Strict', 'Lax']);
  assert.equal(await minted(), 1);
  assert.notEqual(await told(), 'nobody');
  const first = await told();
  await page.goto(`${SHOP}/account/`);
  assert.equal(await told(), first);
  await expect({ minted: 1, session });
});

test('a first visit by a link elsewhere gets a session', async () => {
  await page.goto(`${ELSEWHERE}/public/`);
  await follow(`${SHOP}/`);
  assert.notEqual(await told(), 'nobody');
  await expect({ minted: 1 });
});

test('a link elsewhere leads to a Strict session without it, and replaces nothing', async () => {
  const { session, id } = await settle(SHOP);
  await page.goto(`${ELSEWHERE}/public/`);
  await follow(`${SHOP}/`);
  assert.equal(await told(), 'nobody');
  await follow(`${SHOP}/next`);
  assert.equal(await told(), id, 'and the next click is known');
  await expect({ minted: 1, session });
});

test('a link elsewhere leads to a Lax session with it', async () => {
  const { session, id } = await settle(LAX);
  await page.goto(`${ELSEWHERE}/public/`);
  for (const path of ['/', '/account/']) {
    await page.goto(`${ELSEWHERE}/public/`);
    await follow(`${LAX}${path}`);
    assert.equal(await told(), id);
  }
  await expect({ minted: 1, session, names: [SESSION] });
});

// With a fragment the page that reloads itself stayed where it was.
test('a link elsewhere opens a protected path, by one reload, and a place on its page', async () => {
  const { session, id } = await settle(SHOP);
  await page.goto(`${ELSEWHERE}/public/`);
  const answers = answersAt('/account/orders');
  await follow(`${SHOP}/account/orders?page=2#three`);
  await page.locator('#who').waitFor();
  assert.equal(await told(), id);
  assert.equal(page.url(), `${SHOP}/account/orders?page=2#three`);
  assert.equal(answers.length, 2);
  await expect({ minted: 1, session, names: [SESSION, HOP, MARKER] });
});

test('a form on another site replaces nothing', async () => {
  const { session } = await settle(SHOP);
  await page.goto(`${ELSEWHERE}/public/`);
  await page.evaluate(url => {
    const form = Object.assign(document.createElement('form'), { method: 'post', action: url });
    document.body.append(form);
    form.submit();
  }, `${SHOP}/`);
  await page.waitForURL(`${SHOP}/`);
  await expect({ minted: 1, session });
});

test('a frame on another site neither gets nor replaces a session', async () => {
  const embed = async () => {
    await page.goto(`${ELSEWHERE}/public/`);
    await page.evaluate(
      url =>
        new Promise(loaded => {
          const frame = Object.assign(document.createElement('iframe'), { src: url, onload: loaded });
          document.body.append(frame);
        }),
      `${SHOP}/`,
    );
    assert.equal(await page.frameLocator('iframe').locator('#who').textContent(), 'nobody');
  };
  await embed();
  await expect({ minted: 0, names: [] });
  const { session } = await settle(SHOP);
  await embed();
  await expect({ minted: 1, session });
});

test('a fetch from another site neither gets nor replaces a session', async () => {
  const ask = async () => {
    await page.goto(`${ELSEWHERE}/public/`);
    for (const method of ['GET', 'POST']) {
      for (const path of ['/', '/account/', '/_guestpass/session']) {
        const options = { method, mode: 'no-cors', credentials: 'include' };
        await page.evaluate(([url, options]) => fetch(url, options).catch(() => {}), [`${SHOP}${path}`, options]);
      }
    }
  };
  await ask();
  await expect({ minted: 0, names: [] });
  const { session } = await settle(SHOP);
  await ask();
  await expect({ minted: 1, session });
});

test('a page that is fetched ahead gets no session, and when it is opened one', async () => {
  const ahead = {
    link: url => document.head.append(Object.assign(document.createElement('link'), { rel: 'prefetch', href: url })),
    rules: url => {
      const rules = { prefetch: [{ source: 'list', urls: [url], eagerness: 'immediate' }] };
      const script = Object.assign(document.createElement('script'), { type: 'speculationrules' });
      script.textContent = JSON.stringify(rules);
      document.head.append(script);
    },
  };
  await page.goto(`${SHOP}/public/`);
  for (const [name, fetchAhead] of Object.entries(ahead)) {
    await page.evaluate(fetchAhead, `/ahead-by-${name}`);
    await eventually(`it is fetched ahead by ${name}`, async () => {
      const seen = await (await fetch(`${world.pages}/seen`)).json();
      return seen.some(({ path, purpose }) => path === `/ahead-by-${name}` && purpose.includes('prefetch'));
    });
  }
  await expect({ minted: 0, names: [] });
  await follow(`${SHOP}/`);
  await expect({ minted: 1 });
});

test('two first tabs at once get two sessions at most, and the jar ends with one', async () => {
  const tabs = [page, await context.newPage()];
  await Promise.all(tabs.map(tab => tab.goto(SHOP)));
  assert.ok((await minted()) <= 2);
  await Promise.all(tabs.map(tab => tab.goto(`${SHOP}/account/`)));
  const ids = await Promise.all(tabs.map(tab => tab.locator('#who').textContent()));
  assert.equal(ids[0], ids[1]);
  await expect({ minted: await minted() });
});

test('sign-out takes the session away for good', async () => {
  const { session } = await settle(SHOP);
  assert.equal(await page.evaluate(() => fetch('/_guestpass/session', { method: 'DELETE' }).then(it => it.status)), 204);
  await expect({ minted: 1, names: [] });
  await context.addCookies([session]);
  assert.equal((await page.goto(`${SHOP}/account/`)).status(), 403, 'it was revoked');
  await expect({ minted: 1, names: [] });
});

test('a service worker that passes navigations through changes nothing', async () => {
  const { session, id } = await settle(SHOP);
  await page.evaluate(async () => {
    await navigator.serviceWorker.register('/worker.js');
    await navigator.serviceWorker.ready;
    while (!navigator.serviceWorker.controller) await new Promise(next => setTimeout(next, 10));
  });
  for (const path of ['/', '/account/']) {
    const answer = await page.goto(`${SHOP}${path}`);
    assert.ok(answer.fromServiceWorker());
    assert.equal(await told(), id);
  }
  for (const path of ['/', '/account/']) {
    await page.goto(`${ELSEWHERE}/public/`);
    await follow(`${SHOP}${path}`);
    await page.locator('#who').waitFor();
    if (path !== '/') assert.equal(await told(), id);
  }
  assert.deepEqual(await cookie(SESSION), session);
  assert.equal(await minted(), 1);
  await context.clearCookies();
  await page.goto(SHOP);
  assert.notEqual(await told(), 'nobody', 'a first visit through the worker');
  await expect({ minted: 2 });
});

test('a page from the cache gets its session by script', async () => {
  await settle(SHOP);
  await page.goto(`${SHOP}/cached`);
  await context.clearCookies();
  await page.goto(`${SHOP}/public/`);
  const requests = answersAt('/cached');
  await follow(`${SHOP}/cached`);
  assert.ok(requests.length === 1 && (await requests[0].request().sizes()).responseHeadersSize >= 0);
  const seen = await (await fetch(`${world.pages}/seen`)).json();
  assert.equal(seen.filter(({ path }) => path === '/cached').length, 1, 'the site was asked once');
  await expect({ minted: 1, names: [] });
  const ask = () => page.evaluate(() => fetch('/_guestpass/session', { method: 'POST' }).then(it => it.json()));
  const got = await ask();
  assert.deepEqual(Object.keys(got).sort(), ['expires_at', 'session_id'], 'and never the token');
  assert.deepEqual(await ask(), got, 'a second time gives the same');
  await expect({ minted: 2 });
});

test('a WebSocket ends within two seconds of its session', async () => {
  const { id } = await settle(SHOP);
  const echoed = await page.evaluate(async () => {
    const socket = new WebSocket('wss://www.shop.example/echo');
    await new Promise(opened => (socket.onopen = opened));
    window.closed = new Promise(ended => (socket.onclose = () => ended(Date.now())));
    const answer = new Promise(said => (socket.onmessage = message => said(message.data)));
    socket.send('hello');
    return answer;
  });
  assert.equal(echoed, 'hello');
  const revoked = Date.now();
  const answer = await fetch(`${world.admin}/sessions/revoke`, {
    method: 'POST',
    headers: { authorization: 'Bearer a-token-of-the-tests', 'content-type': 'application/json' },
    body: JSON.stringify({ session_id: id }),
  });
  assert.equal(answer.status, 200);
  const took = (await page.evaluate(() => window.closed)) - revoked;
  assert.ok(took < 2000, `${took} ms`);
  await expect({ minted: 1 });
});

test('a planted twin is cleared away, and the visitor keeps their own session', async () => {
  const strangers = await strangersSession();
  for (const place of ['Domain=shop.example; Path=/', 'Domain=shop.example; Path=/account', 'Domain=shop.example']) {
    const { session, id } = await settle(SHOP);
    // The last one stands where the sibling's own page does.
    await page.goto(place.includes('Path') ? `${SIBLING}/public/` : `${SIBLING}/account/`);
    await plant(`${SESSION}=${strangers}; Secure; ${place}`);
    assert.equal((await jar()).filter(({ name }) => name === SESSION).length, 2, `${place} was planted`);
    const answer = await page.goto(`${SHOP}/account/`);
    assert.equal(answer.headers().refresh, '0');
    await page.locator('#who').waitFor();
    assert.equal(await told(), id, place);
    await expect({ session, names: [SESSION, HOP, MARKER] });
    await context.clearCookies();
  }
  // On the shop's own host too, beside a hop that says that all was tried.
  const { session, id } = await settle(SHOP);
  await plant(`${SESSION}=${strangers}; Secure; Path=/account`);
  await plant(`${HOP}=c; Secure; Domain=shop.example; Path=/; Max-Age=86400`);
  assert.equal((await page.goto(`${SHOP}/account/`)).status(), 403);
  assert.equal((await page.goto(`${SHOP}/account/`)).status(), 200);
  assert.equal(await told(), id);
  await expect({ session });
});

test('a nameless twin is not kept, and what is nameless is cleared with the others', async () => {
  const strangers = await strangersSession();
  const { session, id } = await settle(SHOP);
  await plant(`=${SESSION}=${strangers}; Secure; Domain=shop.example; Path=/`);
  await plant(`=${SESSION}=${strangers}; Secure; Path=/`);
  await expect({ session });
  for (const place of ['Path=/', 'Domain=shop.example; Path=/', 'Path=/account']) {
    await plant(`=nameless; Secure; ${place}`);
  }
  assert.equal((await jar()).filter(({ name }) => name === '').length, 3);
  await plant(`${SESSION}=${strangers}; Secure; Domain=shop.example; Path=/`);
  await page.goto(`${SHOP}/account/`);
  await page.locator('#who').waitFor();
  assert.equal(await told(), id);
  await expect({ session, names: [SESSION, HOP, MARKER] });
});

test('a browser without Fetch Metadata is reloaded once, never in a loop', async () => {
  const { session, id } = await settle(OLD);
  for (const path of ['/', '/account/']) {
    await context.clearCookies({ name: HOP });
    await page.goto(`${ELSEWHERE}/public/`);
    const answers = answersAt(path);
    await follow(`${OLD}${path}`);
    await page.locator('#who').waitFor();
    assert.equal(await told(), id);
    assert.equal(answers.length, 2, path);
  }
  await expect({ minted: 1, session, names: [SESSION, HOP, MARKER] });
  // Somebody who has lost the session and kept the marker: one reload as well, then a new one.
  await context.clearCookies({ name: HOP });
  await context.clearCookies({ name: SESSION });
  await page.goto(`${ELSEWHERE}/public/`);
  const answers = answersAt('/');
  await follow(`${OLD}/`);
  await page.locator('#who').waitFor();
  assert.equal(answers.length, 2);
  await expect({ minted: 2, names: [SESSION, HOP, MARKER] });
});

// How many sessions Genesys has made in this case.
async function minted() {
  return (await mintedInAll()) - mintedBefore;
}

async function mintedInAll() {
  return (await (await fetch(`${world.genesys}/simulator/state`)).json()).sessions;
}

// Whose session the site was told of with this page.
function told() {
  return page.locator('#who').textContent();
}

function jar() {
  return context.cookies();
}

async function cookie(name) {
  const found = (await jar()).filter(cookie => cookie.name === name);
  assert.equal(found.length, 1, name);
  return found[0];
}

// A visitor who has a session at `site`.
async function settle(site) {
  await page.goto(site);
  return { session: await cookie(SESSION), id: await told() };
}

// What has to be so at the end: so many minted, these cookies in the jar, and the session that it was.
async function expect({ minted: expected, session, names = [SESSION, MARKER] }) {
  if (expected !== undefined) assert.equal(await minted(), expected, 'minted');
  assert.deepEqual((await jar()).map(({ name }) => name).sort(), [...names].sort(), 'the jar');
  if (session) assert.equal((await cookie(SESSION)).value, session.value, 'a live session is never replaced');
}

// Clicks a link on the page.
async function follow(url) {
  await page.evaluate(url => {
    const link = Object.assign(document.createElement('a'), { href: url, textContent: 'onward' });
    link.id = 'onward';
    document.body.append(link);
  }, url);
  await Promise.all([page.waitForURL(url), page.click('#onward')]);
}

// Every answer to a navigation to `path`, from now on.
function answersAt(path) {
  const answers = [];
  page.on('response', answer => {
    if (answer.request().isNavigationRequest() && new URL(answer.url()).pathname === path) answers.push(answer);
  });
  return answers;
}

// The session of somebody else.
async function strangersSession() {
  const other = await browser.newContext();
  await (await other.newPage()).goto(SHOP);
  const { value } = (await other.cookies()).find(({ name }) => name === SESSION);
  await other.close();
  return value;
}

function plant(text) {
  return page.evaluate(text => void (document.cookie = text), text);
}

async function eventually(what, isSo) {
  const patience = Date.now() + 5000;
  while (!(await isSo())) {
    assert.ok(Date.now() < patience, `in vain: ${what}`);
    await new Promise(next => setTimeout(next, 20));
  }
}

// Passes requests on to the shop's proxy as a browser would make them that knows nothing of Fetch Metadata. No way of
// intercepting them in Chromium itself reaches these headers.
async function forwardWithoutFetchMetadata() {
  const options = { cert: readFileSync(world.certificate), key: readFileSync(world.key) };
  const server = https.createServer(options, (request, response) => {
    const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !name.startsWith('sec-')));
    const target = { host: '127.0.0.1', port: world.strict, method: request.method, path: request.url, headers };
    const passed = https.request({ ...target, rejectUnauthorized: false }, answer => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.on('error', () => response.destroy());
    request.pipe(passed);
  });
  await new Promise(listening => server.listen(0, '127.0.0.1', listening));
  return server;
}
