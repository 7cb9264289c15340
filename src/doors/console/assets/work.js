// Tasks: those that agents do for others, and those that they have requested.

import { html, useState } from "./vendor/preact.js";
import { get, id, post } from "./api.js";
import { Choice, Confirm, Empty, Facts, Field, Head, Loaded, Pager, Said, State, Table, go, link, useCursor, useLoad } from "./parts.js";
import { Hash, T, When, number, plain } from "./text.js";

const STATES = [["", "any"], ["submitted", "submitted"], ["working", "working"], ["input-required", "input required"], ["completed", "completed"], ["failed", "failed"], ["canceled", "canceled"]];

function Progress({ value, note }) {
  if (value === null || value === undefined) return note ? html`<${T} text=${note} max=${60} />` : "–";
  const share = Math.round(value * 100);
  return html`<span class="budget"><span>${share} % ${note ? html`<${T} text=${note} max=${60} />` : ""}</span><progress max="100" value=${share} aria-label="progress"></progress></span>`;
}

export function Tasks({ steps, filters, session }) {
  if (steps[0]) return steps[0].startsWith("task/") ? html`<${Work} who=${steps[0]} filters=${filters} />` : html`<${Requested} who=${steps[0]} filters=${filters} session=${session} />`;
  const side = filters.side ?? "work";
  const wanted = { agent: filters.agent, state: filters.state === "open" ? "" : filters.state, ...(side === "work" ? { open: (filters.state ?? "open") === "open" } : {}) };
  const cursor = useCursor({ side, ...wanted });
  const path = side === "work" ? "/work" : "/tasks";
  const loaded = useLoad((signal) => get(path, { ...wanted, limit: 50, cursor: cursor.cursor }, signal), [path, wanted, cursor.cursor], { every: 5000, on: ["task", "message"], keep: true });
  const change = (more) => go(["tasks"], { ...filters, ...more }, true);
  const states = side === "work" ? [["open", "open"], ...STATES.slice(1), ["all", "any"]] : STATES;
  return html`<${Head} title="Tasks" lead=${side === "work" ? "What agents do for others." : "What agents have requested of others."} />
    <div class="filters" role="search">
      <${Choice} label="Tasks" value=${side} options=${[["work", "done here"], ["requested", "requested"]]} onChange=${(side) => change({ side, state: "" })} />
      <${Choice} label="State" value=${filters.state ?? (side === "work" ? "open" : "")} options=${states} onChange=${(state) => change({ state })} />
      <${Field} label="Agent" value=${filters.agent} placeholder="name or address" onChange=${(agent) => change({ agent })} />
    </div>
    <${Loaded} of=${loaded}>${(page) => page.tasks.length === 0 && !page.next
      ? html`<${Empty} title="No task matches">${side === "work" && (filters.state ?? "open") === "open" ? "No task is open." : "Try another state."}<//>`
      : html`<${Table} label="Tasks" rows=${page.tasks} keyOf=${(row) => row.id} href=${(row) => link(["tasks", row.id], { agent: row.agent ?? row.from })} columns=${side === "work" ? [
          { title: "Task", cell: (row) => html`<span class="mono">${plain(row.id)}</span>` },
          { title: "State", cell: (row) => html`<${State} state=${row.state} />` },
          { title: "Type", cell: (row) => html`<${T} text=${row.type} max=${40} />` },
          { title: "Agent", cell: (row) => html`<${T} text=${row.agent} max=${40} />` },
          { title: "Progress", class: "wide", cell: (row) => html`<${Progress} value=${row.progress} note=${row.note} />` },
          { title: "Requested by", cell: (row) => html`<${Hash} value=${row.submitter} />` },
          { title: "Attempts", class: "num", cell: (row) => number(row.attempts) },
          { title: "Waits for", cell: (row) => html`<${T} text=${row.waits_for ?? row.error} max=${80} />` },
          { title: "Accepted", cell: (row) => html`<${When} at=${row.made_at} />` },
        ] : [
          { title: "Task", cell: (row) => html`<span class="mono">${plain(row.id)}</span>` },
          { title: "State", cell: (row) => html`<${State} state=${row.state} />` },
          { title: "Type", cell: (row) => html`<${T} text=${row.type ?? row.kind} max=${40} />` },
          { title: "Of", cell: (row) => html`<${Hash} value=${row.to} />` },
          { title: "Progress", class: "wide", cell: (row) => html`<${Progress} value=${row.progress?.progress ?? (typeof row.progress === "number" ? row.progress : null)} note=${row.progress?.note ?? row.note} />` },
          { title: "Requested", cell: (row) => html`<${When} at=${row.asked_at} />` },
        ]} />
        <${Pager} cursor=${cursor} next=${page.next} />`}<//>`;
}

function Work({ who, filters }) {
  const loaded = useLoad((signal) => get(`/work/${id(who)}`, { agent: filters.agent }, signal), [who], { every: 3000, on: ["task"] });
  return html`<${Loaded} of=${loaded}>${({ task, result }) => html`
    <${Head} title=${html`<span class="mono">${plain(task.id)}</span> <${T} text=${task.type} max=${60} />`} lead=${html`<${State} state=${task.state} />`} />
    <${Facts} of=${[
      ["Agent", html`<${T} text=${task.agent} />`], ["Behaviour", html`<${T} text=${task.behaviour} />`],
      ["Requested by", html`<span class="mono break"><${T} text=${task.submitter} /></span>`],
      ["Progress", html`<${Progress} value=${task.progress} note=${task.note} />`],
      ["Attempts", `${number(task.attempts)}${task.interrupted ? `, ${number(task.interrupted)} interrupted` : ""}`],
      ["Accepted", html`<${When} at=${task.made_at} />`], ["Started", html`<${When} at=${task.started_at} />`],
      ["Ended", html`<${When} at=${task.ended_at} />`], task.deadline_at ? ["Deadline", html`<${When} at=${task.deadline_at} />`] : null,
      task.input_tokens + task.output_tokens > 0 ? ["Tokens", `${number(task.input_tokens)} read, ${number(task.output_tokens)} written`] : null,
      task.waits_for ? ["Waits for", html`<${T} text=${task.waits_for} />`] : null,
      task.error ? ["Error", html`<${T} text=${task.error} max=${2000} />`] : null,
    ]} />
    <section><h2>Input</h2><${Said} text=${JSON.stringify(task.input, null, 2)} label="Input" max=${8000} /></section>
    ${result !== null && html`<section><h2>Result</h2><${Said} text=${result} label="Result" max=${20000} /></section>`}`}<//>`;
}

function Requested({ who, filters, session }) {
  const loaded = useLoad((signal) => get(`/tasks/${id(who)}`, { agent: filters.agent }, signal), [who], { every: 3000, on: ["message", "delivery"] });
  const [asked, ask] = useState(false);
  const open = ["submitted", "working", "input-required"];
  return html`<${Loaded} of=${loaded}>${(task) => html`
    <${Head} title=${html`<span class="mono">${plain(task.id)}</span> <${T} text=${task.type ?? task.kind} max=${60} />`} lead=${html`<${State} state=${task.state} />`}>
      ${open.includes(task.state) && !session.read_only && html`<button type="button" class="danger" onClick=${() => ask(true)}>Cancel task…</button>`}
    <//>
    <${Facts} of=${Object.entries(task).filter(([, value]) => value !== null && value !== undefined && typeof value !== "object").map(([name, value]) => [name.replaceAll("_", " "), /_at$/.test(name) ? html`<${When} at=${value} />` : html`<${T} text=${value} max=${4000} lines=${true} />`])} />
    ${task.result && html`<section><h2>Result</h2><${Said} text=${task.result.text ?? JSON.stringify(task.result, null, 2)} label="Result" max=${20000} /></section>`}
    <p><a href=${link(["timeline", task.id], { agent: filters.agent })}>Timeline of the request</a></p>
    ${asked && html`<${Confirm} title="Cancel task" verb="Cancel task" danger onClose=${() => { ask(false); loaded.reload(); }}
      act=${async () => {
        await post(`/tasks/${task.id}/cancel`, { agent: filters.agent });
        return "The agent that does it is asked to cancel it.";
      }}><p>The agent that does it decides; the message that asks for it costs a fee.</p><//>`}`}<//>`;
}
