// Pictures of crystals in a report. One viewer of 3Dmol is laid over the picture under the pointer, since browsers allow few of them;
// without WebGL, dragging rotates the pictures themselves. Their elements contain coordinates, and z points at the reader.

"use strict";

const read = (node, name) => node.dataset[name].split(",").map(Number);

// Return what a picture shows, in Å.
function pictured(svg) {
  const scale = Number(svg.dataset.scale);
  const length = (node, name) => read(node, name).map((x) => x / scale);
  const circles = [...svg.querySelectorAll("circle")];
  const numbers = new Map(circles.map((circle, k) => [circle.dataset.p, k]));
  const lines = [...svg.querySelectorAll("line")];
  return {
    atoms: circles.map((circle) => ({ element: circle.dataset.e, position: length(circle, "p") })),
    bonds: lines.filter((line) => line.classList.contains("bond")).map((line) => [numbers.get(line.dataset.a), numbers.get(line.dataset.b)]),
    segments: lines.filter((line) => line.classList.contains("edge")).map((line) => [length(line, "a"), length(line, "b")]),
  };
}

function live(pictures) {
  const place = document.createElement("div");
  place.className = "live";
  place.setAttribute("aria-hidden", "true");
  pictures[0].parentNode.append(place);
  const viewer = typeof $3Dmol === "undefined" ? null : crystalViewer(place, { backgroundColor: "white", backgroundAlpha: 0 });
  if (!viewer) { place.remove(); return false; }
  const views = new Map();
  let shown = null;
  const show = (svg) => {
    if (svg === shown) return;
    if (shown) { views.set(shown, viewer.getView()); shown.classList.remove("behind"); }
    svg.parentNode.append(place);
    svg.classList.add("behind");
    drawCrystal(viewer, pictured(svg), getComputedStyle(svg).getPropertyValue("--muted").trim());
    viewer.resize();
    if (views.has(svg)) viewer.setView(views.get(svg));
    // A view that was turned before is not that of the coordinates.
    else { viewer.setView([0, 0, 0, 0, 0, 0, 0, 1]); viewer.zoomTo(); }
    viewer.render();
    shown = svg;
  };
  // The wheel scrolls the page, which has many pictures; with Ctrl it zooms.
  place.addEventListener("wheel", (event) => { if (!event.ctrlKey) event.stopImmediatePropagation(); }, { capture: true });
  for (const svg of pictures) svg.parentNode.addEventListener("pointerenter", () => show(svg));
  new ResizeObserver(() => viewer.resize()).observe(place);
  show(pictures[0]);
  return true;
}

function turnable(svg) {
  const items = [...svg.children].map((node) => ({ node, points: node.dataset.p ? [read(node, "p")] : [read(node, "a"), read(node, "b")] }));
  let last = null;
  const turn = (point, a, b) => {
    const [x, y, z] = point, x1 = x * Math.cos(a) + z * Math.sin(a), z1 = z * Math.cos(a) - x * Math.sin(a);
    return [x1, y * Math.cos(b) - z1 * Math.sin(b), z1 * Math.cos(b) + y * Math.sin(b)];
  };
  const set = (node, values) => { for (const name in values) node.setAttribute(name, values[name].toFixed(2)); };
  const draw = (a, b) => {
    for (const item of items) {
      item.points = item.points.map((point) => turn(point, a, b));
      const [p, q] = item.points;
      set(item.node, q ? { x1: p[0], y1: -p[1], x2: q[0], y2: -q[1] } : { cx: p[0], cy: -p[1] });
      item.depth = q ? (p[2] + q[2]) / 2 : p[2];
    }
    items.sort((one, other) => one.depth - other.depth);
    svg.append(...items.map((item) => item.node));
  };
  svg.addEventListener("pointerdown", (event) => { last = [event.clientX, event.clientY]; svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointermove", (event) => {
    if (!last) return;
    draw((event.clientX - last[0]) / 90, (event.clientY - last[1]) / 90);
    last = [event.clientX, event.clientY];
  });
  for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, () => { last = null; });
}

const pictures = [...document.querySelectorAll("svg.crystal")];
if (pictures.length && !live(pictures)) pictures.forEach(turnable);
