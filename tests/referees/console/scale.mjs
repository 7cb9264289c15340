// What the console costs with many agents, as a table for docs/console.md.
//
//   bash tests/referees/console/run scale [AGENTS] [SECONDS] [MESSAGES]
//
// AGENTS in a fleet (10,000), a live feed of SECONDS (60) under load, and as many handled MESSAGES in the
// store before (0): those are written into it while nothing runs.

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { Stage, binary, here, until } from "./stage.mjs";

const run = promisify(execFile);
const agents = Number(process.argv[2] ?? 10000);
const seconds = Number(process.argv[3] ?? 60);
const messages = Number(process.argv[4] ?? 0);
const DEAD = 1000;

const rows = [];
const tell = (what, value, note = "") => {
  rows.push(`| ${what} | ${value} | ${note} |`);
  console.log(`${what}: ${value} ${note}`);
};
const ms = (value) => `${Math.round(value)} ms`;
const median = (values) => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)];

const stage = await Stage.start(`[[agent]]
name = "asker"
wallet = "asker"
daily_budget = 100000000
behaviours = [{ kind = "pong", trigger = "hello", reply = "hi" }]
[[fleet]]
name = "many"
vault = "many.vault"
behaviours = [{ kind = "process", program = "${join(here, "grumpy.py")}", texts = true, in_flight = 64 }, { kind = "pong", trigger = "ping", reply = "pong" }]
`);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  await stage.command("wallet", "create", "w", "--count", String(agents), "--into-vault", "many.vault", "--password-file", "keys/.password");
  let began = Date.now();
  await stage.run();
  console.log(`${agents} agents are hosted after ${ms(Date.now() - began)}`);
  const names = Array.from({ length: agents }, (_, at) => `many/w-${String(at + 1).padStart(String(agents).length, "0")}`);
  // Addresses are resolved at once; the name of an agent of a fleet is looked up in its vault.
  const addresses = [];
  for (let cursor; addresses.length < Math.min(agents, 2000); ) {
    const page = await stage.api("GET", `/hosted?sort=name&search=many/&limit=100${cursor ? `&cursor=${cursor}` : ""}`);
    addresses.push(...page.agents.map((row) => row.address));
    cursor = page.next;
    if (!cursor) break;
  }
  const to = (at) => addresses[at % addresses.length];
  const send = (to, text) => stage.api("POST", "/messages", { from: "asker", to, text });
  // Several at a time, as clients would.
  const each = async (count, of, width = 8) => {
    let next = 0;
    await Promise.all(Array.from({ length: width }, async () => {
      while (next < count) {
        const at = next;
        next += 1;
        await of(at);
      }
    }));
  };
  await each(DEAD, (at) => send(to(at * 7), `bad ${at}`));
  await until("the dead letters", async () => (await stage.api("GET", "/queue/count")).dead_letters === DEAD, 600000);
  if (messages > 0) {
    await stage.halt();
    console.log((await run("python3", [join(here, "fill.py"), join(stage.folder, "agentry.db"), String(messages)])).stdout.trim());
    began = Date.now();
    await stage.resume();
    console.log(`the store with ${messages} more messages is open after ${ms(Date.now() - began)}`);
  }

  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
  context.setDefaultTimeout(120000);
  const page = await context.newPage();
  await page.goto(await stage.address());
  await page.waitForSelector(".verdict");

  // Each with a fresh cache of the loads of agents, and a warm cache of files.
  const paints = [];
  const usable = [];
  for (let at = 0; at < 5; at += 1) {
    await new Promise((done) => setTimeout(done, 2500));
    await page.reload();
    await page.waitForSelector(".verdict");
    usable.push(await page.evaluate(() => performance.now()));
    paints.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime));
  }
  tell("first paint of the overview", ms(median(paints)), "first contentful paint, median of 5");
  tell("overview complete", ms(median(usable)), `with the numbers of ${agents} agents`);

  const shown = async (hash, selector) => {
    const began = performance.now();
    await page.evaluate((hash) => {
      location.hash = hash;
    }, hash);
    await page.waitForSelector(selector);
    await page.waitForFunction(() => !document.querySelector(".loading, .stale"));
    return performance.now() - began;
  };
  tell("agents by trouble", ms(await shown("#/agents", "[data-matching]")), "the view, 50 of all");
  const searches = [];
  for (const at of [1, 12, 123, 77, 9]) {
    const name = names[at % agents];
    await page.fill("[data-search]", "");
    await page.waitForFunction((all) => Number(document.querySelector("[data-matching]")?.dataset.matching) === all, agents + 1);
    const began = performance.now();
    await page.fill("[data-search]", name);
    await page.waitForFunction((name) => document.querySelector("[data-matching]")?.dataset.matching === "1" && document.querySelector("tbody tr td").textContent.includes(name), name);
    searches.push(performance.now() - began);
  }
  tell("search of one agent", ms(median(searches)), "from the last key to the row, of that 180 ms until typing has paused; median of 5");
  const who = await page.getAttribute("tbody tr", "data-href");
  tell("one agent", ms(await shown(who, ".tiles")), "queues and spending");
  tell("conversations of one agent", ms(await shown(who.replace("/agents/", "/conversations/"), "main h1")), "");
  tell("a page of dead letters", ms(await shown("#/queues?part=dead", "tbody tr")), `50 of ${DEAD}`);
  tell("a page of all messages", ms(await shown("#/queues?part=all", "tbody tr")), "50");

  await shown("#/queues?part=dead", "tbody tr");
  await page.click(`text=/Retry all/`);
  await page.fill("[data-confirm]", String(DEAD));
  began = performance.now();
  await page.click("dialog button.primary");
  await page.waitForSelector("dialog [role=status]");
  tell(`retry of ${DEAD} dead letters by filter`, ms(performance.now() - began), "from the click until all are due again; their senders are verified again");
  await page.click("dialog button:has-text('Close')");
  await until("the dead letters again", async () => (await stage.api("GET", "/queue/count")).dead_letters === DEAD, 600000);

  // Load: messages that are answered, as fast as eight clients send them.
  await shown("#/live", ".counts .status.good");
  await page.evaluate(() => {
    window.busy = { long: 0, longest: 0 };
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        window.busy.long += 1;
        window.busy.longest = Math.max(window.busy.longest, entry.duration);
      }
    }).observe({ entryTypes: ["longtask"] });
  });
  const end = Date.now() + seconds * 1000;
  let sent = 0;
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (Date.now() < end) {
      sent += 1;
      await send(to(sent * 13), "ping");
    }
  }));
  const seen = Number(await page.getAttribute("[data-seen]", "data-seen"));
  const dropped = Number(await page.getAttribute("[data-dropped]", "data-dropped"));
  const busy = await page.evaluate(() => window.busy);
  tell(`live feed for ${seconds} s`, `${Math.round(seen / seconds)} events/s`, `${sent} messages sent meanwhile, ${seen} events, ${dropped} not shown`);
  tell("tasks of the page longer than 50 ms", String(busy.long), `the longest ${ms(busy.longest)}`);
  const heap = await page.evaluate(() => performance.memory.usedJSHeapSize);
  tell("memory of the page", `${Math.round(heap / 1048576)} MiB`, "JavaScript heap after the feed");
  const status = await readFile(`/proc/${stage.child.pid}/status`, "utf8");
  tell("memory of the runtime", `${Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024)} MiB`, "resident");
  console.log(`\n${agents} agents, ${messages} handled messages before; ${cpus().length} × ${cpus()[0].model}; ${binary.includes("/release/") ? "release" : "development"} build; ${new Date().toISOString().slice(0, 10)}\n`);
  console.log(["| | | |", "|---|---|---|", ...rows].join("\n"));
} catch (error) {
  console.error(error, stage.log?.slice(-1500));
  process.exitCode = 1;
} finally {
  await browser.close();
  await stage.stop();
}
