// What is wrong, the agents, the queues, the directory, spending, and what waits for approval.

import { html, useState } from "./vendor/preact.js";
import { get, id, post } from "./api.js";
import { Choice, Confirm, Empty, Facts, Field, Head, Loaded, Pager, Said, Search, State, Status, Table, go, link, useCursor, useLoad } from "./parts.js";
import { Plot, Plots, useSeries } from "./plots.js";
import { Hash, T, When, ait, duration, number, plain, some } from "./text.js";

const LONG = 5 * 60 * 1000;

function Check({ level, title, to, children }) {
  const content = html`<${Status} level=${level}>${title}<//> <span class="detail">${children}</span>`;
  return html`<li class="check ${level}">${to ? html`<a href=${to}>${content}</a>` : html`<div>${content}</div>`}</li>`;
}

function checks(all) {
  const of = all.runtime;
  const age = all.oldest ? all.at - all.oldest.since : 0;
  const found = [];
  const add = (level, title, text, to) => found.push({ level, title, text, to });
  if (!of) add("bad", "Runtime", all.running ? "it does not answer" : "it is not running");
  else {
    add(of.ready ? "good" : "bad", "Ready", of.ready ? "agents act, and what they send is posted" : "see below");
    if (!of.source_up) add("bad", "Chain", "it cannot be read");
    else if (of.behind > 0) add(of.caught_up ? "warn" : "bad", "Chain", `the node is ${some(of.behind, "block")} behind the blocks already read`);
    else add("good", "Chain", of.height === null ? "no block was read yet" : `read up to block ${number(of.height)}`);
    if (!of.acting) add("warn", "Catching up", "agents wait until the chain is read up to its head");
    if (!of.node_up) add("bad", "Posting node", "it does not answer: the circuit breaker is open");
    if (!of.store_up) add("bad", "Store", of.reason ?? "changes cannot be stored");
  }
  if (all.halted || (of && !of.posting)) add("bad", "Posting is stopped", all.halted ?? "until an operator resumes it", null);
  add(all.dead_letters > 0 ? "bad" : "good", "Dead letters", all.dead_letters > 0 ? `${number(all.dead_letters)} could not be handled or sent` : "none", link(["queues"], { part: "dead" }));
  add(age > LONG ? "warn" : "good", "Oldest waiting", all.oldest ? html`${duration(age)}, at <${T} text=${all.oldest.agent} max=${40} />` : "nothing waits", all.oldest ? link(["timeline", all.oldest.id], { agent: all.oldest.agent }) : null);
  add(all.out_of_budget > 0 ? "warn" : "good", "Out of budget", all.out_of_budget > 0 ? `${some(all.out_of_budget, "agent")}, with ${some(all.waiting_for_budget, "transaction")}` : "none", all.out_of_budget > 0 ? link(["agents"], { trouble: "yes" }) : null);
  add(all.hung > 0 ? "bad" : "good", "Hung behaviours", all.hung > 0 ? `${number(all.hung)} since the start` : "none");
  add(all.overdue > 0 ? "warn" : "good", "Overdue", all.overdue > 0 ? `accepted and in no block for long: ${some(all.overdue, "transaction")}` : "none", all.overdue > 0 ? link(["queues"], { queue: "outbox" }) : null);
  if (all.approvals > 0) add("warn", "Approvals", `${some(all.approvals, "effect")} ${all.approvals === 1 ? "waits" : "wait"} for you`, link(["approvals"]));
  return found;
}

function Tile({ title, value, note, to }) {
  const content = html`<span class="name">${title}</span><strong>${value}</strong>${note && html`<span class="note">${note}</span>`}`;
  return to ? html`<a class="tile" href=${to}>${content}</a>` : html`<div class="tile">${content}</div>`;
}

export function Overview({ session }) {
  const loaded = useLoad((signal) => get("/overview", {}, signal), [], { every: 5000, on: ["dead_letter"] });
  const series = useSeries();
  const [resume, ask] = useState(false);
  return html`<${Head} title="Is anything wrong?" />
    <${Loaded} of=${loaded}>${(all) => {
      const found = checks(all);
      const wrong = found.filter((one) => one.level !== "good");
      const level = wrong.some((one) => one.level === "bad") ? "bad" : wrong.length > 0 ? "warn" : "good";
      const stopped = all.halted || (all.runtime && !all.runtime.posting);
      return html`
        <section class="verdict ${level}" aria-live="polite">
          <p class="verdict-line"><${Status} level=${level}>${wrong.length === 0 ? "Everything is in order" : wrong.length === 1 ? "One thing needs attention" : `${wrong.length} things need attention`}<//></p>
          <ul class="checks">${[...wrong, ...found.filter((one) => one.level === "good")].map((one) => html`<${Check} key=${one.title} level=${one.level} title=${one.title} to=${one.to}>${typeof one.text === "string" ? html`<${T} text=${one.text} max=${300} />` : one.text}<//>`)}</ul>
          ${stopped && !session.read_only && html`<p class="buttons"><button class="primary" type="button" onClick=${() => ask(true)}>Resume posting…</button></p>`}
        </section>
        <section class="tiles" aria-label="Numbers">
          <${Tile} title="Agents" value=${number(all.agents)} note=${all.in_trouble > 0 ? `${number(all.in_trouble)} in trouble` : "none in trouble"} to=${link(["agents"])} />
          <${Tile} title="Waiting messages" value=${number(all.waiting)} to=${link(["queues"], { queue: "inbox" })} />
          <${Tile} title="Not in a block" value=${number(all.unmined)} to=${link(["queues"], { queue: "outbox" })} />
          <${Tile} title="Open tasks" value=${number(all.tasks)} to=${link(["tasks"])} />
          <${Tile} title="Spent today" value=${ait(all.spent)} note=${all.tokens > 0 ? `${number(all.tokens)} tokens` : null} to=${link(["spending"])} />
        </section>
        ${all.reasons.length > 0 && html`<section><h2>Dead letters by reason</h2>
          <${Table} label="Dead letters by reason" rows=${all.reasons} keyOf=${(row) => `${row.queue} ${row.reason}`}
            href=${(row) => link(["queues"], { queue: row.queue, part: "dead", reason: row.reason })}
            columns=${[
              { title: "Reason", class: "wide", cell: (row) => html`<${T} text=${row.reason ?? "no reason is known"} max=${200} />` },
              { title: "Queue", cell: (row) => row.queue },
              { title: "Rows", class: "num", cell: (row) => number(row.count) },
            ]} /></section>`}
        <section><h2>The last two hours</h2><${Plots} series=${series} /></section>
        ${resume && html`<${Confirm} title="Resume posting" verb="Resume posting" onClose=${() => { ask(false); loaded.reload(); }}
          act=${async () => ((await post("/queue/resume", {})).resumed ? "Posting goes on." : "Posting was not stopped.")}>
          <p>Posting was stopped because something did not fit together:</p>
          <${Said} quote text=${all.halted ?? "the log has the reason"} label="Reason" max=${1000} />
          <p>Signed transactions are posted again as they are. Resume only if the chain is the right one.</p>
        <//>`}`;
    }}<//>`;
}

const TROUBLE = { dead_letters: "dead letters", out_of_budget: "out of budget", waits_long: "waits long" };

export function Agents({ filters }) {
  const wanted = { search: filters.search ?? "", sort: filters.sort ?? "trouble", trouble: filters.trouble === "yes" };
  const cursor = useCursor(wanted);
  const loaded = useLoad((signal) => get("/hosted", { ...wanted, limit: 50, cursor: cursor.cursor }, signal), [wanted, cursor.cursor], { every: 10000, keep: true });
  const change = (more) => go(["agents"], { ...filters, ...more }, true);
  const sorted = (sort, title) => ({ title, sort: () => change({ sort }), sorted: wanted.sort === sort });
  return html`<${Head} title="Agents" lead="Sorted by trouble: dead letters, budget, waiting messages." />
    <div class="filters" role="search">
      <${Search} label="Name or address" value=${wanted.search} onInput=${(search) => change({ search })} />
      <${Choice} label="Order" value=${wanted.sort} onChange=${(sort) => change({ sort })} options=${[["trouble", "by trouble"], ["name", "by name"], ["waiting", "most waiting"], ["unmined", "most not in a block"], ["spent", "most spent"]]} />
      <label class="tick"><input type="checkbox" checked=${wanted.trouble} onChange=${(event) => change({ trouble: event.target.checked ? "yes" : "" })} /> Only in trouble</label>
    </div>
    <${Loaded} of=${loaded}>${(page) => page.agents.length === 0
      ? html`<${Empty} title=${page.all === 0 ? "No agent is hosted yet" : "No agent matches"}>${page.all === 0 ? "Name one in agents.toml, and reload." : `${number(page.all)} agents are hosted. Try another search.`}<//>`
      : html`<p class="quiet" aria-live="polite" data-matching=${page.matching}>${number(page.matching)} of ${some(page.all, "agent")}</p>
        <${Table} label="Agents" rows=${page.agents} keyOf=${(row) => row.address} href=${(row) => link(["agents", row.address])}
        columns=${[
          { ...sorted("name", "Agent"), class: "wide", cell: (row) => html`<${T} text=${row.agent} max=${80} />${!row.configured && html` <span class="tag">not configured</span>`}` },
          { ...sorted("trouble", "Trouble"), cell: (row) => row.trouble.length === 0 ? html`<${Status} level="good">none<//>` : row.trouble.map((word) => html`<${Status} level=${word === "dead_letters" ? "bad" : "warn"}>${TROUBLE[word] ?? word}<//> `) },
          { title: "Dead", class: "num", cell: (row) => number(row.dead_letters) },
          { ...sorted("waiting", "Waiting"), class: "num", cell: (row) => number(row.waiting) },
          { title: "Oldest", cell: (row) => html`<${When} at=${row.oldest_at} />` },
          { ...sorted("unmined", "Not in a block"), class: "num", cell: (row) => number(row.unmined) },
          { title: "Tasks", class: "num", cell: (row) => number(row.tasks) },
          { ...sorted("spent", "Spent today"), class: "num", cell: (row) => html`<${Budget} spent=${row.spent} budget=${row.daily_budget} />` },
        ]} />
        <${Pager} cursor=${cursor} next=${page.next} words=${["Previous", "Next"]} />`}<//>`;
}

function Budget({ spent, budget }) {
  if (budget === null || budget === undefined) return ait(spent);
  return html`<span class="budget"><span>${number(spent)} of ${ait(budget)}</span><meter min="0" max=${Math.max(budget, 1)} value=${Math.min(spent, budget)} high=${budget * 0.9} aria-label="share of the budget"></meter></span>`;
}

export function Agent({ who }) {
  const loaded = useLoad((signal) => get("/hosted", { search: who, limit: 2 }, signal), [who], { every: 5000, on: ["message", "delivery", "dead_letter"] });
  const spent = useLoad((signal) => get("/spending", { agent: who }, signal), [who]);
  return html`<${Loaded} of=${loaded}>${(page) => {
    const row = page.agents.find((one) => one.address === who || one.agent === who);
    if (!row) return html`<${Head} title="Agent" /><${Empty} title="No such agent is hosted"><a href=${link(["agents"])}>All agents</a><//>`;
    const of = { agent: row.address };
    return html`<${Head} title=${html`<${T} text=${row.agent} max=${80} />`} lead=${html`<span class="mono break"><${T} text=${row.address} /></span>`} />
      <p>${row.trouble.length === 0 ? html`<${Status} level="good">nothing is wrong<//>` : row.trouble.map((word) => html`<${Status} level=${word === "dead_letters" ? "bad" : "warn"}>${TROUBLE[word] ?? word}<//> `)}</p>
      <section class="tiles">
        <${Tile} title="Dead letters" value=${number(row.dead_letters)} to=${link(["queues"], { ...of, part: "dead" })} />
        <${Tile} title="Waiting messages" value=${number(row.waiting)} note=${row.oldest_at ? html`oldest <${When} at=${row.oldest_at} />` : null} to=${link(["queues"], of)} />
        <${Tile} title="Not in a block" value=${number(row.unmined)} note=${row.waiting_for_budget > 0 ? `${number(row.waiting_for_budget)} wait for the budget` : null} to=${link(["queues"], { ...of, queue: "outbox" })} />
        <${Tile} title="Open tasks" value=${number(row.tasks)} to=${link(["tasks"], of)} />
        <${Tile} title="Conversations" value="→" to=${link(["conversations", row.address])} />
      </section>
      <section><h2>Spending</h2>
        <${Facts} of=${[["Today", html`<${Budget} spent=${row.spent} budget=${row.daily_budget} />`], row.tokens > 0 || row.daily_tokens !== null ? ["Tokens today", `${number(row.tokens)}${row.daily_tokens === null ? "" : ` of ${number(row.daily_tokens)}`}`] : null]} />
        <${Loaded} of=${spent}>${(page) => html`<${Days} days=${page.days} /><${Shares} page=${page} />`}<//>
      </section>`;
  }}<//>`;
}

function Days({ days }) {
  if (days.length === 0) return html`<p class="quiet">Nothing was spent in the last thirty days.</p>`;
  return html`<${Plot} title="AIT per day (UTC)" bars=${30} at=${days.map((one) => one.at)} format=${number} lines=${[{ title: "spent", values: days.map((one) => one.spent), color: "--plot-1" }]} />`;
}

function Shares({ page }) {
  return html`${page.shares.some((one) => one.spent > 0) && html`<h3>Today, by who caused it</h3>
      <${Table} label="Spending by standing" rows=${page.shares} columns=${[
        { title: "Senders", cell: (row) => row.standing },
        { title: "Spent", class: "num", cell: (row) => ait(row.spent) },
        { title: "They may spend", class: "num", cell: (row) => ait(row.limit) },
      ]} />`}
    ${page.senders.length > 0 && html`<h3>Senders that caused most of it</h3>
      <${Table} label="Spending by sender" rows=${page.senders} columns=${[
        { title: "Sender", class: "wide", cell: (row) => html`<${Hash} value=${row.sender} />` },
        { title: "Standing", cell: (row) => row.standing },
        { title: "Spent", class: "num", cell: (row) => ait(row.spent) },
        { title: "Tokens", class: "num", cell: (row) => number(row.tokens) },
      ]} />`}`;
}

export function Spending() {
  const loaded = useLoad((signal) => get("/spending", {}, signal), [], { every: 30000 });
  const top = useLoad((signal) => get("/hosted", { sort: "spent", limit: 20 }, signal), [], { every: 30000 });
  const series = useSeries();
  return html`<${Head} title="Spending" lead="Fees and amounts, by UTC day." />
    <section><h2>Over time</h2><div class="plots">
      <${Loaded} of=${loaded}>${(page) => html`<${Days} days=${page.days} />`}<//>
      <${Plot} title="Spent today, in AIT" series=${series} format=${number} lines=${[{ title: "all agents", of: "spent", color: "--plot-1" }]} />
    </div></section>
    <section><h2>Agents that spent most today</h2>
      <${Loaded} of=${top}>${(page) => {
        const rows = page.agents.filter((row) => row.spent > 0 || row.tokens > 0);
        return rows.length === 0 ? html`<${Empty} title="Nothing was spent today">Agents pay a fee for each transaction that they send.<//>` : html`<${Table} label="Agents that spent most today" rows=${rows} keyOf=${(row) => row.address} href=${(row) => link(["agents", row.address])} columns=${[
          { title: "Agent", class: "wide", cell: (row) => html`<${T} text=${row.agent} max=${80} />` },
          { title: "Spent", class: "num", cell: (row) => html`<${Budget} spent=${row.spent} budget=${row.daily_budget} />` },
          { title: "Tokens", class: "num", cell: (row) => number(row.tokens) },
          { title: "Waits for the budget", class: "num", cell: (row) => number(row.waiting_for_budget) },
        ]} />`;
      }}<//>
    </section>`;
}

const QUEUES = [["inbox", "Messages"], ["outbox", "Transactions"], ["events", "Events"]];
const PARTS = [["open", "open"], ["dead", "dead letters"], ["all", "all"]];
const SINCE = [["", "any age"], ["3600000", "last hour"], ["86400000", "last day"], ["604800000", "last week"]];

// The conditions of the filter, as the operations take them.
function conditions(filters) {
  const { agent, from, to, behaviour, reason } = filters;
  const since = filters.since ? Math.floor((Date.now() - Number(filters.since)) / 60000) * 60000 : undefined;
  const all = { agent, from, to, behaviour, reason, since };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined && value !== ""));
}

export function Queues({ filters, session }) {
  const queue = filters.queue ?? "inbox";
  const part = filters.part ?? "open";
  const wanted = { queue, part, ...conditions(filters) };
  const cursor = useCursor(wanted);
  const loaded = useLoad((signal) => get("/queue", { ...wanted, limit: 50, cursor: cursor.cursor }, signal), [wanted, cursor.cursor], { every: 10000, on: ["dead_letter"], keep: true });
  const counted = useLoad((signal) => (part === "dead" ? get("/queue/count", { queue, ...conditions(filters) }, signal) : Promise.resolve(null)), [wanted, part], { every: 10000 });
  const [action, act] = useState(null);
  const change = (more) => go(["queues"], { ...filters, ...more }, true);
  const narrowed = [filters.agent && "agent", filters.from && "sender", filters.to && "recipient", filters.behaviour && "behaviour", filters.since && "age", filters.reason && "reason"].filter(Boolean);
  const dead = counted.data?.dead_letters;
  return html`<${Head} title="Queues" lead="What waits, and what could not be handled or sent.">
      ${part === "dead" && !session.read_only && html`
        <button type="button" class="primary" disabled=${!dead} onClick=${() => act("retry")}>Retry all ${dead === undefined ? "" : number(dead)}…</button>
        <button type="button" class="danger" disabled=${!dead} onClick=${() => act("drop")}>Drop all ${dead === undefined ? "" : number(dead)}…</button>`}
    <//>
    <div class="filters" role="search">
      <${Choice} label="Queue" value=${queue} options=${QUEUES} onChange=${(queue) => change({ queue, from: "", to: "", behaviour: "", reason: "" })} />
      <${Choice} label="Rows" value=${part} options=${PARTS} onChange=${(part) => change({ part })} />
      <${Field} label="Agent" value=${filters.agent} placeholder="name or address" onChange=${(agent) => change({ agent })} />
      ${queue === "inbox" && html`<${Field} label="Sender" value=${filters.from} placeholder="name or address" onChange=${(from) => change({ from })} />`}
      ${queue === "outbox" && html`<${Field} label="Recipient" value=${filters.to} placeholder="name or address" onChange=${(to) => change({ to })} />`}
      ${queue !== "inbox" && html`<${Field} label="Behaviour" value=${filters.behaviour} onChange=${(behaviour) => change({ behaviour })} />`}
      <${Choice} label="Age" value=${filters.since ?? ""} options=${SINCE} onChange=${(since) => change({ since })} />
      ${narrowed.length > 0 && html`<button type="button" onClick=${() => go(["queues"], { queue, part }, true)}>Clear filter</button>`}
    </div>
    ${filters.reason && html`<p class="chip">Reason: <${T} text=${filters.reason} max=${160} /> <button type="button" onClick=${() => change({ reason: "" })} aria-label="Remove this condition">✕</button></p>`}
    <${Loaded} of=${loaded}>${(page) => page.rows.length === 0 && !page.next
      ? html`<${Empty} title=${part === "dead" ? "No dead letters" : "Nothing is here"}>${narrowed.length > 0 ? "No row matches the filter." : part === "open" ? "Nothing waits." : "This queue is empty."}<//>`
      : html`<${Table} label="Rows of the queue" rows=${page.rows} keyOf=${(row) => row.id} href=${(row) => row.id.startsWith("event/") ? link(["agents", row.agent]) : link(["timeline", row.id], { agent: row.agent })}
        columns=${[
          { title: "Row", cell: (row) => html`<span class="mono">${plain(row.id)}</span>` },
          { title: "State", cell: (row) => html`<${State} state=${row.state} />` },
          { title: "Agent", cell: (row) => html`<${T} text=${row.agent} max=${40} />` },
          queue === "inbox" ? { title: "From", cell: (row) => html`<${Hash} value=${row.from} />${row.authenticity === "unverified" ? html` <span class="tag">unverified</span>` : ""}` } : null,
          queue === "outbox" ? { title: "To", cell: (row) => html`<${Hash} value=${row.to} />` } : null,
          { title: queue === "events" ? "Kind" : "Content", class: "wide", cell: (row) => queue === "events" ? plain(row.kind) : html`<${T} text=${row.text ?? (row.kind ? row.kind : "sealed")} max=${90} />` },
          { title: part === "dead" ? "Reason" : "Waits", class: "wide", cell: (row) => html`<${T} text=${(part === "dead" ? row.reason : row.waits) ?? row.reason} max=${120} />` },
          { title: "Attempts", class: "num", cell: (row) => number(row.attempts) },
          { title: "Since", cell: (row) => html`<${When} at=${row.made_at} />` },
        ]} />
        <${Pager} cursor=${cursor} next=${page.next} total=${part === "dead" ? dead : undefined} />`}<//>
    ${action && dead !== undefined && html`<${Confirm} title=${action === "retry" ? "Retry dead letters" : "Drop dead letters"} count=${dead} verb=${action === "retry" ? "Retry" : "Drop"} danger=${action === "drop"}
      onClose=${() => { act(null); loaded.reload(); counted.reload(); }}
      act=${async () => {
        const done = await post(`/queue/${action}`, { all: true, queue, ...conditions(filters), expected: dead });
        return action === "retry" ? `${some(done.changed, "row")} ${done.changed === 1 ? "is" : "are"} tried again.` : `${some(done.changed, "row")} ${done.changed === 1 ? "was" : "were"} dropped.`;
      }}>
      <p>${action === "retry" ? "Each row is handled or posted once more." : "Dropped rows are not tried again. Their senders are told if they asked for it."}</p>
      <${Facts} of=${[["Queue", QUEUES.find(([name]) => name === queue)[1]], ...Object.entries(conditions(filters)).map(([name, value]) => [name[0].toUpperCase() + name.slice(1), name === "since" ? new Date(value).toISOString() : html`<${T} text=${value} max=${200} />`]), ["Rows", html`<strong>${number(dead)}</strong> on all pages`]]} />
      <p class="quiet">If it is another number by then, nothing is changed.</p>
    <//>`}`;
}

export function Directory({ filters }) {
  const wanted = { name: filters.name ?? "", capabilities: filters.capability ?? "", commands: filters.command ?? "", expired: filters.expired === "yes" };
  const cursor = useCursor(wanted);
  const loaded = useLoad((signal) => get("/agents", { ...wanted, limit: 50, cursor: cursor.cursor }, signal), [wanted, cursor.cursor], { keep: true });
  const change = (more) => go(["directory"], { ...filters, ...more }, true);
  return html`<${Head} title="Directory" lead="Cards that agents have announced on the chain. Anybody can announce anything." />
    <div class="filters" role="search">
      <${Search} label="Exact name" value=${wanted.name} onInput=${(name) => change({ name })} />
      <${Field} label="Capability" value=${filters.capability} placeholder="task:summary" onChange=${(capability) => change({ capability })} />
      <${Field} label="Command" value=${filters.command} onChange=${(command) => change({ command })} />
      <label class="tick"><input type="checkbox" checked=${wanted.expired} onChange=${(event) => change({ expired: event.target.checked ? "yes" : "" })} /> Also expired</label>
    </div>
    <${Loaded} of=${loaded}>${(page) => page.agents.length === 0
      ? html`<${Empty} title="No card matches">Cards are read from the chain as it is followed.<//>`
      : html`<${Table} label="Cards" rows=${page.agents} keyOf=${(row) => row.address} href=${(row) => link(["directory", row.address])} columns=${[
          { title: "Name", class: "wide", cell: (row) => html`<${T} text=${row.name} max=${64} />` },
          { title: "Address", cell: (row) => html`<${Hash} value=${row.address} />` },
          { title: "Capabilities", class: "wide", cell: (row) => html`<${T} text=${(row.capabilities ?? []).join(", ")} max=${120} />` },
          { title: "Expires", cell: (row) => html`<${When} at=${row.expires_at ?? row.expires} />` },
        ]} />
        <${Pager} cursor=${cursor} next=${page.next} />`}<//>`;
}

export function Card({ who }) {
  const loaded = useLoad((signal) => get(`/agents/${id(who)}`, {}, signal), [who]);
  return html`<${Loaded} of=${loaded}>${(found) => html`
    <${Head} title=${html`<${T} text=${found.card?.name ?? found.contact ?? found.hosted ?? "Agent"} max=${80} />`} lead=${html`<span class="mono break"><${T} text=${found.address} /></span>`} />
    <${Facts} of=${[
      ["Hosted here as", html`<${T} text=${found.hosted} />`],
      ["Contact", html`<${T} text=${found.contact} />`],
      ["Others of this name", found.same_name.length === 0 ? "none" : html`<${Status} level="warn">${number(found.same_name.length)}<//>`],
    ]} />
    ${found.hosted && html`<p><a href=${link(["agents", found.address])}>Its queues and spending</a></p>`}
    ${found.card ? html`<section><h2>Its card</h2><p class="quiet">The agent says this of itself.</p>
      <${Facts} of=${Object.entries(found.card).filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => [name.replaceAll("_", " "), /(_at|^expires)$/.test(name) && typeof value === "number" ? html`<${When} at=${value} />` : html`<${T} text=${typeof value === "object" ? (Array.isArray(value) && value.every((one) => typeof one === "string") ? value.join(", ") : JSON.stringify(value)) : value} max=${2000} />`])} /></section>`
      : html`<${Empty} title="It has announced no card">Or the card was withdrawn.<//>`}`}<//>`;
}

export function Approvals({ session }) {
  const loaded = useLoad((signal) => get("/approvals", { limit: 100 }, signal), [], { every: 5000 });
  const [asked, ask] = useState(null);
  const [reason, say] = useState("");
  return html`<${Head} title="Approvals" lead="Effects of behaviours that wait until you decide." />
    <${Loaded} of=${loaded}>${(page) => page.approvals.length === 0
      ? html`<${Empty} title="Nothing waits for you"><code>approve</code> in agents.toml names the effects that wait.<//>`
      : html`<${Table} label="Effects that wait" rows=${page.approvals} keyOf=${(row) => row.id} columns=${[
          { title: "Effect", cell: (row) => html`<span class="mono">${plain(row.id)}</span>` },
          { title: "Agent", cell: (row) => html`<${T} text=${row.agent} max=${40} /> <span class="quiet"><${T} text=${row.behaviour} max=${40} /></span>` },
          { title: "To", cell: (row) => row.to ? html`<${T} text=${row.to_name ?? row.to} max=${40} />` : "a task" },
          { title: "Amount", class: "num", cell: (row) => row.amount ? ait(row.amount) : "–" },
          { title: "Content", class: "wide", cell: (row) => html`<${T} text=${row.text ?? row.input ?? (row.sealed ? "sealed" : row.kind)} max=${300} />` },
          { title: "Caused by", cell: (row) => html`<${Hash} value=${row.brought_about_by} />` },
          { title: "Since", cell: (row) => html`<${When} at=${row.created_at} />` },
          session.read_only ? null : { title: "Decision", cell: (row) => html`<span class="buttons"><button type="button" class="primary" onClick=${() => ask({ row, grant: true })}>Grant…</button> <button type="button" class="danger" onClick=${() => ask({ row, grant: false })}>Deny…</button></span>` },
        ]} />${page.more && html`<p class="quiet">More wait than are listed.</p>`}`}<//>
    ${asked && html`<${Confirm} title=${asked.grant ? "Grant this effect" : "Deny this effect"} verb=${asked.grant ? "Grant" : "Deny"} danger=${!asked.grant}
      onClose=${() => { ask(null); say(""); loaded.reload(); }}
      act=${async () => {
        await post(`/approvals/${asked.row.id}`, { agent: asked.row.agent, grant: asked.grant, ...(reason ? { reason } : {}) });
        return asked.grant ? "It is carried out." : "It is not carried out.";
      }}>
      <${Facts} of=${[["Agent", html`<${T} text=${asked.row.agent} />`], asked.row.to ? ["To", html`<${T} text=${asked.row.to_name ?? asked.row.to} />`] : ["Task", html`<${T} text=${asked.row.kind} />`], asked.row.amount ? ["Amount", ait(asked.row.amount)] : null]} />
      <${Said} quote text=${asked.row.text ?? asked.row.input ?? "sealed"} max=${4000} />
      <label class="field wide"><span>Reason (optional; a denial tells it)</span><input value=${reason} maxlength="1000" onInput=${(event) => say(event.target.value)} /></label>
    <//>`}`;
}

