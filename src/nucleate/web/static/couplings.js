// What a coupling model predicts: couplings between the magnetic atoms against their distance.

import { el, facts, number, save, table } from "./api.js";
import { draw, scattered } from "./plots.js";
import { drawStructure, latticeText } from "./structure.js";

const signed = (value, digits = 3) => (value > 0 ? "+" : "") + number(value, digits);

export async function present(place, { structure, space_group, prediction }, name) {
  const { pairs, longest, cutoff } = prediction;
  const viewer = el("div");
  const curve = el("div", { class: "plot" });
  const strongest = pairs.reduce((best, pair) => (Math.abs(pair.J) > Math.abs(best.J) ? pair : best));
  const withVector = pairs.some((pair) => pair.D != null);
  const heads = ["Pair", "Atoms", ["distance, Å", "n"], ["pairs in the cell", "n"], ["J, meV", "n"], ["±, meV", "n"], ...(withVector ? [["|D|, meV", "n"]] : [])];
  const row = (pair) => [pair.elements.join("–"), pair.sites.map((site) => site + 1).join("–"), [number(pair.distance, 3), "n"], [String(pair.count), "n"],
    [signed(pair.J), "n"], [number(pair.error, 3), "n"], ...(withVector ? [[number(pair.D, 3), "n"]] : [])];
  place.replaceChildren(el("div", { class: "grid" },
    el("section", { class: "card wide" }, el("h2", {}, `Couplings of ${structure.formula}, ${space_group}`),
      facts([["different pairs", String(pairs.length)], ["pairs in the cell", String(pairs.reduce((sum, pair) => sum + pair.count, 0))],
        ["strongest J, meV", signed(strongest.J)], ["its pair", `${strongest.elements.join("–")}, ${number(strongest.distance, 2)} Å`],
        ["training pairs", String(prediction.training)]]),
      el("p", { class: "muted" }, "H = −Σ J e·e over pairs counted once, with unit vectors e; a positive J is ferromagnetic. ± is one standard deviation of the model."),
      longest == null
        ? el("p", { class: "warning" }, "The model was trained on elements alone: its couplings do not depend on the distance. The nearest pair of each two elements is shown.")
        : cutoff > longest + 0.01 && el("p", { class: "warning" }, `The training pairs are at most ${number(longest, 2)} Å long; couplings at larger distances are extrapolations.`),
      el("div", { class: "bar" },
        el("button", { onclick: () => save(`${name}-couplings.csv`, csv(pairs), "text/csv") }, "Download CSV"),
        el("button", { onclick: () => save(`${name}-couplings.json`, JSON.stringify(prediction, null, 1), "application/json") }, "Download JSON"))),
    el("section", { class: "card" }, el("h2", {}, "Coupling against distance"), curve),
    el("section", { class: "card" }, el("h2", {}, "Structure"), el("p", { class: "muted" }, latticeText(structure.lattice)), viewer),
    el("section", { class: "card wide" }, el("h2", {}, "Couplings"), table(heads, pairs.map((pair) => ({ cells: row(pair) })), "Couplings"))));
  const kinds = [...new Set(pairs.map((pair) => [...pair.elements].sort().join("–")))];
  // The plot has three colours; further pairs of elements share the last one.
  const set = (pair) => Math.min(kinds.indexOf([...pair.elements].sort().join("–")), 2);
  const labels = kinds.length > 3 ? [...kinds.slice(0, 2), "other pairs"] : kinds;
  const { data } = scattered(labels.map((_, k) => pairs.filter((pair) => set(pair) === k).map((pair) => [pair.distance, pair.J])));
  await draw(curve, { x: "distance, Å", y: "J, meV", series: labels.map((label) => ({ label, points: true, size: 8 })), data, describe: "Coupling against distance", zero: true });
  await drawStructure(viewer, structure);
}

function csv(pairs) {
  const rows = pairs.map((pair) => [...pair.elements, pair.J, pair.distance, pair.error, pair.D ?? "", ...pair.sites.map((site) => site + 1), ...pair.vector, pair.count].join(","));
  return ["element_a,element_b,J_meV,distance,error_meV,D_meV,atom_a,atom_b,vector_x,vector_y,vector_z,pairs_in_cell", ...rows].join("\n") + "\n";
}
