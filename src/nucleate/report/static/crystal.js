// Draws a structure with 3Dmol, in the report and in the web application alike. A plain script, because the report contains it as text.

"use strict";

// Return a viewer in a place, or null if the browser has no WebGL.
function crystalViewer(place, options) {
  // 3Dmol makes a viewer that shows nothing if there is no WebGL.
  const probe = document.createElement("canvas");
  if (!probe.getContext("webgl2") && !probe.getContext("webgl")) return null;
  try {
    return $3Dmol.createViewer(place, { disableFog: true, ...options }) || null;
  } catch {
    return null;
  }
}

// Draw atoms [{element, position}], bonds (pairs of their numbers) and segments [[start, end]] of the cell edges, instead of what was there.
function drawCrystal(viewer, { atoms, bonds, segments }, edgeColour) {
  const point = ([x, y, z]) => ({ x, y, z });
  const bonded = atoms.map(() => []);
  for (const [a, b] of bonds) { bonded[a].push(b); bonded[b].push(a); }
  viewer.removeAllModels();
  viewer.removeAllShapes();
  viewer.addModel().addAtoms(atoms.map(({ element, position }, index) => ({
    elem: element, atom: element, ...point(position), serial: index, index, bonds: bonded[index], bondOrder: bonded[index].map(() => 1),
  })));
  viewer.setStyle({}, { sphere: { scale: 0.3, colorscheme: "Jmol" }, stick: { radius: 0.1, colorscheme: "Jmol" } });
  for (const [start, end] of segments) viewer.addLine({ start: point(start), end: point(end), color: edgeColour });
}
