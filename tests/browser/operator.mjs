// The operator's page in headless Chromium: it keeps to its listener, breaks no policy of its own, says plainly when the
// proxy is gone, and changes things with the token alone. tests/it/browser/operator.rs starts what it looks at.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, beforeEach, test } from 'node:test';
import { chromium } from 'playwright-core';

const { operator, tokenless, token, session, ring } = JSON.parse(process.env.WORLD);

let browser, context, page, asked, complaints;

before(async () => {
  // CI runs as root.
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
});
after(() => browser.close());

beforeEach(async () => {
  await context?.close();
  context = await browser.newContext();
  page = await context.newPage();
  [asked, complaints] = [[], []];
  page.on('request', request => asked.push(request.url()));
  page.on('console', message => complaints.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', error => complaints.push(`error: ${error.message}`));
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', event => console.error(`policy: ${event.violatedDirective}`)));
});

const says = (id, words) => page.waitForFunction(([id, words]) => document.getElementById(id).textContent.includes(words), [id, words]);

async function open(address = operator) {
  await page.goto(address);
  await says('sentence', 'The upstream server is healthy.');
}

async function bring(typed) {
  await page.fill('#token', typed);
  await page.click('#token-form button');
}

test('it asks its own listener alone, every two seconds, and nobody complains', async () => {
  await open();
  assert.equal(await page.textContent('#sentence'), 'Serving. Genesys answers. The upstream server is healthy.');
  const asking = page.waitForRequest(request => request.url() === `${operator}status`);
  await asking;
  assert.deepEqual([...new Set(asked)].filter(url => !url.startsWith('data:')), [operator, `${operator}status`]);
  assert.deepEqual(complaints, []);
});

test('its policy holds against markup, scripts, styles, pictures and requests that were put there', async () => {
  await open();
  const stopped = await page.evaluate(async () => {
    const stopped = [];
    document.addEventListener('securitypolicyviolation', event => stopped.push(event.effectiveDirective));
    const attempt = (name, act) => { try { act(); } catch { stopped.push(name); } };
    attempt('markup', () => { document.body.innerHTML = '<b>taken over</b>'; });
    attempt('handler', () => document.body.setAttribute('onclick', 'document.title = "taken over"'));
    attempt('code', () => { document.body.append(Object.assign(document.createElement('script'), { text: 'document.title = "taken over"' })); });
    document.body.setAttribute('style', 'color: red');
    document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/picture' }));
    await fetch('http://127.0.0.1:9/').catch(() => {});
    await new Promise(done => setTimeout(done, 50));
    return stopped;
  });
  for (const what of ['markup', 'handler', 'code', 'style-src-attr', 'img-src', 'connect-src']) assert.ok(stopped.includes(what), `${what}: ${stopped}`);
  assert.ok(!(await page.title()).includes('taken over'));
});

test('it says so when the proxy is gone, and when it is back', async () => {
  await open();
  await page.route('**/status', route => route.abort());
  await says('sentence', 'The proxy cannot be reached since');
  assert.match(await page.textContent('#detail'), /What stands below is from \d\d:\d\d:\d\d\./);
  await page.unroute('**/status');
  await says('sentence', 'Serving.');
});

test('it asks nothing while nobody looks', async () => {
  await open();
  // Headless pages are never in the background: the browser is made to say that this one is.
  const look = hidden => page.evaluate(hidden => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await look(true);
  const before = asked.length;
  await page.waitForTimeout(2500);
  assert.ok(asked.length <= before + 1, 'one may have been under way');
  await look(false);
  await page.waitForRequest(`${operator}status`);
});

test('without a configured token it says how changes are turned on', async () => {
  await open(tokenless);
  assert.match(await page.textContent('#off'), /GUESTPASS_ADMIN_TOKEN/);
  assert.ok(await page.isVisible('#off') && !(await page.isVisible('#on')));
});

test('where looking needs the token, it asks for it', async () => {
  await page.route('**/status', async route => (route.request().headers().authorization === `Bearer ${token}` ? route.continue() : route.fulfill({ status: 401, json: { status: 401, title: 'This needs the admin token' } })));
  await page.goto(operator);
  await says('sentence', 'asks for the admin token');
  await page.fill('#unlock-token', 'another-token-of-the-tests');
  await page.click('#unlock button');
  await says('unlock-why', 'That was another token.');
  await page.fill('#unlock-token', token);
  await page.click('#unlock button');
  await says('sentence', 'Serving.');
});

test('another token changes nothing and is forgotten', async () => {
  await open();
  assert.ok(await page.isDisabled('#revoke-one button'));
  await bring('another-token-of-the-tests');
  await page.fill('#session-id', session);
  await page.click('#revoke-one button');
  await page.click('#sure-yes');
  await says('outcome', 'This needs the admin token');
  assert.ok(await page.isVisible('#token-form'));
});

test('the token revokes and rotates once that is confirmed, and is kept nowhere', async () => {
  await open();
  await bring(token);
  await page.fill('#session-id', session);
  await page.click('#revoke-one button');
  await page.click('#sure-no');
  await page.click('#rotate button');
  await page.keyboard.press('Escape');
  assert.equal(await page.textContent('#outcome'), '');
  assert.equal(readFileSync(ring, 'utf8').match(/\[\[key\]\]/g).length, 1);

  await page.click('#revoke-one button');
  await page.click('#sure-yes');
  await says('outcome', `Session ${session} is revoked`);
  await page.click('#rotate button');
  await page.click('#sure-yes');
  await says('outcome', 'is in the ring, and signs from');
  assert.equal(readFileSync(ring, 'utf8').match(/\[\[key\]\]/g).length, 2);
  await says('keys', 'is next');
  await page.click('#rotate button');
  await page.click('#sure-yes');
  await says('outcome', 'The keys were not rotated');

  const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie, ...[...document.querySelectorAll('input')].map(input => input.value)]);
  assert.ok(!JSON.stringify(kept).includes(token), JSON.stringify(kept));
  assert.deepEqual(kept.slice(0, 3), [0, 0, '']);
  await page.reload();
  await says('sentence', 'Serving.');
  assert.ok(await page.isVisible('#token-form'), 'it is asked for again');
});
