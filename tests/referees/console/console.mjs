// The console in a real browser, against a real runtime with the embedded node.
//
//   node console.mjs [--pictures FOLDER]
//
// Each check says what holds. The first that does not ends the run with 1.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { until } from "./stage.mjs";
import { BIDI, SCRIPT, world } from "./world.mjs";

const require = createRequire(import.meta.url);
const axe = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
const pictures = process.argv[2] === "--pictures" ? process.argv[3] : null;
const chrome = process.env.CHROMIUM ?? "/usr/bin/chromium";
const DEAD = 60;
const PATIENCE = 30000;

let count = 0;
async function check(what, run) {
  const began = Date.now();
  try {
    await run();
  } catch (error) {
    console.error(`not ok: ${what}`);
    throw error;
  }
  count += 1;
  console.log(`ok ${count} ${what} (${Date.now() - began} ms)`);
}

// A page whose every complaint is a failure.
const complaints = [];
async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  return page;
}

// No complaint of the console, no violation of the policy.
async function clean(page) {
  assert.deepEqual(complaints.splice(0), []);
  assert.deepEqual(await page.evaluate(() => window.violations), []);
}

// What axe finds on the page. Its script is the test's own: the page's policy does not hold for it.
async function accessible(page, where) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
    return violations.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.target} ${node.failureSummary}`).slice(0, 3).join(" | ")}`);
  });
  assert.deepEqual(found, [], where);
}

async function go(page, hash, selector) {
  await page.evaluate((hash) => {
    location.hash = hash;
  }, hash);
  await page.waitForSelector(selector);
  await page.waitForFunction(() => !document.querySelector(".loading, .stale"));
}

async function picture(page, name) {
  if (!pictures) return;
  await page.mouse.move(0, 0);
  await page.screenshot({ path: join(pictures, `console-${name}.png`) });
}

const stage = await world({ dead: DEAD, more: Array.from({ length: 60 }, (_, at) => `[[agent]]\nname = "spare-${at}"\nwallet = "spare-${at}"\nbehaviours = [{ kind = "ack" }]\n`).join("") });
// A sandbox needs rights that containers do not grant; the pages are our own.
const browser = await chromium.launch({ executablePath: chrome, args: ["--no-sandbox"] });
let failed = false;
try {
  const id = encodeURIComponent;
  const views = [
    ["overview", "#/overview", ".verdict"],
    ["agents", "#/agents", "tbody tr"],
    ["agent", `#/agents/${stage.ping.from}`, ".tiles"],
    ["queues", "#/queues?part=dead", "tbody tr"],
    ["transactions", "#/queues?queue=outbox&part=all", "tbody tr"],
    ["events", "#/queues?queue=events", ".empty, tbody tr"],
    ["timeline", `#/timeline/${id(stage.ping.id)}?agent=asker`, ".story .part:nth-child(2)"],
    ["find", "#/timeline", "[data-search]"],
    ["conversations", `#/conversations/${stage.ping.to}`, "tbody tr"],
    ["conversation", `#/conversations/${stage.ping.to}/${stage.ping.from}`, ".talk li"],
    ["tasks", "#/tasks", "tbody tr"],
    ["requested", "#/tasks?side=requested", "tbody tr"],
    ["live", "#/live", ".counts"],
    ["directory", "#/directory", "tbody tr"],
    ["card", `#/directory/${stage.ping.to}`, ".facts"],
    ["spending", "#/spending", "tbody tr"],
    ["approvals", "#/approvals", "tbody tr"],
  ];

  await check("who is not signed in sees how to", async () => {
    const page = await open(browser);
    await page.goto(stage.url);
    await page.waitForSelector(".door .command");
    await accessible(page, "sign in");
    // The browser itself tells of the refusal.
    const told = complaints.splice(0).filter((text) => !text.includes("401"));
    assert.deepEqual(told, []);
    await page.context().close();
  });

  const page = await open(browser);
  const address = await stage.address();
  await check("a code signs in once, and does not stay in the address", async () => {
    await page.goto(address);
    await page.waitForSelector(".verdict");
    assert.equal(new URL(page.url()).hash, "#/overview");
    await clean(page);
    const again = await open(browser);
    await again.goto(address);
    await again.waitForSelector(".door .notice");
    assert.match(await again.textContent(".door"), /not valid, or was used/);
    complaints.length = 0;
    await again.context().close();
  });

  await check("the cookie is hidden from scripts, and bound to this site", async () => {
    assert.equal(await page.evaluate(() => document.cookie), "");
    const [cookie] = await page.context().cookies();
    assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/"]);
  });

  for (const [name, hash, selector] of views) {
    await check(`view ${name} opens without a complaint, and is accessible`, async () => {
      await go(page, hash, selector);
      await clean(page);
      await accessible(page, name);
      await clean(page);
    });
  }

  await check("scripts and escapes from the chain stay text", async () => {
    for (const hash of [`#/conversations/${stage.ping.to}/${stage.ping.from}`, `#/timeline/${id(stage.hostile.id)}?agent=asker`, `#/directory/${stage.ping.to}`]) {
      await go(page, hash, ".odd");
      const text = await page.textContent("main");
      assert.ok(text.includes(SCRIPT), hash);
      for (const shown of ["‹U+202E›", "‹ESC›", "‹BEL›", "‹U+200B›"]) assert.ok(text.includes(shown), `${hash} ${shown}`);
      assert.ok(!text.includes(BIDI.slice(0, 1)) && !text.includes("\u001b"), hash);
    }
    await go(page, "#/queues?part=dead", "tbody tr");
    assert.ok((await page.textContent("main")).includes("<img src=x onerror=alert(1)> ‹U+202E›gnp.exe"));
    assert.notEqual(await page.title(), "owned");
    assert.equal(await page.evaluate(() => document.querySelectorAll("main script, main [onerror]").length), 0);
    await clean(page);
  });

  await check("agents are searched, sorted and paged by the server", async () => {
    await go(page, "#/agents", "tbody tr");
    assert.match(await page.textContent("tbody tr:first-child"), /grumpy/);
    await page.click("text=Next →");
    await page.waitForFunction(() => /Page 2/.test(document.querySelector(".pager")?.textContent));
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 15);
    await page.keyboard.press("/");
    await page.keyboard.type("poor");
    await page.waitForFunction(() => document.querySelector("[data-matching]")?.dataset.matching === "1");
    assert.match(page.url(), /search=poor/);
    assert.match(await page.textContent("tbody tr"), /out of budget/);
    await page.reload();
    await page.waitForFunction(() => document.querySelector("[data-matching]")?.dataset.matching === "1");
    await clean(page);
  });

  await check("the rows of a queue are paged", async () => {
    await go(page, "#/queues?part=dead", "tbody tr");
    const first = await page.textContent("tbody tr:first-child td");
    await page.keyboard.press("]");
    await page.waitForFunction((first) => document.querySelectorAll("tbody tr").length === 10 && document.querySelector("tbody td")?.textContent !== first, first);
    await page.keyboard.press("[");
    await page.waitForFunction((first) => document.querySelector("tbody td")?.textContent === first, first);
  });

  await check("dead letters of a filter are retried with their count typed, and not otherwise", async () => {
    await go(page, "#/overview", "tbody tr");
    await page.click("tbody tr:has-text('not good')");
    await page.waitForSelector(".chip");
    await page.click("text=/Retry all 40/");
    const retry = page.locator("dialog button.primary");
    assert.ok(await retry.isDisabled());
    await page.fill("[data-confirm]", "60");
    assert.ok(await retry.isDisabled());
    await page.fill("[data-confirm]", "40");
    await accessible(page, "confirmation");
    await picture(page, "retry");
    await retry.click();
    await page.waitForSelector("dialog [role=status]");
    assert.match(await page.textContent("dialog"), /40 rows are tried again/);
    await page.click("dialog button:has-text('Close')");
    // They fail again.
    await until("the dead letters", async () => (await stage.api("GET", "/queue/count")).dead_letters === DEAD);
    await clean(page);
  });

  await check("what has changed since it was counted is not retried", async () => {
    await go(page, "#/queues?part=dead", "tbody tr");
    await page.click(`text=/Retry all ${DEAD}/`);
    await stage.send("grumpy", "bad one more");
    await until("one more", async () => (await stage.api("GET", "/queue/count")).dead_letters === DEAD + 1);
    await page.fill("[data-confirm]", String(DEAD));
    await page.click("dialog button.primary");
    await page.waitForSelector("dialog .notice");
    assert.match(await page.textContent("dialog .notice"), /nothing was changed/);
    await page.keyboard.press("Escape");
    // The browser itself tells of the conflict.
    complaints.length = 0;
  });

  await check("an effect is granted", async () => {
    await go(page, "#/approvals", "tbody tr");
    await page.click("text=Grant…");
    await page.click("dialog button.primary");
    await page.waitForSelector("dialog [role=status]");
    await page.click("dialog button:has-text('Close')");
    await page.waitForSelector(".empty");
    await clean(page);
  });

  await check("the live feed shows what happens, pauses, and counts what it does not show", async () => {
    await go(page, "#/live", ".counts");
    await page.waitForSelector(".counts .status.good");
    await stage.send("worker", "ping");
    await page.waitForSelector(".feed tbody tr");
    await page.keyboard.press(" ");
    await page.waitForSelector("[data-pause][aria-pressed=true]");
    const rows = await page.textContent(".feed tbody");
    const seen = Number(await page.getAttribute("[data-seen]", "data-seen"));
    for (let at = 0; at < 5; at += 1) await stage.send("worker", "ping");
    await page.waitForFunction((seen) => Number(document.querySelector("[data-seen]").dataset.seen) > seen + 10, seen);
    assert.equal(await page.textContent(".feed tbody"), rows);
    await page.keyboard.press(" ");
    await page.waitForFunction((rows) => document.querySelector(".feed tbody")?.textContent !== rows, rows);
    await clean(page);
  });

  await check("the keyboard reaches everything, and ? says how", async () => {
    await go(page, "#/overview", ".verdict");
    await page.keyboard.press("g");
    await page.keyboard.press("q");
    await page.waitForFunction(() => location.hash === "#/queues");
    await go(page, "#/queues?part=dead", "tbody tr");
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    const second = await page.getAttribute("tbody tr:nth-child(2)", "data-href");
    await page.keyboard.press("k");
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".story");
    assert.equal(new URL(page.url()).hash, second);
    await page.keyboard.press("?");
    await page.waitForSelector("dialog .keys");
    await accessible(page, "help");
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => !document.querySelector("dialog"));
    await clean(page);
  });

  await check("a message sent by the page of another origin is refused", async () => {
    const other = await open(browser);
    await other.goto(`${stage.url}health`);
    const port = new URL(stage.url).port;
    for (const host of ["localhost", "127.0.0.1"]) {
      const status = await fetch(`http://127.0.0.1:${port}/api/v1/overview`, { headers: { origin: `http://${host}:1` } });
      assert.equal(status.status, 403);
    }
    await other.context().close();
    complaints.length = 0;
  });

  await check("each view is accessible in the dark and on a narrow screen", async () => {
    await page.emulateMedia({ colorScheme: "dark" });
    for (const [name, hash, selector] of views.filter(([name]) => name !== "approvals")) {
      await go(page, hash, selector);
      await accessible(page, `${name} in the dark`);
      if (name === "overview") {
        await until("plots", () => page.evaluate(() => document.querySelectorAll(".plot canvas").length === 6));
        await picture(page, "dark");
      }
    }
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize({ width: 390, height: 800 });
    for (const [name, hash, selector] of views.filter(([name]) => name !== "approvals")) {
      await go(page, hash, selector);
      await accessible(page, `${name} on a narrow screen`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
      if (name === "overview") await picture(page, "narrow");
    }
    await page.setViewportSize({ width: 1280, height: 860 });
    await clean(page);
  });

  if (pictures) {
    for (const [name, hash, selector] of views.filter(([name]) => ["overview", "agents", "timeline", "live"].includes(name))) {
      await go(page, hash, selector);
      if (name === "live") {
        for (let at = 0; at < 6; at += 1) await stage.send("worker", "ping");
        await until("events", () => page.evaluate(() => document.querySelectorAll(".feed tbody tr").length > 20));
      }
      await picture(page, name);
    }
  }

  await check("a read-only session has no actions, and the server refuses them", async () => {
    const reader = await open(browser);
    await reader.goto(await stage.address("--read-only"));
    await reader.waitForSelector(".mode");
    await go(reader, "#/queues?part=dead", "tbody tr");
    assert.equal(await reader.locator("button:has-text('Retry')").count(), 0);
    const refused = await reader.evaluate(async () => {
      const answer = await fetch("/api/v1/queue/retry", { method: "POST", headers: { "content-type": "application/json", "x-agentry-console": localStorage.getItem("agentry.console.key") }, body: JSON.stringify({ all: true }) });
      return answer.status;
    });
    assert.equal(refused, 403);
    complaints.length = 0;
    await reader.context().close();
  });

  await check("a site whose name resolves to this machine gets nothing", async () => {
    const port = new URL(stage.url).port;
    const rebound = await chromium.launch({ executablePath: chrome, args: ["--no-sandbox", "--host-resolver-rules=MAP evil.test 127.0.0.1"] });
    try {
      const page = await open(rebound);
      for (const path of ["", "console/app.js", "api/v1/overview"]) {
        const response = await page.goto(`http://evil.test:${port}/${path}`);
        assert.equal(response.status(), 421, path);
      }
      // Nor does a page of that name reach the console under its own.
      const reached = await page.evaluate(async (url) => {
        try {
          await fetch(`${url}console/session`, { credentials: "include" });
          return true;
        } catch {
          return false;
        }
      }, stage.url);
      assert.equal(reached, false);
      complaints.length = 0;
    } finally {
      await rebound.close();
    }
  });

  await check("signing out ends the session everywhere", async () => {
    await go(page, "#/overview", ".verdict");
    await page.click("text=Sign out");
    await page.waitForSelector(".door .command");
    const status = await page.evaluate(async () => (await fetch("/api/v1/overview")).status);
    assert.equal(status, 401);
    complaints.length = 0;
  });

  console.log(`${count} checks passed`);
} catch (error) {
  failed = true;
  console.error(error);
  console.error(stage.log.split("\n").filter((line) => / (WARN|ERROR) /.test(line)).slice(-5).join("\n"));
  for (const context of browser.contexts()) {
    for (const page of context.pages()) await page.screenshot({ path: `/tmp/console-failed-${context.pages().indexOf(page)}.png` }).catch(() => {});
  }
} finally {
  await browser.close();
  await stage.stop();
}
process.exit(failed ? 1 : 0);
