// The live feed: events as they come, with a pause, and a count of what is not shown.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { listen, stream } from "./api.js";
import { Choice, Empty, Field, Head, State, Status, go, link } from "./parts.js";
import { Hash, T, number, plain, rate, time } from "./text.js";

// How many rows are shown, how many wait in a pause, and how often the table changes: more nobody reads.
const SHOWN = 200;
const WAITING = 1000;
const EVERY = 300;

const KINDS = [["", "everything"], ["message", "messages"], ["delivery", "transactions"], ["receipt", "acknowledgments"], ["task", "tasks"], ["dead_letter", "dead letters"]];
const NAMES = { message: "message", delivery: "transaction", receipt: "acknowledgment", task: "task", dead_letter: "dead letter" };
const STREAM = { open: ["good", "live"], connecting: ["busy", "connecting"], waiting: ["warn", "connection lost, trying again"], busy: ["warn", "too many streams are open"], refused: ["bad", "refused"], closed: ["idle", "closed"] };

// A row does not change: it is made once, and is not compared again.
function Row(row) {
  const to = row.id.startsWith("event/") ? link(["agents"], { search: row.agent }) : row.id.startsWith("task/") ? link(["tasks", row.id], { agent: row.agent }) : link(["timeline", row.id], { agent: row.agent });
  const other = row.from ?? row.to ?? row.submitter;
  const why = row.reason ?? row.error ?? row.detail;
  return html`<tr key=${row.number} data-href=${to} class="goes">
    <td class="mono" data-title="At">${time(row.at)}</td>
    <td data-title="What">${row.event === "dead_letter" ? html`<${Status} level="bad">dead letter<//>` : NAMES[row.event]}${row.new ? html` <span class="tag">new</span>` : ""}</td>
    <td data-title="Row"><a class="mono" href=${to}>${plain(row.id)}</a></td>
    <td data-title="Agent"><${T} text=${row.agent} max=${40} /></td>
    <td data-title="State">${row.state ? html`<${State} state=${row.state} />` : ""}</td>
    <td class="wide" data-title="With">${other ? html`<${Hash} value=${other} />` : ""} ${why ? html`<${T} text=${why} max=${120} />` : ""}</td>
  </tr>`;
}

export function Live({ filters }) {
  const kept = useRef({ rows: [], queue: [], dropped: 0, missed: 0, seen: 0, number: 0, since: performance.now(), counted: 0 });
  const paused = useRef(false);
  const wanted = useRef(filters);
  wanted.current = filters;
  const [, draw] = useState(0);
  const [speed, measure] = useState(0);
  const redraw = () => draw((turn) => turn + 1);

  useEffect(() => {
    const state = kept.current;
    const stop = listen((event) => {
      if (event.event === "stream" || event.event === "ready") return;
      if (event.event === "missed") {
        state.missed += event.events ?? 1;
        return;
      }
      if (!NAMES[event.event]) return;
      state.seen += 1;
      const { kind, agent } = wanted.current;
      if (kind && event.event !== kind) return;
      if (agent && !event.agent.toLowerCase().includes(agent.toLowerCase())) return;
      state.number += 1;
      state.queue.push({ ...event, at: Date.now(), number: state.number });
      const most = paused.current ? WAITING : SHOWN;
      if (state.queue.length > most) {
        state.dropped += state.queue.length - most;
        state.queue.splice(0, state.queue.length - most);
      }
    });
    const timer = setInterval(() => {
      const now = performance.now();
      if (now - state.since > 2000) {
        measure(((state.seen - state.counted) * 1000) / (now - state.since));
        state.since = now;
        state.counted = state.seen;
      }
      if (!paused.current && state.queue.length > 0) {
        state.rows = [...state.queue.reverse(), ...state.rows].slice(0, SHOWN);
        state.queue = [];
      }
      redraw();
    }, EVERY);
    return () => {
      stop();
      clearInterval(timer);
    };
  }, []);

  const toggle = () => {
    paused.current = !paused.current;
    redraw();
  };
  const clear = () => {
    Object.assign(kept.current, { rows: [], queue: [], dropped: 0, missed: 0 });
    redraw();
  };
  useEffect(() => {
    const press = () => toggle();
    addEventListener("agentry:pause", press);
    return () => removeEventListener("agentry:pause", press);
  }, []);

  const state = kept.current;
  const [level, word] = STREAM[stream.state] ?? STREAM.closed;
  const change = (more) => go(["live"], { ...filters, ...more }, true);
  return html`<${Head} title="Live" lead="What happens, as it happens.">
      <button type="button" class=${paused.current ? "primary" : ""} aria-pressed=${paused.current} data-pause onClick=${toggle}>${paused.current ? "Go on" : "Pause"}</button>
      <button type="button" onClick=${clear}>Clear</button>
    <//>
    <div class="filters" role="search">
      <${Choice} label="Show" value=${filters.kind ?? ""} options=${KINDS} onChange=${(kind) => change({ kind })} />
      <${Field} label="Agent" value=${filters.agent} placeholder="a part of its name" onChange=${(agent) => change({ agent })} />
      <p class="counts"><${Status} level=${paused.current ? "warn" : level}>${paused.current ? `paused, ${number(state.queue.length)} wait` : word}<//>
        <span data-seen=${state.seen}>${number(state.seen)} events</span> <span>${rate(speed)} per second</span>
        <span data-dropped=${state.dropped + state.missed} class=${state.dropped + state.missed > 0 ? "strong" : ""}>${number(state.dropped + state.missed)} not shown</span></p>
    </div>
    ${state.rows.length === 0 ? html`<${Empty} title=${paused.current ? "Paused" : "Nothing has happened yet"}>Messages, transactions, acknowledgments and tasks appear here.<//>`
      : html`<div class="scroll" tabindex="0" role="region" aria-label="Events"><table class="feed">
        <caption class="hidden">Events, the latest first</caption>
        <thead><tr><th scope="col">At</th><th scope="col">What</th><th scope="col">Row</th><th scope="col">Agent</th><th scope="col">State</th><th scope="col" class="wide">With</th></tr></thead>
        <tbody>${state.rows.map((row) => (row.shown ??= Row(row)))}</tbody></table></div>`}`;
}
