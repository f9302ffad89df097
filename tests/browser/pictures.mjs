// The operator's page as it looks on a desk and on a phone, by day and by night, for somebody to look at.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { page: address, folder, name, words } = JSON.parse(process.env.WORLD);

const desk = { viewport: { width: 1280, height: 900 } };
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

// CI runs as root.
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
for (const [device, looks] of Object.entries({ desktop: desk, phone })) {
  for (const colorScheme of ['light', 'dark']) {
    const context = await browser.newContext({ ...looks, colorScheme });
    const page = await context.newPage();
    await page.goto(address);
    await page.waitForFunction(words => document.getElementById('sentence').textContent.includes(words), words);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${device}: nothing is wider than the screen, and this is by ${wide}`);
    await page.screenshot({ path: join(folder, `operator-${name}-${device}-${colorScheme}.png`), fullPage: true });
    await context.close();
  }
}
await browser.close();
