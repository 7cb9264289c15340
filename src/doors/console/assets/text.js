// Texts and numbers as people read them.
//
// What comes from the chain is hostile. It is only ever a text node, each in an isolate of its own, and
// what could deceive a reader is made visible: control characters, terminal escapes, marks that change
// the direction of writing, and characters without a width.

import { html } from "./vendor/preact.js";

const ODD = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202f\u205f-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|[\u{e0000}-\u{e0fff}]/u;

const CONTROLS = "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");

function named(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return `‹${CONTROLS[code]}›`;
  return `‹U+${code.toString(16).toUpperCase().padStart(4, "0")}›`;
}

// The parts of a text: what can be shown as it is, and names of what cannot.
export function parts(text) {
  const found = [];
  let rest = text;
  for (;;) {
    const match = ODD.exec(rest);
    if (!match) break;
    if (match.index > 0) found.push(rest.slice(0, match.index));
    found.push({ odd: named(match[0]) });
    rest = rest.slice(match.index + match[0].length);
    // More than that nobody reads one by one.
    if (found.length > 400) {
      rest = [...rest].map((one) => (ODD.test(one) ? "\ufffd" : one)).join("");
      break;
    }
  }
  if (rest) found.push(rest);
  return found;
}

// A text from outside. `max` cuts it, `lines` keeps its lines.
export function T({ text, max, lines }) {
  if (text === null || text === undefined || text === "") return html`<span class="none">–</span>`;
  let all = String(text);
  const cut = max && all.length > max;
  if (cut) all = all.slice(0, max);
  if (!lines) all = all.replace(/[\t\n]+/g, " ");
  const shown = parts(all).map((part) =>
    typeof part === "string" ? part : html`<span class="odd">${part.odd}</span>`,
  );
  return html`<bdi class=${lines ? "lines" : ""} title=${cut ? `${String(text).length} characters` : null}>${shown}${cut ? "…" : ""}</bdi>`;
}

// The same as a plain text, where elements cannot be: titles, labels.
export function plain(text) {
  return parts(String(text ?? "")).map((part) => (typeof part === "string" ? part : part.odd)).join("");
}

// An address or a hash: its beginning and its end tell most.
export function short(text) {
  const all = String(text ?? "");
  return all.length > 20 ? `${all.slice(0, 10)}…${all.slice(-6)}` : all;
}

export function Hash({ value }) {
  if (!value) return html`<span class="none">–</span>`;
  return html`<span class="mono" title=${plain(value)}><${T} text=${short(value)} /></span>`;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function number(value) {
  return value === null || value === undefined ? "–" : whole.format(value);
}

// A number of things in words: one agent, two agents.
export function some(count, one, several = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : several}`;
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? whole.format(value) : fine.format(value);
}

export function ait(value) {
  return value === null || value === undefined ? "–" : `${whole.format(value)} AIT`;
}

// A length of time in its largest two units.
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${ms < 10 ? fine.format(ms) : whole.format(ms)} ms`;
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  let left = Math.floor(ms / 1000);
  const found = [];
  for (const [length, name] of units) {
    if (left >= length && found.length < 2) {
      found.push(`${Math.floor(left / length)} ${name}`);
      left %= length;
    } else if (found.length > 0) break;
  }
  return found.join(" ");
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat("en-GB", { year: "numeric", month: "short", day: "2-digit" });

export function time(ms) {
  return ms ? clock.format(ms) : "–";
}

export function day(ms) {
  return ms ? date.format(ms) : "–";
}

// A moment: how long ago, and on demand when exactly.
export function When({ at, now = Date.now() }) {
  if (!at) return html`<span class="none">–</span>`;
  const ago = now - at;
  const exact = new Date(at).toISOString().replace("T", " ").replace("Z", " UTC");
  const text = Math.abs(ago) < 1500 ? "now" : ago > 0 ? `${duration(ago)} ago` : `in ${duration(-ago)}`;
  return html`<time datetime=${new Date(at).toISOString()} title=${exact}>${text}</time>`;
}
