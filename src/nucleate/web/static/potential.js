// What a potential predicts: energy, forces, stress and their uncertainty; or a structure alone.

import { el, facts, number, save, table } from "./api.js";
import { draw } from "./plots.js";
import { drawStructure, latticeText } from "./structure.js";

export async function present(place, { structure, symbols, positions, space_group, powder, powder_missing, prediction }, name) {
  const viewer = el("div");
  const pattern = el("div", { class: "plot" });
  const largest = prediction && Math.max(...prediction.forces.map((force) => Math.hypot(...force)));
  const heads = ["Atom", ["x, Å", "n"], ["y, Å", "n"], ["z, Å", "n"], ["F x, eV/Å", "n"], ["F y", "n"], ["F z", "n"], ["deviation, eV/Å", "n"]];
  place.replaceChildren(el("div", { class: "grid" },
    el("section", { class: "card wide" }, el("h2", {}, `${structure.formula}, ${space_group}`),
      facts(prediction ? [["energy, eV", number(prediction.energy, 4)], ["energy, eV/atom", number(prediction.energy_per_atom, 4)],
        ["uncertainty, meV/atom", number(1e3 * prediction.sigma, 1)], ["largest force, eV/Å", number(largest, 3)], ["members", String(prediction.members)]]
        : [["atoms", String(symbols.length)], ["volume, Å³", number(structure.volume, 2)]]),
      el("p", { class: "muted" }, latticeText(structure.lattice)),
      prediction ? el("div", { class: "bar" },
        el("button", { onclick: () => save(`${name}.json`, JSON.stringify({ symbols, positions, cell: structure.cell, ...prediction, extxyz: undefined }, null, 1), "application/json") }, "Download JSON"),
        el("button", { onclick: () => save(`${name}-predicted.extxyz`, prediction.extxyz, "chemical/x-xyz") }, "Download extxyz")) : ""),
    el("section", { class: "card" }, el("h2", {}, prediction ? "Structure; arrows are forces" : "Structure"), viewer),
    el("section", { class: "card" }, el("h2", {}, "Calculated X-ray powder pattern, Cu Kα"), pattern),
    prediction ? el("section", { class: "card wide" }, el("h2", {}, "Forces and stress"),
      el("p", { class: "muted" }, `Stress xx yy zz yz xz xy, eV/Å³, positive in tension: ${prediction.stress.map((x) => number(x, 5)).join(", ")}`),
      table(heads, prediction.forces.map((force, k) => ({ cells: [symbols[k], ...[...positions[k], ...force].map((x) => [number(x), "n"]), [number(prediction.forces_sigma[k]), "n"]] })), "Forces")) : ""));
  if (powder) await draw(pattern, { x: "2θ, degrees", y: "intensity", series: [{ label: structure.formula }], data: [powder.two_theta, powder.intensity], describe: "Powder pattern" });
  else pattern.append(el("p", { class: "muted" }, powder_missing));
  await drawStructure(viewer, structure, prediction?.forces);
}
