// What the views are made of.

import { html, useCallback, useEffect, useRef, useState } from "./vendor/preact.js";
import { listen } from "./api.js";
import { T, number, plain } from "./text.js";

// The place in the console: the path and the filters after `#`.
export function place() {
  const [path, filters] = location.hash.replace(/^#/, "").split("?");
  const steps = path.split("/").filter(Boolean).map((step) => {
    try {
      return decodeURIComponent(step);
    } catch {
      return step;
    }
  });
  return { view: steps[0] ?? "overview", steps: steps.slice(1), filters: Object.fromEntries(new URLSearchParams(filters ?? "")) };
}

export function link(steps, filters) {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(filters ?? {})) {
    if (value !== undefined && value !== null && value !== "") all.append(name, value);
  }
  const text = all.toString();
  return `#/${steps.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function go(steps, filters, replace) {
  const to = link(steps, filters);
  if (replace) {
    history.replaceState(null, "", to);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = to;
}

// Reads something, and reads it again when what it depends on changes, on demand, every so often, and
// when events of these kinds come. What was read before is shown meanwhile, unless it was something else;
// with `keep`, that too, as what it is: out of date.
export function useLoad(read, depends, { every, on, keep } = {}) {
  const [state, set] = useState({ data: null, error: null, loading: true });
  const [turn, again] = useState(0);
  const key = JSON.stringify(depends);
  const seen = useRef(key);
  const reload = useCallback(() => again((turn) => turn + 1), []);
  useEffect(() => {
    const control = new AbortController();
    const fresh = seen.current !== key;
    seen.current = key;
    set((old) => ({ data: fresh && !keep ? null : old.data, error: fresh ? null : old.error, loading: true, stale: (fresh && keep) || old.stale }));
    read(control.signal).then(
      (data) => !control.signal.aborted && set({ data, error: null, loading: false }),
      (error) => !control.signal.aborted && set((old) => ({ ...old, error, loading: false })),
    );
    return () => control.abort();
  }, [key, turn]);
  useEffect(() => {
    if (!every) return undefined;
    const timer = setInterval(() => document.hidden || reload(), every);
    return () => clearInterval(timer);
  }, [every]);
  useEffect(() => {
    if (!on) return undefined;
    let timer = null;
    const stop = listen((event) => {
      if (on.includes(event.event) && !timer) {
        timer = setTimeout(() => {
          timer = null;
          reload();
        }, 2000);
      }
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [on?.join()]);
  useEffect(() => {
    addEventListener("agentry:reload", reload);
    return () => removeEventListener("agentry:reload", reload);
  }, []);
  return { ...state, reload };
}

const GLYPHS = { good: "✓", warn: "▲", bad: "✕", idle: "○", busy: "◐" };

// A state is a sign and a word; its colour only helps.
export function Status({ level, children }) {
  return html`<span class="status ${level}"><span class="glyph" aria-hidden="true">${GLYPHS[level]}</span> ${children}</span>`;
}

const LEVELS = {
  waiting: "busy", withdrawn: "warn", handled: "good", expired: "warn", dead: "bad", forged: "bad",
  queued: "idle", prepared: "busy", accepted: "busy", mined: "good", final: "good", failed: "bad",
  submitted: "idle", working: "busy", "input-required": "warn", completed: "good", canceled: "warn",
  open: "idle", received: "busy", done: "good", rejected: "bad", unacknowledged: "bad", unsent: "bad",
  verified: "good", unverified: "warn", rejected_by: "bad",
};

export function State({ state }) {
  return html`<${Status} level=${LEVELS[state] ?? "idle"}>${plain(state)}<//>`;
}

export function Loading() {
  return html`<div class="quiet loading" role="status"><span class="spinner" aria-hidden="true"></span> Loading…</div>`;
}

export function Trouble({ error, retry }) {
  return html`<div class="notice bad" role="alert">
    <strong>${error.code === "unreachable" ? "No connection" : "This did not work"}</strong>
    <p><${T} text=${error.message} /></p>
    ${retry && html`<button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><p class="title">${title}</p><p>${children}</p></div>`;
}

// The content of what is loaded, or why there is none yet.
export function Loaded({ of, children }) {
  if (of.data === null) return of.error ? html`<${Trouble} error=${of.error} retry=${of.reload} />` : html`<${Loading} />`;
  return html`<div class=${of.stale ? "loaded stale" : "loaded"} aria-busy=${of.stale ? "true" : "false"}>
    ${of.error && html`<${Trouble} error=${of.error} retry=${of.reload} />`}
    ${children(of.data)}
  </div>`;
}

export function Head({ title, lead, children }) {
  return html`<header class="head">
    <div><h1 tabindex="-1">${title}</h1>${lead && html`<p class="lead">${lead}</p>`}</div>
    <div class="actions">${children}</div>
  </header>`;
}

// A table whose rows lead somewhere: with the pointer, or with j, k and Enter.
export function Table({ label, columns, rows, href, keyOf }) {
  const shown = columns.filter(Boolean);
  return html`<div class="scroll" tabindex="0" role="group" aria-label=${label}>
    <table>
      <caption class="hidden">${label}</caption>
      <thead><tr>${shown.map((column) => html`<th scope="col" class=${column.class ?? ""} aria-sort=${column.sorted ? "descending" : null}>
        ${column.sort ? html`<button type="button" class="sort" onClick=${column.sort}>${column.title}${column.sorted ? html` <span aria-hidden="true">↓</span>` : ""}</button>` : column.title}
      </th>`)}</tr></thead>
      <tbody>${rows.map((row) => {
        const to = href?.(row);
        return html`<tr key=${keyOf?.(row)} class=${to ? "goes" : ""} data-href=${to} onClick=${(event) => {
          if (to && !event.target.closest("a, button, input, label") && !String(getSelection())) location.hash = to;
        }}>${shown.map((column, at) => html`<td class=${column.class ?? ""} data-title=${column.title}>
          ${at === 0 && to ? html`<a href=${to}>${column.cell(row)}</a>` : column.cell(row)}
        </td>`)}</tr>`;
      })}</tbody>
    </table>
  </div>`;
}

// Pages by cursor: the server gives the next one, and those before are remembered.
export function useCursor(depends) {
  const [stack, set] = useState([]);
  const key = JSON.stringify(depends);
  const seen = useRef(key);
  const current = seen.current === key ? stack : [];
  useEffect(() => {
    if (seen.current !== key) {
      seen.current = key;
      set([]);
    }
  }, [key]);
  return {
    cursor: current[current.length - 1],
    page: current.length + 1,
    next: (cursor) => set([...current, cursor]),
    previous: () => set(current.slice(0, -1)),
  };
}

export function Pager({ cursor, next, total, words = ["Newer", "Older"] }) {
  useEffect(() => {
    const turn = (event) => {
      if (event.detail === "next" && next) cursor.next(next);
      if (event.detail === "previous" && cursor.page > 1) cursor.previous();
    };
    addEventListener("agentry:page", turn);
    return () => removeEventListener("agentry:page", turn);
  }, [next, cursor.page]);
  if (cursor.page === 1 && !next) return null;
  return html`<nav class="pager" aria-label="Pages">
    <button type="button" disabled=${cursor.page === 1} onClick=${cursor.previous}>← ${words[0]}</button>
    <span aria-live="polite">Page ${cursor.page}${total === undefined ? "" : ` of ${number(total)} rows`}</span>
    <button type="button" disabled=${!next} onClick=${() => cursor.next(next)}>${words[1]} →</button>
  </nav>`;
}

// A text field that tells what was typed once typing pauses.
export function Search({ value, onInput, label, placeholder }) {
  const [text, set] = useState(value ?? "");
  const timer = useRef(null);
  useEffect(() => set(value ?? ""), [value]);
  return html`<label class="field search"><span class="hidden">${label}</span>
    <input type="search" data-search value=${text} placeholder=${placeholder ?? label} autocomplete="off" spellcheck="false"
      onInput=${(event) => {
        const typed = event.target.value;
        set(typed);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => onInput(typed), 180);
      }} />
  </label>`;
}

export function Choice({ label, value, options, onChange }) {
  return html`<label class="field"><span>${label}</span>
    <select value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([key, title]) => html`<option value=${key} selected=${key === value}>${title}</option>`)}
    </select>
  </label>`;
}

export function Field({ label, value, onChange, placeholder, type = "text" }) {
  const [text, set] = useState(value ?? "");
  useEffect(() => set(value ?? ""), [value]);
  const done = () => text !== (value ?? "") && onChange(text);
  return html`<label class="field"><span>${label}</span>
    <input type=${type} value=${text} placeholder=${placeholder} autocomplete="off" spellcheck="false"
      onInput=${(event) => set(event.target.value)} onBlur=${done}
      onKeyDown=${(event) => event.key === "Enter" && done()} />
  </label>`;
}

// A dialog, until it is closed.
export function Dialog({ title, onClose, children }) {
  const element = useRef(null);
  useEffect(() => {
    const dialog = element.current;
    if (!dialog.open) dialog.showModal();
    return () => dialog.open && dialog.close();
  }, []);
  return html`<dialog ref=${element} aria-labelledby="dialog-title" onClose=${onClose} onCancel=${onClose}>
    <h2 id="dialog-title">${title}</h2>
    ${children}
  </dialog>`;
}

// Asks before something is done. If `count` is given, it has to be typed.
export function Confirm({ title, count, verb, danger, children, onClose, act }) {
  const [typed, set] = useState("");
  const [state, change] = useState({});
  const ready = count === undefined || typed.trim() === String(count);
  const run = async (event) => {
    event.preventDefault();
    if (!ready || state.busy) return;
    change({ busy: true });
    try {
      change({ done: await act() });
    } catch (error) {
      change({ error });
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    ${state.done !== undefined
      ? html`<p role="status"><${Status} level="good">${state.done}<//></p>
          <p class="buttons"><button type="button" onClick=${onClose} autofocus>Close</button></p>`
      : html`<form onSubmit=${run}>
          ${children}
          ${count !== undefined && html`<label class="field wide"><span>Type <strong>${count}</strong> to confirm</span>
            <input inputmode="numeric" value=${typed} autocomplete="off" autofocus data-confirm onInput=${(event) => set(event.target.value)} /></label>`}
          ${state.error && html`<${Trouble} error=${state.error} />`}
          <p class="buttons"><button type="button" onClick=${onClose}>Cancel</button>
            <button class=${danger ? "danger" : "primary"} disabled=${!ready || state.busy}>${state.busy ? "Working…" : verb}</button></p>
        </form>`}
  <//>`;
}

// A text that may be long: it scrolls, also with the keyboard.
export function Said({ text, max, label = "Content", quote }) {
  return html`<div class=${quote ? "quote" : "said"} tabindex="0" role="group" aria-label=${label}><${T} text=${text} lines=${true} max=${max} /></div>`;
}

export function Facts({ of }) {
  return html`<dl class="facts">${of.filter(Boolean).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
