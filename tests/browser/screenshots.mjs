// The demo's page as it looks on a desk, on a phone and in the dark, for somebody to look at.
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { page: address, folder } = JSON.parse(process.env.WORLD);

const desk = { viewport: { width: 1280, height: 900 } };
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const pictures = [
  ['desktop', desk, ['']],
  ['phone', phone, ['']],
  ['dark', { ...desk, colorScheme: 'dark' }, ['']],
  ['account', phone, ['', 'account/']],
  ['refused', desk, ['account/']],
];

// CI runs as root.
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
for (const [name, looks, paths] of pictures) {
  const context = await browser.newContext({ ...looks, ignoreHTTPSErrors: true });
  const page = await context.newPage();
  for (const path of paths) await page.goto(new URL(path, address).href);
  await page.screenshot({ path: join(folder, `${name}.png`) });
  await context.close();
}
await browser.close();
