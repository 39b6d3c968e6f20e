// Structures in three dimensions with 3Dmol, which is loaded with the first one.

import { el } from "./api.js";
import { library } from "./plots.js";

let loading;
const load = () => (loading ??= library("/static/vendor/3Dmol-min.js", "$3Dmol"));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const point = ([x, y, z]) => ({ x, y, z });

// Draw a structure (as from the API): atoms, bonds, cell edges, and forces as arrows if they are given.
export async function drawStructure(place, structure, forces = null) {
  const text = `Structure of ${structure.formula}, ${structure.atoms.length} atoms drawn. Drag to rotate, scroll to zoom.`;
  place.className = "viewer";
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", text);
  place.replaceChildren();
  await load();
  if (!place.isConnected) return;
  let viewer;
  try {
    viewer = $3Dmol.createViewer(place, { backgroundColor: colour("--card"), disableFog: true });
  } catch {
    viewer = null;
  }
  if (!viewer) {
    place.replaceChildren(el("p", { class: "muted" }, "The browser has no WebGL; the structure cannot be drawn. Download the CIF instead."));
    return;
  }
  const bonds = structure.atoms.map(() => []);
  for (const [a, b] of structure.bonds) { bonds[a].push(b); bonds[b].push(a); }
  const model = viewer.addModel();
  model.addAtoms(structure.atoms.map(({ element, position }, index) => ({
    elem: element, atom: element, ...point(position), serial: index, index, bonds: bonds[index], bondOrder: bonds[index].map(() => 1),
  })));
  viewer.setStyle({}, { sphere: { scale: 0.3, colorscheme: "Jmol" }, stick: { radius: 0.1, colorscheme: "Jmol" } });
  if (structure.cell) edges(viewer, structure.cell);
  if (forces) arrows(viewer, structure, forces);
  viewer.zoomTo();
  viewer.rotate(-70, "x");
  viewer.rotate(20, "y");
  viewer.zoom(0.9);
  viewer.render();
  place.viewer = viewer;
  new ResizeObserver((entries, watch) => { if (place.isConnected) viewer.resize(); else watch.disconnect(); }).observe(place);
}

function edges(viewer, cell) {
  const corner = (i, j, k) => point([0, 1, 2].map((x) => i * cell[0][x] + j * cell[1][x] + k * cell[2][x]));
  for (const [i, j] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
    for (const [start, end] of [[corner(0, i, j), corner(1, i, j)], [corner(i, 0, j), corner(i, 1, j)], [corner(i, j, 0), corner(i, j, 1)]])
      viewer.addLine({ start, end, color: colour("--muted") });
  }
}

// Arrows of 1 Å for the largest force.
function arrows(viewer, structure, forces) {
  const largest = Math.max(...forces.map((force) => Math.hypot(...force)));
  if (largest < 1e-4) return;
  for (const { position, of } of structure.atoms) {
    const force = forces[of];
    if (Math.hypot(...force) < 0.03 * largest) continue;
    const end = position.map((x, k) => x + (1.5 * force[k]) / largest);
    viewer.addArrow({ start: point(position), end: point(end), radius: 0.07, color: colour("--second") });
  }
}

export const latticeText = (lattice) => (lattice == null ? "no cell"
  : `a, b, c = ${lattice.slice(0, 3).map((x) => x.toFixed(3)).join(", ")} Å; α, β, γ = ${lattice.slice(3).map((x) => x.toFixed(2)).join(", ")}°`);
