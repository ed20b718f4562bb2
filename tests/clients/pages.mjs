// A person at a real browser: Chromium goes through sign-in pages and looks hard at each.
// Reads one JSON object from its standard input:
//
//   packages     folder whose node_modules holds playwright-core
//   chromium     the browser's program
//   url          page to begin with
//   answers      {field name: what to type}
//   decision     value of the button to press where one asks for a decision
//   hands        "keyboard" or "mouse"
//   width        of the window, in CSS pixels
//   scheme       "light" or "dark"
//   screenshots  path that the pictures' names begin with
//
// Prints {"pages": [{url, title, status, problems}]}; the last page is where the visit ended.

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { text } from 'node:stream/consumers';

const MOST_PAGES = 12;
const MOST_TABS = 30;

const order = JSON.parse(await text(process.stdin));
const resolve = createRequire(`${order.packages}/package.json`).resolve;
const { chromium } = (await import(pathToFileURL(resolve('playwright-core')))).default;

const browser = await chromium.launch({
  executablePath: order.chromium,
  // Chromium's own sandbox refuses root, and nothing here may leave the machine.
  args: [
    ...(process.getuid() === 0 ? ['--no-sandbox'] : []),
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-first-run',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
  ],
});
try {
  const context = await browser.newContext({
    viewport: { width: order.width, height: 800 },
    colorScheme: order.scheme,
  });
  console.log(JSON.stringify({ pages: await walk(await context.newPage()) }));
} finally {
  await browser.close();
}

async function walk(page) {
  const pages = [];
  let noise = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) noise.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => noise.push(`uncaught: ${error.message}`));
  page.on('requestfailed', (request) => noise.push(`failed: ${request.resourceType()}`));

  let response = await page.goto(order.url);
  for (;;) {
    const problems = [...noise, ...(await problemsOf(page))];
    noise = [];
    pages.push({
      url: page.url(),
      title: await page.title(),
      status: response.status(),
      problems,
    });
    await page.screenshot({ path: `${order.screenshots}-${pages.length}.png`, fullPage: true });
    if (!(await page.locator('form[method=post]').count())) return pages;
    if (pages.length === MOST_PAGES) throw new Error(`${MOST_PAGES} pages and no end`);
    response = await submit(page, problems);
  }
}

// Looks at one page as a reader, a screen reader and an auditor would.
function problemsOf(page) {
  return page.evaluate(() => {
    const problems = [];
    const say = (condition, problem) => condition && problems.push(problem);
    const root = document.documentElement;
    const name = (element) => element.outerHTML.slice(0, 80);
    say(document.scripts.length, 'holds a script');
    for (const element of document.querySelectorAll('*')) {
      const handler = element.getAttributeNames().find((attribute) => attribute.startsWith('on'));
      say(handler, `holds a script: ${handler} of ${element.tagName}`);
    }
    say(root.scrollWidth > root.clientWidth, `scrolls sideways: ${root.scrollWidth} px`);
    say(!root.lang, 'names no language');
    say(!document.title, 'has no title');
    say(document.querySelectorAll('h1').length !== 1, 'has not one main heading');
    for (const input of document.querySelectorAll('input:not([type=hidden]), select, textarea')) {
      say(!input.labels.length && !input.ariaLabel, `has no label: ${name(input)}`);
    }
    for (const button of document.querySelectorAll('button')) {
      say(!button.textContent.trim() && !button.ariaLabel, `has no name: ${name(button)}`);
      say(button.getBoundingClientRect().height < 24, `is too small to hit: ${name(button)}`);
    }
    const { color, backgroundColor } = getComputedStyle(document.body);
    say(color === backgroundColor, 'shows nothing');
    return problems;
  });
}

// Fills in the form and sends it; resolves with the answer to the page that came of it.
async function submit(page, problems) {
  for (const field of await page.locator('form[method=post] input:not([type=hidden])').all()) {
    const answer = order.answers[await field.getAttribute('name')];
    if (answer === undefined || (await field.inputValue()) === answer) continue;
    if (order.hands === 'keyboard') {
      await tabTo(page, field, problems);
      await page.keyboard.type(answer);
    } else {
      await field.click();
      await field.fill(answer);
    }
  }
  const decision = page.locator(`form[method=post] button[value="${order.decision}"]`);
  const button = (await decision.count())
    ? decision
    : page.locator('form[method=post] button:not([name=decision])').first();
  const navigated = page.waitForNavigation({ waitUntil: 'load' });
  if (order.hands === 'keyboard') {
    await tabTo(page, button, problems);
    await page.keyboard.press('Enter');
  } else {
    await button.click();
  }
  return navigated;
}

// Moves the focus as the tab key does, and checks that it can be seen on arrival.
async function tabTo(page, target, problems) {
  for (let pressed = 0; pressed <= MOST_TABS; pressed += 1) {
    const arrived = await target.evaluate((element) => element === document.activeElement);
    if (arrived) {
      if (!(await focusShows(target))) problems.push('focus cannot be seen');
      return;
    }
    await page.keyboard.press('Tab');
  }
  throw new Error(`not reached by ${MOST_TABS} tabs: ${await target.evaluate((e) => e.outerHTML)}`);
}

function focusShows(target) {
  return target.evaluate((element) => {
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
    return (outlineStyle !== 'none' && outlineWidth !== '0px') || boxShadow !== 'none';
  });
}
