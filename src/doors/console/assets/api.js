// The operations of the API, and the stream of events.
//
// The session is a cookie that this page cannot read, and a key that it sends with each request. The key
// is kept for this origin alone.

const KEY = "agentry.console.key";

export class Failure extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function headers(more) {
  return { "x-agentry-console": localStorage.getItem(KEY) ?? "", ...more };
}

async function answer(response) {
  if (response.status === 204) return null;
  let body = null;
  try {
    body = await response.json();
  } catch {
    throw new Failure(response.status, "broken", `the answer (${response.status}) cannot be read`);
  }
  if (!response.ok) throw new Failure(response.status, body.code, body.message);
  return body;
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "unreachable", "the runtime does not answer: is it running?");
  }
  return answer(response);
}

// Trades a one-time code for a session.
export async function signIn(code) {
  const session = await ask("/console/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code }),
  });
  localStorage.setItem(KEY, session.key);
}

export function session() {
  return ask("/console/session", { headers: headers() });
}

export async function signOut() {
  try {
    await ask("/console/logout", { method: "POST", headers: headers() });
  } finally {
    localStorage.removeItem(KEY);
  }
}

function query(values) {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(values ?? {})) {
    if (value !== undefined && value !== null && value !== "" && value !== false) all.append(name, value);
  }
  const text = all.toString();
  return text ? `?${text}` : "";
}

export function get(path, values, signal) {
  return ask(`/api/v1${path}${query(values)}`, { headers: headers(), signal });
}

export function post(path, body) {
  return ask(`/api/v1${path}`, {
    method: "POST",
    headers: headers({ "content-type": "application/json" }),
    body: JSON.stringify(body),
  });
}

export const id = (text) => encodeURIComponent(text);

// The stream of events. Who listens gets each event; the stream is open while somebody listens and the
// page can be seen. After a break it goes on where it was, and the server tells what was missed.
const listeners = new Set();
let running = null;
let last = null;
export const stream = { state: "closed" };

function tell(event) {
  for (const listener of listeners) listener(event);
}

function set(state) {
  if (stream.state === state) return;
  stream.state = state;
  tell({ event: "stream", state });
}

export function listen(listener) {
  listeners.add(listener);
  run();
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) running?.abort();
  };
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) running?.abort();
  else run();
});

async function run() {
  if (running || listeners.size === 0 || document.hidden) return;
  const control = new AbortController();
  running = control;
  let pause = 500;
  while (!control.signal.aborted && listeners.size > 0) {
    try {
      set("connecting");
      const more = last ? { "last-event-id": last } : {};
      const response = await fetch("/api/v1/events", {
        headers: headers(more),
        credentials: "same-origin",
        cache: "no-store",
        signal: control.signal,
      });
      if (!response.ok) {
        set(response.status === 503 ? "busy" : "refused");
        if (response.status === 401) {
          tell({ event: "signed_out" });
          break;
        }
      } else {
        set("open");
        pause = 500;
        await read(response.body.getReader());
      }
    } catch {
      // The runtime has stopped, or nobody listens any more.
    }
    if (control.signal.aborted) break;
    set("waiting");
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, 10000);
  }
  running = null;
  set("closed");
  // Somebody may have come meanwhile.
  if (listeners.size > 0 && !document.hidden && control.signal.aborted) run();
}

async function read(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      let data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("id: ")) last = line.slice(4);
        else if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data) tell(JSON.parse(data));
    }
  }
}
