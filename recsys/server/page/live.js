// What the server counts, read from /metrics every few seconds while the page is seen.

import { ask } from "./api.js";
import { byId, el, number, say, svg } from "./dom.js";

const EVERY = 2000;
const KEPT = 60;
const WINDOW = 15;
const LINE = /^(\w+)(\{.*\})? (\S+)$/;

function parsed(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = LINE.exec(line);
    if (!match) continue;
    const [, name, labels = "", value] = match;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push([labels, value === "+Inf" ? Infinity : Number(value)]);
  }
  return found;
}

const total = (sample, name, keep = () => true) =>
  (sample.get(name) ?? []).reduce((sum, [labels, value]) => (keep(labels) ? sum + value : sum), 0);

const only = (sample, name) => sample.get(name)?.[0]?.[1] ?? NaN;

// What this page asks of itself is not counted.
const asked = (labels) => labels.includes('route="/v1/');

// Seconds below which this share of the requests between two samples was answered.
function quantile(now, then, share) {
  const sums = new Map();
  for (const [sample, sign] of [[now, 1], [then, -1]]) {
    for (const [labels, value] of sample.get("recsys_request_seconds_bucket") ?? []) {
      if (!asked(labels)) continue;
      const le = /le="([^"]+)"/.exec(labels)[1];
      const edge = le === "+Inf" ? Infinity : Number(le);
      sums.set(edge, (sums.get(edge) ?? 0) + sign * value);
    }
  }
  const edges = [...sums.keys()].sort((a, b) => a - b);
  const all = sums.get(Infinity) ?? 0;
  if (!all) return NaN;
  let [low, below] = [0, 0];
  for (const edge of edges) {
    const upTo = sums.get(edge);
    if (upTo >= share * all) {
      if (edge === Infinity || upTo === below) return low;
      return low + ((edge - low) * (share * all - below)) / (upTo - below);
    }
    [low, below] = [edge, upTo];
  }
  return low;
}

const rate = (name, keep) => ({ now, then, seconds }) => (total(now, name, keep) - total(then, name, keep)) / seconds;
const milliseconds = (share) => ({ now, then }) => 1000 * quantile(now, then, share);

function batch({ now, then }) {
  const [requests, batches] = ["sum", "count"].map((what) => {
    const name = `recsys_batch_size_${what}`;
    return total(now, name) - total(then, name);
  });
  return batches ? requests / batches : NaN;
}

const CARDS = [
  ["Requests", "per second", rate("recsys_requests_total", asked)],
  ["Half within", "ms", milliseconds(0.5)],
  ["99 of 100 within", "ms", milliseconds(0.99)],
  ["Refused", "per second", rate("recsys_rejected_total")],
  ["Waiting for the model", "requests", ({ now }) => only(now, "recsys_queue_depth")],
  ["Batch", "requests", batch],
  ["Events stored", "per second", rate("recsys_events_committed_total")],
  ["Index finds", "of the exact answers", ({ now }) => only(now, "recsys_recall_probe")],
];

function spark(values) {
  const known = values.filter((one) => Number.isFinite(one));
  if (known.length < 2) return svg("svg", { class: "spark", viewBox: "0 0 100 24", "aria-hidden": "true" });
  const top = Math.max(...known) || 1;
  let path = "";
  values.forEach((one, i) => {
    if (!Number.isFinite(one)) return;
    const [x, y] = [100 - ((values.length - 1 - i) * 100) / (KEPT - 1), 22.5 - (21 * one) / top];
    path += `${path ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  const line = svg("path", { d: path, fill: "none", "vector-effect": "non-scaling-stroke" });
  return svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" }, line);
}

export function live() {
  const samples = [];
  const series = CARDS.map(() => []);
  let timer = 0;
  let running = false;
  let paused = false;
  let key = 0;

  function draw() {
    const [now, then] = [samples.at(-1), samples[0]];
    const both = { now: now.found, then: then.found, seconds: (now.at - then.at) / 1000 || 1 };
    byId("live").replaceChildren(
      ...CARDS.map(([name, unit, value], i) => {
        series[i] = [...series[i], samples.length > 1 ? value(both) : NaN].slice(-KEPT);
        const shown = number(series[i].at(-1));
        return el("div", {}, el("dt", {}, name), el("dd", {}, el("b", {}, shown), ` ${unit}`), spark(series[i]));
      }),
    );
  }

  async function poll() {
    clearTimeout(timer);
    if (!running || paused || document.hidden) return;
    const mine = key;
    try {
      const text = await ask("metrics", { text: true });
      if (mine !== key) return;
      samples.push({ at: performance.now(), found: parsed(text) });
      if (samples.length > WINDOW) samples.shift();
      say(byId("live-note"), samples.length > 1 ? "" : "Counting…");
      draw();
    } catch (error) {
      if (mine !== key) return;
      say(byId("live-note"), error.status === 404 ? "This server has no metrics." : error.message);
      if (error.status >= 400 && error.status < 500 && error.status !== 429) return;
    }
    timer = setTimeout(poll, EVERY);
  }

  byId("pause").addEventListener("click", (event) => {
    paused = !paused;
    event.target.setAttribute("aria-pressed", String(paused));
    poll();
  });
  document.addEventListener("visibilitychange", poll);
  return {
    start: () => {
      key += 1;
      running = true;
      samples.length = 0;
      poll();
    },
    stop: () => {
      key += 1;
      running = false;
      clearTimeout(timer);
      byId("live").replaceChildren();
    },
  };
}
