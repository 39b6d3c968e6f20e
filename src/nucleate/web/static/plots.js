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
// low: show the lowest three quarters of the values; a double click shows all.
// series: [{label, points (only dots), size, colour (number)}], data: [x, y1, y2, ...] with null for missing values.
export async function draw(place, { x, y, series, data, height = 260, click, describe, low = false }) {
  await load();
  place.replaceChildren();
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", describe);
  const options = {
    width: Math.max(place.clientWidth, 200), height,
    scales: { x: { time: false } },
    axes: [{ ...axis(x), size: 44 }, { ...axis(y), size: 62 }],
    cursor: { points: { size: 9 }, drag: { x: true, y: true, uni: 20 }, focus: { prox: 20 } },
    series: [{ label: x }, ...series.map((one, k) => {
      const stroke = colour(COLOURS[one.colour ?? k]);
      const paths = one.points ? () => null : undefined;
      return { label: one.label, stroke, width: 1.5, paths, points: one.points ? { show: true, size: one.size ?? 6, fill: stroke, stroke } : { show: one.dots ?? false } };
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
