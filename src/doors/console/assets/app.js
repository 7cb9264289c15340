// The console: signing in, the views, the keyboard.

import { html, render, useEffect, useErrorBoundary, useRef, useState } from "./vendor/preact.js";
import { session as ofPage, signIn, signOut, listen } from "./api.js";
import { Dialog, Loading, Trouble, link, place } from "./parts.js";
import { T } from "./text.js";
import { Agent, Agents, Approvals, Card, Directory, Overview, Queues, Spending } from "./views.js";
import { Conversations, Timeline } from "./talk.js";
import { Tasks } from "./work.js";
import { Live } from "./live.js";

const VIEWS = [
  ["overview", "Overview", "o"],
  ["agents", "Agents", "a"],
  ["queues", "Queues", "q"],
  ["timeline", "Timeline", "t"],
  ["conversations", "Conversations", "c"],
  ["tasks", "Tasks", "w"],
  ["live", "Live", "l"],
  ["directory", "Directory", "d"],
  ["spending", "Spending", "s"],
  ["approvals", "Approvals", "p"],
];

const KEYS = [
  ["?", "this help"],
  ...VIEWS.map(([, title, key]) => [`g ${key}`, title]),
  ["/", "search"],
  ["j, k", "next or previous row"],
  ["Enter", "open the row"],
  ["], [", "next or previous page"],
  ["r", "read again"],
  ["Space", "pause the live feed, or go on"],
  ["Esc", "close, or leave a field"],
];

function View({ at, session }) {
  const { view, steps, filters } = at;
  switch (view) {
    case "overview": return html`<${Overview} session=${session} />`;
    case "agents": return steps[0] ? html`<${Agent} key=${steps[0]} who=${steps[0]} />` : html`<${Agents} filters=${filters} />`;
    case "queues": return html`<${Queues} filters=${filters} session=${session} />`;
    case "timeline": return html`<${Timeline} key=${steps[0] ?? ""} who=${steps[0]} filters=${filters} />`;
    case "conversations": return html`<${Conversations} steps=${steps} filters=${filters} />`;
    case "tasks": return html`<${Tasks} key=${steps[0] ?? ""} steps=${steps} filters=${filters} session=${session} />`;
    case "live": return html`<${Live} filters=${filters} />`;
    case "directory": return steps[0] ? html`<${Card} key=${steps[0]} who=${steps[0]} />` : html`<${Directory} filters=${filters} />`;
    case "spending": return html`<${Spending} />`;
    case "approvals": return html`<${Approvals} session=${session} />`;
    default: return html`<div class="empty"><p class="title">There is no such view</p><p><a href="#/overview">Overview</a></p></div>`;
  }
}

function Guarded({ at, session }) {
  const [error, reset] = useErrorBoundary((error) => console.error(error));
  return error ? html`<${Trouble} error=${{ message: String(error.message ?? error) }} retry=${reset} />` : html`<${View} at=${at} session=${session} />`;
}

function SignIn({ error }) {
  return html`<main class="door" id="main"><h1>agentry</h1>
    ${error && html`<div class="notice warn" role="alert"><p><${T} text=${error.message} /></p></div>`}
    <p>Run this on the machine of the runtime, as the user that it runs as:</p>
    <p class="command"><code>agentry ui</code></p>
    <p class="quiet">It opens this console in a browser and signs it in. With <code>--read-only</code>, the console changes nothing; with <code>--print</code>, the address is printed instead.</p>
  </main>`;
}

function Help({ onClose }) {
  return html`<${Dialog} title="Keyboard" onClose=${onClose}>
    <table class="keys"><caption class="hidden">Keys</caption><thead class="hidden"><tr><th scope="col">Key</th><th scope="col">What it does</th></tr></thead>
      <tbody>${KEYS.map(([key, what]) => html`<tr><td><kbd>${key}</kbd></td><td>${what}</td></tr>`)}</tbody></table>
    <p class="buttons"><button type="button" class="primary" onClick=${onClose} autofocus>Close</button></p>
  <//>`;
}

function useKeys(help) {
  useEffect(() => {
    let first = null;
    const rows = () => [...document.querySelectorAll("tr[data-href]")];
    const press = (event) => {
      const typing = event.target.closest?.("input, select, textarea");
      if (event.key === "Escape" && typing) {
        event.target.blur();
        return;
      }
      if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      if (first === "g") {
        first = null;
        const found = VIEWS.find(([, , key]) => key === event.key);
        if (found) {
          event.preventDefault();
          location.hash = link([found[0]]);
        }
        return;
      }
      const move = (step) => {
        const all = rows();
        const at = all.findIndex((row) => row.contains(document.activeElement));
        const to = all[Math.max(0, Math.min(all.length - 1, at + step))];
        to?.querySelector("a")?.focus();
        to?.scrollIntoView({ block: "nearest" });
      };
      switch (event.key) {
        case "g": first = "g"; setTimeout(() => { first = null; }, 1500); return;
        case "?": help(); break;
        case "/": document.querySelector("[data-search], .filters input")?.focus(); break;
        case "j": move(1); break;
        case "k": move(-1); break;
        case "r": dispatchEvent(new Event("agentry:reload")); break;
        case "]": dispatchEvent(new CustomEvent("agentry:page", { detail: "next" })); break;
        case "[": dispatchEvent(new CustomEvent("agentry:page", { detail: "previous" })); break;
        case " ":
          if (place().view !== "live" || event.target.closest?.("button, a, summary")) return;
          dispatchEvent(new Event("agentry:pause"));
          break;
        default: return;
      }
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}

function Console({ session, end }) {
  const [at, set] = useState(place());
  const [help, showHelp] = useState(false);
  const main = useRef(null);
  useEffect(() => {
    let view = place().view + place().steps.join();
    const move = () => {
      const now = place();
      set(now);
      document.title = `${VIEWS.find(([name]) => name === now.view)?.[1] ?? "agentry"} · agentry`;
      if (view !== now.view + now.steps.join()) {
        view = now.view + now.steps.join();
        scrollTo(0, 0);
        main.current?.querySelector("h1")?.focus({ preventScroll: true });
      }
    };
    move();
    addEventListener("hashchange", move);
    return () => removeEventListener("hashchange", move);
  }, []);
  useEffect(() => listen((event) => event.event === "signed_out" && end()), []);
  useKeys(() => showHelp(true));
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current?.focus(); }}>To the content</a>
    <div class="frame">
      <header class="side">
        <a class="brand" href="#/overview"><img src="/console/icon.svg" alt="" width="22" height="22" /> agentry</a>
        <nav aria-label="Views"><ul>${VIEWS.map(([name, title, key]) => html`<li><a href=${link([name])} aria-current=${at.view === name ? "page" : null}>${title}<kbd aria-hidden="true">g ${key}</kbd></a></li>`)}</ul></nav>
        <div class="foot">
          ${session.read_only && html`<p class="mode">Read-only</p>`}
          <button type="button" class="plain" onClick=${() => showHelp(true)}>Keyboard <kbd>?</kbd></button>
          <button type="button" class="plain" onClick=${() => signOut().finally(end)}>Sign out</button>
          <p class="quiet">${session.version}</p>
        </div>
      </header>
      <main id="main" ref=${main} tabindex="-1"><${Guarded} key=${at.view} at=${at} session=${session} /></main>
    </div>
    ${help && html`<${Help} onClose=${() => showHelp(false)} />`}`;
}

function App() {
  const [state, set] = useState({ loading: true });
  useEffect(() => {
    const begin = async () => {
      const code = /^#code=([0-9a-f]{64})$/.exec(location.hash)?.[1];
      if (code) {
        // The code does not stay in the history.
        history.replaceState(null, "", "/#/overview");
        await signIn(code);
      }
      return ofPage();
    };
    const load = () => begin().then((session) => set({ session }), (error) => set({ error }));
    load();
    // An address with a code may be opened in a page that is already here.
    const again = () => location.hash.startsWith("#code=") && load();
    addEventListener("hashchange", again);
    return () => removeEventListener("hashchange", again);
  }, []);
  if (state.loading) return html`<main class="door"><h1 class="hidden">agentry</h1><${Loading} /></main>`;
  if (state.session) return html`<${Console} session=${state.session} end=${() => set({ error: { message: "You are signed out." } })} />`;
  if (state.error.status === 401) return html`<${SignIn} error=${state.error.message?.startsWith("sign in") ? null : state.error} />`;
  return state.error.status === undefined ? html`<${SignIn} error=${state.error} />` : html`<main class="door"><h1>agentry</h1><${Trouble} error=${state.error} retry=${() => location.reload()} /></main>`;
}

render(html`<${App} />`, document.getElementById("app"));
