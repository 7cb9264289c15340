// Plots of what was measured in the last two hours.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { get } from "./api.js";
import { duration, number, rate, time } from "./text.js";

const COLUMNS = ["at", "arrived", "handled", "dead_letters", "accepted", "mined", "failed", "run_p50_ms", "run_p95_ms", "post_p50_ms", "post_p95_ms", "queue_age_ms", "open", "spent"];
const KEPT = 720;

// The samples, and every ten seconds those that are new.
export function useSeries() {
  const [series, set] = useState(null);
  useEffect(() => {
    const control = new AbortController();
    let all = null;
    const read = async () => {
      if (document.hidden && all) return;
      try {
        const page = await get("/series", { after: all?.at.at(-1) }, control.signal);
        all = all ? { ...all } : { every_ms: page.every_ms };
        for (const name of COLUMNS) all[name] = [...(all[name] ?? []), ...page[name]].slice(-KEPT);
        set(all);
      } catch {
        // The overview tells that there is no connection.
      }
    };
    read();
    const timer = setInterval(read, 10000);
    return () => {
      control.abort();
      clearInterval(timer);
    };
  }, []);
  return series;
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function useScheme() {
  const [dark, set] = useState(matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)");
    const change = () => set(query.matches);
    query.addEventListener("change", change);
    return () => query.removeEventListener("change", change);
  }, []);
  return dark;
}

const HEIGHT = 150;

// The last days, with room for the bars at both ends.
function days(count) {
  const today = Math.floor(Date.now() / 86400000) * 86400;
  return [today - (count - 0.1) * 86400, today + 0.9 * 86400];
}

// A plot, and the same in words: what the lines are, and their last values.
export function Plot({ title, series, lines, format = rate, at, bars }) {
  const box = useRef(null);
  const plot = useRef(null);
  const dark = useScheme();
  const times = at ?? series?.at ?? [];
  const data = [times.map((ms) => ms / 1000), ...lines.map((line) => line.values ?? series?.[line.of] ?? [])];
  const enough = times.length > (bars ? 0 : 1);
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    if (!enough || !window.uPlot) return undefined;
    const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const drawn = new window.uPlot({
      width: box.current.clientWidth,
      height: HEIGHT,
      padding: [8, 8, 0, 0],
      cursor: { y: false, points: { size: 6 } },
      legend: { show: false },
      scales: { y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.1 : 1] }, ...(bars ? { x: { range: () => days(bars) } } : {}) },
      axes: [
        { ...axis, size: 26, space: 70, values: bars ? (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toISOString().slice(5, 10)) : (_, ticks) => ticks.map((tick) => time(tick * 1000).slice(0, 5)) },
        { ...axis, size: 58, space: 34, values: (_, ticks) => ticks.map((tick) => format(tick)) },
      ],
      series: [{}, ...lines.map((line) => ({
        label: line.title,
        stroke: color(line.color),
        width: 1.5,
        dash: line.dash,
        spanGaps: false,
        points: { show: bars ? undefined : false },
        fill: bars ? color("--plot-fill") : undefined,
        paths: bars ? window.uPlot.paths.bars({ size: [0.7, 40] }) : undefined,
      }))],
    }, latest.current, box.current);
    plot.current = drawn;
    const sized = new ResizeObserver(() => drawn.setSize({ width: box.current.clientWidth, height: HEIGHT }));
    sized.observe(box.current);
    return () => {
      sized.disconnect();
      drawn.destroy();
      plot.current = null;
    };
  }, [enough, dark]);
  useEffect(() => {
    plot.current?.setData(latest.current);
  }, [times.length, times.at(-1)]);
  const now = lines.map((line) => (line.values ?? series?.[line.of] ?? []).at(-1));
  return html`<figure class="plot">
    <figcaption><h3>${title}</h3>
      <ul>${lines.map((line, at) => html`<li><span class="key ${line.color.slice(2)} ${line.dash ? "dashed" : ""}" aria-hidden="true"></span>${line.title} <strong>${now[at] === undefined ? "–" : format(now[at])}</strong></li>`)}</ul>
    </figcaption>
    <div class="canvas" ref=${box} aria-hidden="true">${!enough && html`<p class="quiet">The first samples come within twenty seconds.</p>`}</div>
  </figure>`;
}

export function Plots({ series }) {
  return html`<div class="plots">
    <${Plot} title="Messages per second" series=${series} lines=${[
      { title: "arrived", of: "arrived", color: "--plot-1" },
      { title: "handled", of: "handled", color: "--plot-2" },
      { title: "dead", of: "dead_letters", color: "--plot-3", dash: [4, 3] },
    ]} />
    <${Plot} title="Transactions per second" series=${series} lines=${[
      { title: "accepted", of: "accepted", color: "--plot-1" },
      { title: "mined", of: "mined", color: "--plot-2" },
      { title: "refused", of: "failed", color: "--plot-3", dash: [4, 3] },
    ]} />
    <${Plot} title="Runs of behaviours" series=${series} format=${duration} lines=${[
      { title: "median", of: "run_p50_ms", color: "--plot-1" },
      { title: "95 %", of: "run_p95_ms", color: "--plot-4", dash: [4, 3] },
    ]} />
    <${Plot} title="POSTs to the node" series=${series} format=${duration} lines=${[
      { title: "median", of: "post_p50_ms", color: "--plot-1" },
      { title: "95 %", of: "post_p95_ms", color: "--plot-4", dash: [4, 3] },
    ]} />
    <${Plot} title="Age of the oldest waiting message" series=${series} format=${duration} lines=${[
      { title: "age", of: "queue_age_ms", color: "--plot-1" },
    ]} />
    <${Plot} title="Spent today, in AIT" series=${series} format=${number} lines=${[
      { title: "all agents", of: "spent", color: "--plot-1" },
    ]} />
  </div>`;
}
