"use strict";
// Sorting, filtering and drawings of a comparison; its numbers stand in the page's block of JSON. Texts are only ever
// set as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const groups = new Map(data.groups.map((g) => [g.group, g]));
const colour = (g) => (g && g <= 8 ? `var(--c${g})` : "var(--rest)");
const minus = (s) => s.replace("-", "−");
const digits = (span) => Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(span || 1))));
const describe = (svg, text) => svg.setAttribute("aria-label", text);
const show = (v, span = Math.abs(v)) => minus(Number(v.toFixed(digits(span))).toString());

// --- tables -----------------------------------------------------------------------------------------------------

function compareCells(a, b) {
  if (a === "" || b === "") return { missing: (a === "") - (b === "") };
  const x = Number(a), y = Number(b);
  return { order: Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y };
}

function sortBy(table, index, header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row, i) => [row, row.cells[index].dataset.v ?? "", i]);
  rows.sort(([, a, i], [, b, j]) => {
    const { missing, order } = compareCells(a, b);
    return missing || (down ? -order : order) || i - j; // what is missing stays at the end
  });
  table.tBodies[0].append(...rows.map(([row]) => row));
}

function filterRows(table, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const cells = [...row.cells].map((c) => c.textContent.trim().toLowerCase().replace("−", "-"));
    row.hidden = !words.every((w) => (Number.isNaN(Number(w)) ? cells.some((c) => c.includes(w)) : cells.includes(w)));
    shown += !row.hidden;
  }
  return [shown, table.tBodies[0].rows.length];
}

for (const table of document.querySelectorAll("table[id]")) {
  [...table.tHead.rows[0].cells].forEach((header, index) => {
    const button = header.querySelector("button");
    if (button) button.addEventListener("click", () => sortBy(table, index, header));
  });
  for (const row of table.tBodies[0].rows) {
    const dot = row.querySelector(".dot");
    if (dot) dot.style.background = colour(Number(row.dataset.group));
  }
}
for (const input of document.querySelectorAll("input[data-for]")) {
  input.addEventListener("input", () => {
    const [shown, all] = filterRows(document.getElementById(input.dataset.for), input.value);
    const status = input.parentElement.querySelector("[role=status]");
    if (status) status.textContent = shown === all ? "" : `${shown} of ${all}`;
  });
}

// --- drawing ----------------------------------------------------------------------------------------------------

function add(parent, name, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
}

function canvas(section, width, height, name) {
  const box = section.querySelector(".chart");
  box.replaceChildren();
  return add(box, "svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name });
}

const scale = (lo, hi, from, to) => (v) => from + ((v - lo) / (hi - lo || 1)) * (to - from);

function ticks(lo, hi, count, least = 0) {
  const raw = Math.max((hi - lo || Math.abs(hi) || 1) / count, least), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i++) found.push(i * step);
  return [found, step];
}

function extent(values, pad = 0.05) {
  const lo = Math.min(...values), hi = Math.max(...values), more = (hi - lo || Math.abs(hi) * 0.1 || 1) * pad;
  return [lo - more, hi + more];
}

function axes(svg, x, y, xs, ys, box, xName, yName) {
  const [tx, sx] = ticks(...xs, Math.max(2, Math.floor((box.right - box.left) / 50)), xName === "epoch" ? 1 : 0);
  const [ty, sy] = ticks(...ys, Math.max(2, Math.floor((box.bottom - box.top) / 45)));
  for (const v of ty) {
    add(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: y(v), y2: y(v) });
    add(svg, "text", { x: box.left - 6, y: y(v) + 4, "text-anchor": "end" }, show(v, sy));
  }
  for (const v of tx) add(svg, "text", { x: x(v), y: box.bottom + 16, "text-anchor": "middle" }, show(v, sx));
  add(svg, "line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom });
  add(svg, "text", { x: box.right, y: box.bottom + 32, "text-anchor": "end" }, xName);
  add(svg, "text", { x: 2, y: 12 }, yName);
}

const place = (svg, width, height) => ({ left: 66, right: width - 14, top: 24, bottom: height - 38 });
const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)},${b.toFixed(1)}`).join("");
const hint = (section, text) => (section.querySelector(".hint").textContent = text);

function nothing(section, why) {
  hint(section, why);
  section.querySelector(".chart").replaceChildren();
}

function curves(section, width) {
  const all = data.runs.filter((r) => (data.curves[r.job] || []).length).sort((a, b) => (b.group || 1e9) - (a.group || 1e9));
  if (!all.length) return nothing(section, "No run has recorded an epoch.");
  hint(section, `${data.curve} after each epoch; a line a run, a colour a group.`);
  const lines = all.map((r) => data.curves[r.job]);
  const longest = Math.max(...lines.map((l) => l.at(-1)[0]));
  // the first epochs of a training would flatten all that is worth seeing: they may leave the picture
  const late = lines.flatMap((l) => l.filter(([e]) => e >= longest * 0.15 || l.length < 4).map(([, v]) => v));
  const height = 300, svg = canvas(section, width, height, "learning curves"), box = place(svg, width, height);
  const ys = extent(late.length ? late : lines.flat().map(([, v]) => v)), xs = [0, Math.max(longest, 1) * 1.02];
  const x = scale(...xs, box.left, box.right), y = scale(...ys, box.bottom, box.top);
  axes(svg, x, y, xs, ys, box, "epoch", data.curve);
  add(add(svg, "clipPath", { id: "clip" }), "rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top });
  for (const run of all) {
    const points = data.curves[run.job].map(([e, v]) => [x(e), y(v)]);
    const marks = { "data-group": run.group || 0, "clip-path": "url(#clip)" };
    const line = points.length > 1
      ? add(svg, "path", { ...marks, d: path(points), fill: "none", stroke: colour(run.group), "stroke-width": 1.6 })
      : add(svg, "circle", { ...marks, cx: points[0][0], cy: points[0][1], r: 3, fill: colour(run.group) });
    add(line, "title", {}, run.title);
  }
  const ends = lines.map((l) => l.at(-1)[1]);
  describe(svg, `${data.curve} of ${all.length} runs over epochs: it ends between ${show(Math.min(...ends), 0.01)} and ${show(Math.max(...ends), 0.01)}.`);
  const cursor = add(svg, "line", { class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden" });
  svg.setAttribute("tabindex", 0);
  readable(svg, epochs(all).map(([e, told]) => [x(e), told]), cursor, section.querySelector(".reading"));
}

// At each epoch the mean over the runs of each group, those of the best eight.
function epochs(runs) {
  const at = new Map();
  for (const run of runs) for (const [epoch, value] of data.curves[run.job]) {
    const here = at.get(epoch) || at.set(epoch, new Map()).get(epoch), group = run.group || 0;
    here.set(group, [...(here.get(group) || []), value]);
  }
  const name = (g) => (groups.has(g) ? groups.get(g).label : "not ranked");
  const told = (values) => show(values.reduce((a, b) => a + b) / values.length, 0.01);
  return [...at].sort(([a], [b]) => a - b).map(([epoch, here]) => {
    const best = [...here].sort(([a], [b]) => (a || 1e9) - (b || 1e9)).slice(0, 8);
    return [epoch, `epoch ${epoch}; ${best.map(([g, values]) => `${name(g)} ${told(values)}`).join("; ")}`];
  });
}

function differences(section, width) {
  const rows = data.groups.filter((g) => g.low !== null);
  if (!rows.length) return nothing(section, data.groups.length < 2 ? "One group: there is nothing to tell apart." : "No interval can be told, see the notes above.");
  hint(section, `${data.differs}: group minus best, with its 95 % interval. Where it crosses 0 the two are not told apart.`);
  const step = 38, height = 60 + step * rows.length, svg = canvas(section, width, height, "differences");
  const box = { left: 8, right: width - 14, top: 6, bottom: height - 52 };
  const interval = (g) => `${g.label} ${show(g.difference, g.high - g.low)} [${show(g.low, g.high - g.low)}, ${show(g.high, g.high - g.low)}], ${g.verdict}`;
  describe(svg, `${data.differs}, differences to the best with 95 % intervals: ${rows.slice(0, 12).map(interval).join("; ")}.`);
  add(svg, "text", { x: width - 14, y: height - 6, "text-anchor": "end" }, `${data.differs} minus that of the best`);
  const xs = extent([0, ...rows.flatMap((g) => [g.low, g.high])]), x = scale(...xs, box.left, box.right);
  const [tx, sx] = ticks(...xs, Math.max(2, Math.floor(width / 70)));
  for (const v of tx) {
    add(svg, "line", { class: "grid", x1: x(v), x2: x(v), y1: box.top, y2: box.bottom });
    add(svg, "text", { x: x(v), y: box.bottom + 16, "text-anchor": "middle" }, show(v, sx));
  }
  add(svg, "line", { class: "axis", x1: x(0), x2: x(0), y1: box.top, y2: box.bottom });
  rows.forEach((g, i) => {
    const middle = box.top + step * i + 26, part = add(svg, "g", { "data-group": g.group });
    const long = Math.max(8, Math.floor(width / 7) - 24), name = g.label.length > long ? `${g.label.slice(0, long)}…` : g.label;
    add(part, "text", { x: box.left, y: middle - 10, class: "strong" }, `${name} · ${g.verdict}`);
    add(part, "line", { x1: x(g.low), x2: x(g.high), y1: middle, y2: middle, stroke: colour(g.group), "stroke-width": 2.5 });
    for (const end of [g.low, g.high]) add(part, "line", { x1: x(end), x2: x(end), y1: middle - 5, y2: middle + 5, stroke: colour(g.group), "stroke-width": 1.5 });
    const dot = add(part, "circle", { cx: x(g.difference), cy: middle, r: 4.5, fill: colour(g.group) });
    add(dot, "title", {}, `${g.label}: ${show(g.difference, g.high - g.low)} [${show(g.low, g.high - g.low)}, ${show(g.high, g.high - g.low)}]`);
  });
}

function importance(section, width) {
  const rows = data.importance.filter((r) => r.share !== null);
  if (!rows.length) return nothing(section, "Too few runs, or keys that never repeat a value: nothing can be told.");
  hint(section, `Share of the variance of ${data.metric.name} between runs; the mark is what a key that does nothing would have on average.`);
  const step = 38, height = 44 + step * rows.length, svg = canvas(section, width, height, "importance of keys");
  describe(svg, `Shares of the variance between runs: ${rows.map((r) => `${r.key} ${(100 * r.share).toFixed(0)} %, by chance ${(100 * r.chance).toFixed(0)} %`).join("; ")}.`);
  add(svg, "text", { x: width - 56, y: height - 8, "text-anchor": "end" }, "share of the variance between runs");
  const x = scale(0, 1, 8, width - 56);
  rows.forEach((r, i) => {
    const top = 20 + step * i;
    add(svg, "text", { x: 8, y: top - 4, class: "strong" }, r.key);
    add(svg, "rect", { x: 8, y: top, width: x(1) - 8, height: 12, fill: "var(--soft)" });
    add(svg, "rect", { x: 8, y: top, width: Math.max(0, x(r.share) - 8), height: 12, fill: "var(--c1)" });
    add(svg, "line", { x1: x(r.chance), x2: x(r.chance), y1: top - 2, y2: top + 14, stroke: "var(--ink)", "stroke-width": 2 });
    add(svg, "text", { x: x(1) + 8, y: top + 10 }, `${(100 * r.share).toFixed(r.share < 0.1 ? 1 : 0)} %`);
  });
}

function front(section, width) {
  const runs = data.runs.filter((r) => r.group && r.value !== null && r.seconds !== null);
  const means = data.groups.filter((g) => g.mean !== null && g.seconds !== null);
  if (!runs.length) return nothing(section, "No run has both a figure and a time.");
  hint(section, "Small points are runs, large ones means of groups. On the line: groups that no other beats in both. Seconds of jobs that ran side by side are longer.");
  const height = 300, svg = canvas(section, width, height, "bound against time"), box = place(svg, width, height);
  const xs = extent(runs.map((r) => r.seconds), 0.08), ys = extent(runs.map((r) => r.value), 0.08);
  const x = scale(...xs, box.left, box.right), y = scale(...ys, box.bottom, box.top);
  axes(svg, x, y, xs, ys, box, "seconds of training", data.metric.name);
  describe(svg, `${data.metric.name} against seconds of training, means of groups: ${means.slice(0, 12).map((g) => `${g.label} ${show(g.mean, 0.01)} in ${show(g.seconds, 1)} s`).join("; ")}.`);
  const best = means.filter((g) => g.front).sort((a, b) => a.seconds - b.seconds);
  if (best.length > 1) add(svg, "path", { d: path(best.map((g) => [x(g.seconds), y(g.mean)])), fill: "none", stroke: "var(--muted)", "stroke-dasharray": "4 3" });
  for (const r of runs) add(add(svg, "circle", { "data-group": r.group, cx: x(r.seconds), cy: y(r.value), r: 3, fill: colour(r.group), opacity: 0.65 }), "title", {}, r.title);
  for (const g of means) {
    const dot = add(svg, "circle", { "data-group": g.group, cx: x(g.seconds), cy: y(g.mean), r: 7, fill: colour(g.group), stroke: g.front ? "var(--ink)" : "none", "stroke-width": 2 });
    add(dot, "title", {}, `${g.label}: ${show(g.mean, 0.01)} in ${show(g.seconds, 1)} s${g.front ? " (on the front)" : ""}`);
  }
}

function parallel(section, width) {
  const runs = data.runs.filter((r) => r.group && r.value !== null).sort((a, b) => b.group - a.group);
  if (!runs.length || !data.keys.length) return nothing(section, data.keys.length ? "No run is ranked." : "No key differs between the runs.");
  hint(section, "A line a run: its keys, then its figure. The upper end of the last axis is better.");
  const names = [...data.keys.map((k) => k.short), data.metric.name], height = 320, gap = 110;
  width = Math.max(width, 70 + gap * (names.length - 1) + 80);
  const svg = canvas(section, width, height, `${runs.length} runs by ${names.join(", ")}; the best is ${runs.at(-1).title}, ${show(runs.at(-1).value, 0.01)}.`), top = 44, bottom = height - 16;
  const at = (i) => 50 + (i * (width - 130)) / Math.max(1, names.length - 1);
  const columns = data.keys.map((k) => runs.map((r) => r.values[k.name]));
  const scales = columns.map((values) => {
    const numbers = values.filter((v) => typeof v === "number");
    const distinct = [...new Set(values.map(String))];
    if (numbers.length === values.length && distinct.length > 1) {
      const lo = Math.min(...numbers), hi = Math.max(...numbers), log = lo > 0 && hi / lo >= 50;
      const f = log ? Math.log : (v) => v, to = scale(f(lo), f(hi), bottom, top);
      const marks = distinct.length <= 8 ? [...new Set(numbers)] : [lo, hi];
      return { place: (v) => to(f(v)), marks: marks.map((v) => [to(f(v)), minus(String(Number(v.toPrecision(3))))]) };
    }
    distinct.sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    const to = (v) => (distinct.length < 2 ? (top + bottom) / 2 : scale(0, distinct.length - 1, bottom, top)(distinct.indexOf(String(v))));
    return { place: to, marks: distinct.map((v) => [to(v), v === "null" ? "–" : v.length > 14 ? `${v.slice(0, 13)}…` : v]) };
  });
  const ys = extent(runs.map((r) => r.value), 0), to = data.metric.up ? scale(...ys, bottom, top) : scale(...ys, top, bottom);
  const [tv, sv] = ticks(...ys, 5);
  scales.push({ place: to, marks: tv.map((v) => [to(v), show(v, sv)]) });
  for (const r of runs) {
    const values = [...data.keys.map((k) => r.values[k.name]), r.value];
    const points = values.map((v, i) => [at(i), scales[i].place(v)]);
    add(add(svg, "path", { "data-group": r.group, d: path(points), fill: "none", stroke: colour(r.group), "stroke-width": 1.6, opacity: 0.8 }), "title", {}, r.title);
  }
  names.forEach((name, i) => {
    add(svg, "line", { class: "axis", x1: at(i), x2: at(i), y1: top, y2: bottom });
    add(svg, "text", { x: at(i), y: i % 2 ? 14 : 30, "text-anchor": "middle", class: "strong" }, name);
    const taken = [];
    for (const [y, text] of scales[i].marks) {
      if (taken.some((t) => Math.abs(t - y) < 12)) continue; // no text over another
      taken.push(y);
      add(svg, "text", { x: at(i) + 8, y: y + 4, "paint-order": "stroke", stroke: "var(--paper)", "stroke-width": 4 }, text);
    }
  });
}

let alone = null;
function emphasize() {
  for (const node of document.querySelectorAll(".chart [data-group]")) node.classList.toggle("off", alone !== null && Number(node.dataset.group) !== alone);
  for (const button of document.querySelectorAll("#legend button")) button.setAttribute("aria-pressed", String(Number(button.dataset.pick) === alone));
}

function legend() {
  if (groups.size < 2) return;
  for (const g of [...groups.values()].slice(0, 24)) {
    const button = document.createElement("button"), dot = document.createElement("span");
    dot.className = "dot";
    dot.style.background = colour(g.group);
    button.type = "button";
    button.dataset.pick = g.group;
    button.append(dot, document.createTextNode(g.label));
    button.addEventListener("click", () => { alone = alone === g.group ? null : g.group; emphasize(); });
    document.getElementById("legend").append(button);
  }
}

function draw() {
  for (const [name, drawing] of Object.entries({ curves, differences, importance, front, parallel })) {
    const section = document.getElementById(name);
    drawing(section, Math.max(240, Math.floor(section.clientWidth)));
  }
  emphasize();
}

legend();
draw();
let drawn = window.innerWidth;
window.addEventListener("resize", () => { if (window.innerWidth !== drawn) { drawn = window.innerWidth; draw(); } });
