// Structures in three dimensions with 3Dmol, which is loaded with the first one.

import { el } from "./api.js";
import { library } from "./plots.js";

let loading;
const load = () => (loading ??= library("/static/structures/3Dmol-min.js", "$3Dmol").then(() => library("/static/structures/crystal.js", "drawCrystal")));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const point = ([x, y, z]) => ({ x, y, z });

// Draw a structure (as from the API): atoms, bonds, cell edges, and forces as arrows if they are given. Returns the viewer, or null without WebGL.
export async function drawStructure(place, structure, forces = null) {
  const text = `Structure of ${structure.formula}, ${structure.atoms.length} atoms drawn. Drag to rotate, scroll to zoom.`;
  place.className = "viewer";
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", text);
  place.replaceChildren();
  await load();
  if (!place.isConnected) return null;
  const viewer = crystalViewer(place, { backgroundColor: colour("--card") });
  if (!viewer) {
    place.replaceChildren(el("p", { class: "muted" }, "The browser has no WebGL; the structure cannot be drawn. Download the CIF instead."));
    return null;
  }
  drawCrystal(viewer, { ...structure, segments: structure.cell ? edges(structure.cell) : [] }, colour("--muted"));
  if (forces) arrows(viewer, structure, forces);
  viewer.zoomTo();
  viewer.rotate(-70, "x");
  viewer.rotate(20, "y");
  viewer.zoom(0.9);
  viewer.render();
  place.viewer = viewer;
  new ResizeObserver((entries, watch) => { if (place.isConnected) viewer.resize(); else watch.disconnect(); }).observe(place);
  return viewer;
}

// Return a function that draws the isosurface of a density (text of a cube file) at a value in 1/Å³.
export function drawDensity(viewer, cube) {
  const volume = new $3Dmol.VolumeData(closed(cube), "cube");
  let surface = null;
  return (value) => {
    if (surface) viewer.removeShape(surface);
    // The file has atomic units: electrons per cubic bohr.
    surface = viewer.addIsosurface(volume, { isoval: value * BOHR ** 3, color: colour("--accent"), opacity: 0.6, smoothness: 1 });
    viewer.render();
  };
}

const BOHR = 0.529177210544;

// Repeat the first planes of a periodic density behind the last ones, so that its isosurfaces reach the faces of the cell.
function closed(cube) {
  const lines = cube.split("\n");
  const atoms = Number(lines[2].trim().split(/\s+/)[0]);
  const axes = lines.slice(3, 6).map((text) => text.trim().split(/\s+/));
  const [n1, n2, n3] = axes.map((axis) => Number(axis[0]));
  const values = lines.slice(6 + atoms).join(" ").trim().split(/\s+/);
  const more = [];
  for (let i = 0; i <= n1; i++) for (let j = 0; j <= n2; j++) for (let k = 0; k <= n3; k++) more.push(values[((i % n1) * n2 + (j % n2)) * n3 + (k % n3)]);
  const heads = axes.map(([n, ...step]) => [Number(n) + 1, ...step].join(" "));
  return [...lines.slice(0, 3), ...heads, ...lines.slice(6, 6 + atoms), more.join("\n")].join("\n");
}

// Return start and end of the twelve edges of a cell.
function edges(cell) {
  const corner = (...n) => [0, 1, 2].map((x) => n[0] * cell[0][x] + n[1] * cell[1][x] + n[2] * cell[2][x]);
  return [[0, 0], [0, 1], [1, 0], [1, 1]].flatMap(([i, j]) => [
    [corner(0, i, j), corner(1, i, j)], [corner(i, 0, j), corner(i, 1, j)], [corner(i, j, 0), corner(i, j, 1)]]);
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
