// Plots with uPlot, which is loaded with the first one. Colours are those of the page.

import { el } from "./api.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const COLOURS = ["--accent", "--second", "--muted"];

let loading;
export const library = (address, name) => (window[name] ? Promise.resolve() : new Promise((resolve, reject) => {
  const script = document.createElement("script");
  script.src = address;
  script.onload = resolve;
  script.onerror = () => reject(new Error(`${address} cannot be loaded`));
  document.head.append(script);
}));
const load = () => (loading ??= library("/static/vendor/uPlot.iife.min.js", "uPlot"));

const axis = (label) => ({ label, stroke: colour("--ink"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") },
  labelSize: 22, size: label === "" ? 30 : 50, font: "12px system-ui", labelFont: "13px system-ui" });

// Draw series over a common x axis; the plot follows the width of its place. Returns the plot.
// zero: the axis of y contains 0, and no point lies on the frame. mark: an x value at which a vertical line is drawn. Series may be `thin`.
// low: show the lowest three quarters of the values; a double click shows all.
// series: [{label, points (only dots), size, colour (number)}], data: [x, y1, y2, ...] with null for missing values.
export async function draw(place, { x, y, series, data, height = 260, click, describe, low = false, zero = false, mark = null }) {
  await load();
  place.replaceChildren();
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", describe);
  const options = {
    width: Math.max(place.clientWidth, 200), height,
    scales: { x: { time: false, ...(zero ? { range: (plot, low, high) => padded(low, high) } : {}) }, ...(zero ? { y: { range: (plot, low, high) => padded(Math.min(low, 0), Math.max(high, 0)) } } : {}) },
    hooks: { draw: [(plot) => { if (mark != null) vertical(plot, mark); if (zero) horizontal(plot, 0); }] },
    axes: [{ ...axis(x), size: 44 }, { ...axis(y), size: 62 }],
    cursor: { points: { size: 9 }, drag: { x: true, y: true, uni: 20 }, focus: { prox: 20 } },
    series: [{ label: x }, ...series.map((one, k) => {
      const stroke = colour(COLOURS[one.colour ?? k]);
      const paths = one.points ? () => null : undefined;
      return { label: one.label, stroke, width: one.thin ? 0.8 : 1.5, paths, points: one.points ? { show: true, size: one.size ?? 6, fill: stroke, stroke } : { show: one.dots ?? false } };
    })],
  };
  const plot = new uPlot(options, data, place);
  if (low) {
    const values = data.slice(1).flat().filter((value) => value != null).sort((a, b) => a - b);
    const top = values[Math.floor(0.75 * (values.length - 1))];
    const pad = 0.08 * (top - values[0]) || 0.01;
    plot.setScale("y", { min: values[0] - pad, max: top + pad });
    place.append(el("p", { class: "muted" }, "The highest quarter lies outside: double-click for all, drag to zoom."));
  }
  if (click) plot.over.addEventListener("click", () => {
    const nearest = near(plot, data);
    if (nearest) click(...nearest);
  });
  const watch = new ResizeObserver(() => {
    if (!place.isConnected) { watch.disconnect(); return; }
    const width = Math.max(place.clientWidth, 200);
    if (Math.abs(width - plot.width) > 2) plot.setSize({ width, height });
  });
  watch.observe(place);
  return plot;
}

const padded = (low, high) => [low - 0.06 * (high - low || 1), high + 0.06 * (high - low || 1)];

function line(plot, from, to) {
  const { ctx } = plot;
  ctx.save();
  ctx.strokeStyle = colour("--muted");
  ctx.setLineDash([4, 4]);
  ctx.beginPath();
  ctx.moveTo(...from);
  ctx.lineTo(...to);
  ctx.stroke();
  ctx.restore();
}

function vertical(plot, value) {
  const x = plot.valToPos(value, "x", true);
  const { left, top, width, height } = plot.bbox;
  if (x >= left && x <= left + width) line(plot, [x, top], [x, top + height]);
}

function horizontal(plot, value) {
  const y = plot.valToPos(value, "y", true);
  const { left, top, width, height } = plot.bbox;
  if (y >= top && y <= top + height) line(plot, [left, y], [left + width, y]);
}

// Return series and index of the point nearest to the cursor, within 20 pixels.
function near(plot, data) {
  const { left, top } = plot.cursor;
  let best = null, least = 20;
  for (let series = 1; series < data.length; series++) {
    for (let k = 0; k < data[0].length; k++) {
      if (data[series][k] == null) continue;
      const distance = Math.hypot(plot.valToPos(data[0][k], "x") - left, plot.valToPos(data[series][k], "y") - top);
      if (distance < least) [best, least] = [[series, k], distance];
    }
  }
  return best;
}

// Return uPlot's data of several sets of points [x, y] that share no x values, and the place of each point in its set.
export function scattered(sets) {
  const all = sets.flatMap((points, set) => points.map(([x, y], k) => ({ x, y, set, k }))).sort((a, b) => a.x - b.x);
  return { data: [all.map((p) => p.x), ...sets.map((_, set) => all.map((p) => (p.set === set ? p.y : null)))], places: all };
}
