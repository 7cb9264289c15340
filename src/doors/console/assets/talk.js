// The timeline of one message, and conversations.

import { html, useState } from "./vendor/preact.js";
import { get, id } from "./api.js";
import { Empty, Facts, Field, Head, Loaded, Said, Search, State, Status, Table, go, link, useLoad } from "./parts.js";
import { Hash, T, When, ait, duration, number, plain, some, time } from "./text.js";

const WORDS = {
  arrived: "Arrived", verified: "Sender verified", unverified: "Sender not verified", attempts: "Attempts failed",
  handled_by: "Handled by", handled: "Handled", expired: "Expired", withdrawn: "Withdrawn", dead: "Dead letter",
  rejected: "Rejected", requested: "Requested", approved: "Approved", signed: "Signed", posted: "Posted",
  accepted: "Accepted by the node", mined: "In a block", final: "Final", failed: "Failed", acknowledged: "Acknowledged",
  started: "Started", progress: "Progress", completed: "Completed", canceled: "Canceled", due: "Due",
};

const KINDS = { received: "Received", sent: "Sent", resent: "Sent again", task: "Task", event: "Event" };

// A stage, with the time since the one before: what takes long is seen at once.
function Stage({ one, before }) {
  const level = one.failed ? "bad" : one.stage === "unverified" ? "warn" : one.reached ? "good" : "idle";
  const passed = one.at && before ? one.at - before : null;
  return html`<li class="stage ${level}">
    <${Status} level=${level}>${WORDS[one.stage] ?? one.stage}${one.count ? ` ${number(one.count)}×` : ""}<//>
    <span class="when">${!one.reached && !one.at ? "not yet" : one.at ? html`<time datetime=${new Date(one.at).toISOString()} title=${new Date(one.at).toISOString().replace("T", " ").replace("Z", " UTC")}>${passed === null || passed < 0 ? time(one.at) : `+${duration(passed)}`}</time>` : ""}${one.height !== null && one.height !== undefined ? ` block ${number(one.height)}` : ""}</span>
  </li>`;
}

function Stages({ of }) {
  let before = null;
  const shown = of.map((one) => {
    const stage = html`<${Stage} one=${one} before=${before} />`;
    before = one.at ?? before;
    return stage;
  });
  const why = of.filter((one) => one.detail);
  return html`<ol class="stages">${shown}</ol>
    ${why.length > 0 && html`<ul class="whys">${why.map((one) => html`<li><strong>${WORDS[one.stage] ?? one.stage}:</strong> <${T} text=${one.detail} max=${600} /></li>`)}</ul>`}`;
}

function Content({ of }) {
  if (of.text === null || of.text === undefined) return html`<p class="quiet">${of.sealed ? "sealed" : "no content"}${of.closed ? html`: <${T} text=${of.closed} max=${200} />` : ""}</p>`;
  return html`<${Said} text=${of.text} max=${4000} />`;
}

function Part({ part, depth, asked }) {
  const message = part.message;
  const other = message && (message.direction === "sent" ? message.to_name ?? message.to : message.from_name ?? message.from);
  return html`<li class="part depth-${Math.min(depth, 3)} ${asked ? "asked" : ""}">
    <article>
      <header>
        <h2><span class="kind">${KINDS[part.kind] ?? part.kind}</span> ${message ? html`${message.direction === "sent" ? "to" : "from"} <${T} text=${other} max=${40} />` : html`<${T} text=${part.label} max=${40} />`}</h2>
        <span class="mono quiet">${plain(part.id)}</span> <${State} state=${part.state} />
        ${message?.seen_at && html`<span class="quiet"><${When} at=${message.seen_at} /></span>`}
        ${part.behaviour && html`<span class="tag">behaviour <${T} text=${part.behaviour} max=${40} /></span>`}
      </header>
      ${message && html`<${Content} of=${message} />`}
      <${Stages} of=${part.stages} />
      ${message && html`<details><summary>Details</summary><${Facts} of=${[
        ["From", html`<span class="mono break"><${T} text=${message.from} /></span>`],
        ["To", html`<span class="mono break"><${T} text=${message.to} /></span>`],
        ["Transaction", html`<span class="mono break"><${T} text=${message.transaction} /></span>`],
        message.amount ? ["Amount", ait(message.amount)] : null,
        message.cmd ? ["Command", html`<${T} text=${message.cmd} />`] : null,
        message.thread ? ["Thread", html`<${T} text=${message.thread} />`] : null,
        message.re ? ["Answers", html`<span class="mono break"><${T} text=${message.re} /></span>`] : null,
        message.ack ? ["Asks for", `acknowledgment: ${message.ack}`] : null,
        message.damage ? ["Damage", html`<${T} text=${message.damage} />`] : null,
      ]} /></details>`}
    </article>
  </li>`;
}

export function Timeline({ who, filters }) {
  if (!who) return html`<${Find} />`;
  const loaded = useLoad((signal) => get(`/messages/${id(who)}/timeline`, { agent: filters.agent }, signal), [who, filters.agent], { every: 5000, on: ["message", "delivery", "receipt", "task", "dead_letter"] });
  return html`<${Loaded} of=${loaded}>${(story) => {
    const depths = new Map();
    return html`
      <${Head} title=${html`Timeline of <span class="mono">${plain(story.id)}</span>`} lead=${html`Agent <a href=${link(["agents", story.address])}><${T} text=${story.agent} max=${60} /></a>`} />
      <ol class="story">${story.parts.map((part) => {
        const depth = part.from ? (depths.get(part.from) ?? -1) + 1 : 0;
        depths.set(part.id, depth);
        return html`<${Part} key=${part.id} part=${part} depth=${depth} asked=${part.id === story.id} />`;
      })}</ol>`;
  }}<//>`;
}

function Find() {
  const [text, set] = useState("");
  return html`<${Head} title="Timeline" lead="One message from its arrival to the last of its effects." />
    <form class="filters" onSubmit=${(event) => {
      event.preventDefault();
      if (text.trim()) go(["timeline", text.trim()]);
    }}>
      <label class="field search"><span class="hidden">Message</span><input data-search type="search" value=${text} placeholder="inbox/12, outbox/7, a hash or a message id" spellcheck="false" autocomplete="off" onInput=${(event) => set(event.target.value)} /></label>
      <button class="primary">Show</button>
    </form>
    <${Empty} title="Which message?">Open one from <a href=${link(["queues"], { part: "all" })}>the queues</a>, <a href=${link(["conversations"])}>a conversation</a> or <a href=${link(["live"])}>the live feed</a>, or type its id.<//>`;
}

export function Conversations({ steps, filters }) {
  const [agent, peer] = steps;
  if (!agent) return html`<${Choose} filters=${filters} />`;
  if (!peer) return html`<${Peers} key=${agent} agent=${agent} />`;
  return html`<${Talk} key=${`${agent} ${peer} ${filters.thread}`} agent=${agent} peer=${peer} thread=${filters.thread} />`;
}

function Choose({ filters }) {
  const search = filters.search ?? "";
  const loaded = useLoad((signal) => get("/hosted", { search, sort: "name", limit: 50 }, signal), [search], { keep: true });
  return html`<${Head} title="Conversations" lead="Of which agent?" />
    <div class="filters" role="search"><${Search} label="Name or address" value=${search} onInput=${(search) => go(["conversations"], { search }, true)} /></div>
    <${Loaded} of=${loaded}>${(page) => page.agents.length === 0 ? html`<${Empty} title="No agent matches">Try another search.<//>` : html`
      <p class="quiet">${number(page.matching)} of ${some(page.all, "agent")}</p>
      <${Table} label="Agents" rows=${page.agents} keyOf=${(row) => row.address} href=${(row) => link(["conversations", row.address])} columns=${[
        { title: "Agent", class: "wide", cell: (row) => html`<${T} text=${row.agent} max=${80} />` },
        { title: "Address", cell: (row) => html`<${Hash} value=${row.address} />` },
        { title: "Waiting", class: "num", cell: (row) => number(row.waiting) },
      ]} />`}<//>`;
}

function Peers({ agent }) {
  const [before, set] = useState([]);
  const loaded = useLoad((signal) => get("/conversations", { agent, before: before.at(-1) }, signal), [agent, before.at(-1)], { on: ["message", "delivery"] });
  return html`<${Loaded} of=${loaded}>${(page) => html`
    <${Head} title="Conversations" lead=${html`of <a href=${link(["agents", page.address])}><${T} text=${page.agent} max=${60} /></a>`} />
    ${page.conversations.length === 0 ? html`<${Empty} title="No messages">This agent has neither received nor sent any.<//>` : html`
      <${Table} label="Conversations" rows=${page.conversations} keyOf=${(row) => `${row.peer} ${row.thread}`} href=${(row) => link(["conversations", agent, row.peer], { thread: row.thread })} columns=${[
        { title: "With", cell: (row) => row.peer_name ? html`<${T} text=${row.peer_name} max=${40} />` : html`<${Hash} value=${row.peer} />` },
        { title: "Thread", cell: (row) => html`<${T} text=${row.thread} max=${30} />` },
        { title: "Last", class: "wide", cell: (row) => html`<span class="quiet">${row.last.direction === "sent" ? "→" : "←"}</span> <${T} text=${row.last.text ?? (row.last.sealed ? "sealed" : row.last.cmd)} max=${100} />` },
        { title: "State", cell: (row) => html`<${State} state=${row.last.state} />` },
        { title: "Messages", class: "num", cell: (row) => number(row.messages) },
        { title: "At", cell: (row) => html`<${When} at=${row.last.seen_at} />` },
      ]} />`}
    <nav class="pager" aria-label="Pages"><button type="button" disabled=${before.length === 0} onClick=${() => set(before.slice(0, -1))}>← Newer</button><span>Page ${before.length + 1}</span><button type="button" disabled=${!page.older} onClick=${() => set([...before, page.older])}>Older →</button></nav>`}<//>`;
}

function Talk({ agent, peer, thread }) {
  const [before, set] = useState([]);
  const loaded = useLoad((signal) => get(`/conversations/${id(peer)}`, { agent, thread, limit: 60, before: before.at(-1) }, signal), [agent, peer, thread, before.at(-1)], { on: ["message", "delivery"] });
  return html`<${Head} title="Conversation" lead=${html`<a href=${link(["conversations", agent])}>All of this agent</a>${thread ? html` · thread <${T} text=${thread} max=${60} />` : ""}`} />
    <${Loaded} of=${loaded}>${(page) => html`
      <nav class="pager" aria-label="Pages"><button type="button" disabled=${!page.older} onClick=${() => set([...before, page.older])}>← Older</button><span>Page ${before.length + 1}</span><button type="button" disabled=${before.length === 0} onClick=${() => set(before.slice(0, -1))}>Newer →</button></nav>
      ${page.messages.length === 0 ? html`<${Empty} title="No messages on this page">${page.older ? "Older pages may have some." : "Nothing was said."}<//>` : html`
      <ol class="talk">${page.messages.map((one) => html`<li class=${one.direction} key=${one.id}>
        <article>
          <header><strong><${T} text=${one.from_name ?? one.from} max=${40} /></strong>${one.authenticity === "unverified" ? html` <span class="tag">unverified</span>` : ""} <span class="quiet"><${When} at=${one.seen_at} /></span></header>
          <${Content} of=${one} />
          <footer><${State} state=${one.state} /> ${one.receipt && html`<span class="tag">${plain(one.receipt.state)}</span>`} <a href=${link(["timeline", one.id], { agent })}>Timeline</a></footer>
        </article></li>`)}</ol>`}`}<//>`;
}
