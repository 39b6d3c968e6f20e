// What an electron model predicts: energies, density of states, density, and forces if they were asked for.

import { el, facts, number, save, table } from "./api.js";
import { draw } from "./plots.js";
import { drawDensity, drawStructure, latticeText } from "./structure.js";

const TERMS = [["band", "band energy"], ["hartree", "Hartree (subtracted)"], ["xc_potential", "∫ n v_xc (subtracted)"], ["xc", "exchange-correlation"],
  ["ewald", "Ewald"], ["core", "ion core"], ["constant", "constants"], ["entropy", "T S (subtracted)"], ["free", "free energy"]];

export async function present(place, { structure, symbols, positions, space_group, prediction }, name) {
  const { terms, dos, forces, stress, members, spin, band_edges: edges } = prediction;
  const zero = edges ? "middle of the gap" : "Fermi level";
  const atoms = symbols.length;
  const viewer = el("div");
  const curve = el("div", { class: "plot" });
  const spread = members > 1;
  const known = terms.free != null;
  const largest = forces && Math.max(...forces.map((force) => Math.hypot(...force)));
  const level = el("input", { type: "range", min: "0.02", max: "0.98", step: "0.02", value: "0.3", "aria-label": "Density of the isosurface" });
  const shown = el("span", { class: "muted" });
  const small = prediction.cube_grid.join() !== prediction.grid.join();
  place.replaceChildren(el("div", { class: "grid" },
    el("section", { class: "card wide" }, el("h2", {}, `Electrons of ${structure.formula}, ${space_group}`),
      facts([["free energy, eV", known ? number(terms.free, 3) : "unknown"], ["free energy, eV/atom", known ? number(terms.free / atoms, 4) : "unknown"],
        ["band energy, eV", number(terms.band, 3)], ["spread of the band energy, meV/atom", spread ? number(1e3 * prediction.sigma_band, 1) : "–"],
        [`${zero}, eV`, number(prediction.fermi_level, 3)], ...(edges ? [["band gap, eV", number(edges[1] - edges[0], 3)]] : []),
        ...(spin ? [["magnetic moment, Bohr magnetons", number(spin.moment, 3)]] : []), ["temperature, K", number(prediction.temperature, 0)],
        ...(edges ? [] : [["heat capacity of the electrons, k_B/atom", number(prediction.heat_capacity / atoms, 4)]]),
        ...(forces ? [["largest force, eV/Å", number(largest, 3)]] : []), ["members", String(members)]]),
      el("p", { class: "muted" }, `${latticeText(structure.lattice)}; grid ${prediction.grid.join(" × ")}; ${number(prediction.electrons, 2)} electrons ` +
        `(${number(prediction.electrons + prediction.charge_error, 2)} before the density is scaled)`),
      !known && el("p", { class: "warning" }, "The functional and pseudopotential of the training data are unknown, so there is no free energy."),
      el("div", { class: "bar" },
        el("button", { onclick: () => save(`${name}-dos.csv`, csv(prediction, atoms), "text/csv") }, "Download DOS (CSV)"),
        el("button", { onclick: () => save(`${name}-density.cube`, prediction.cube, "chemical/x-cube") }, "Download density (cube)"),
        el("button", { onclick: () => save(`${name}-electrons.json`, JSON.stringify({ ...prediction, cube: undefined }, null, 1), "application/json") }, "Download JSON"))),
    el("div", { class: "column" },
      el("section", { class: "card" }, el("h2", {}, "Density of states"), curve),
      el("section", { class: "card" }, el("h2", {}, "Terms of the free energy"),
        table(["Term", ["eV", "n"], ["eV/atom", "n"]], TERMS.map(([key, title]) => ({ cells: [title, [number(terms[key], 4), "n"], [terms[key] == null ? "–" : number(terms[key] / atoms, 4), "n"]] })), "Terms"))),
    el("section", { class: "card" }, el("h2", {}, forces ? "Density; arrows are forces" : "Density"), viewer,
      el("label", { class: "bar" }, "isosurface", level, shown),
      small && el("p", { class: "muted" }, `Drawn and downloaded on ${prediction.cube_grid.join(" × ")} points; nucleate electrons predict --cube writes all.`)),
    forces ? el("section", { class: "card wide" }, el("h2", {}, "Forces and stress"),
      el("p", { class: "muted" }, `Stress xx yy zz yz xz xy, eV/Å³, positive in tension: ${[[0, 0], [1, 1], [2, 2], [1, 2], [0, 2], [0, 1]].map(([i, j]) => number(stress[i][j], 5)).join(", ")}`),
      table(["Atom", ["x, Å", "n"], ["y, Å", "n"], ["z, Å", "n"], ["F x, eV/Å", "n"], ["F y", "n"], ["F z", "n"]],
        forces.map((force, k) => ({ cells: [symbols[k], ...[...positions[k], ...force].map((x) => [number(x), "n"])] })), "Forces")) : ""));
  const energies = dos.energies.map((energy) => energy - prediction.fermi_level);
  const per = (values) => values.map((value) => value / atoms);
  const bounds = (sign) => dos.values.map((value, k) => (value + sign * prediction.sigma_dos[k]) / atoms);
  // Spin down is drawn downwards; there is no spread of each spin.
  const lines = spin
    ? [[{ label: "spin up" }, dos.values.map((value, k) => (value + spin.dos[k]) / 2)],
      [{ label: "spin down", colour: 1 }, dos.values.map((value, k) => (spin.dos[k] - value) / 2)]]
    : [[{ label: "states" }, dos.values]];
  const bands = spread && !spin
    ? [[{ label: "+ spread", colour: 2, thin: true }, bounds(1)], [{ label: "− spread", colour: 2, thin: true }, bounds(-1)]] : [];
  await draw(curve, { x: `energy above the ${zero}, eV`, y: "states/(eV atom)", series: [...lines, ...bands].map(([series]) => series),
    describe: "Density of states", mark: 0, data: [energies, ...lines.map(([, values]) => per(values)), ...bands.map(([, values]) => values)] });
  const drawn = await drawStructure(viewer, structure, forces);
  if (!drawn) return;
  const volume = drawDensity(drawn, prediction.cube);
  const update = () => {
    const [low, high] = prediction.density_range;
    const value = low + Number(level.value) * (high - low);
    shown.textContent = `${number(value, 3)} electrons/Å³`;
    volume(value);
  };
  level.addEventListener("input", update);
  update();
  viewer.dataset.isosurface = "drawn";
}

function csv({ dos, fermi_level, sigma_dos, spin }, atoms) {
  const rows = dos.energies.map((energy, k) => [energy, energy - fermi_level, dos.values[k], sigma_dos[k], dos.values[k] / atoms,
    ...(spin ? [spin.dos[k]] : [])].join(","));
  const columns = "energy_eV,energy_above_fermi_eV,states_per_eV,spread_per_eV,states_per_eV_atom" + (spin ? ",up_minus_down_per_eV" : "");
  return [columns, ...rows].join("\n") + "\n";
}
