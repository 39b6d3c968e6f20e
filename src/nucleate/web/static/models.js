// Predictions of trained potentials for an uploaded structure.

import { act, el, facts, get, number, Refusal, save, table, upload } from "./api.js";
import { draw } from "./plots.js";
import { drawStructure, latticeText } from "./structure.js";

export async function show(main, parts, signal) {
  const { models, suffixes, most_atoms: most } = await get("/api/models", signal);
  const usable = models.filter((model) => !model.message);
  const file = el("input", { type: "file", name: "file", accept: suffixes.join(","), required: true });
  const choice = el("select", { name: "model" }, el("option", { value: "" }, "none: show the structure only"),
    usable.map((model) => el("option", { value: model.id }, `${model.name} (${model.family ?? "manybody"})`)));
  if (usable.length) choice.value = usable[0].id;
  const error = el("p", { class: "error", role: "alert", id: "problem" });
  const result = el("div");
  const button = el("button", { class: "main", type: "submit" }, "Compute");
  const form = el("form", { class: "card", novalidate: true }, el("div", { class: "pair" },
    el("label", { class: "field" }, el("span", {}, "Structure file"), file, el("small", {}, `${suffixes.join(", ")}; at most 5 MB and ${most} atoms. It is not kept.`)),
    el("label", { class: "field" }, el("span", {}, "Potential"), choice, el("small", {}, "Model files named when the server was started, and the last committee of each run."))),
  error, el("div", { class: "bar" }, button));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(button, async () => {
      error.textContent = "";
      result.replaceChildren();
      if (!file.files.length) { error.textContent = "Choose a structure file."; file.focus(); return; }
      button.textContent = "Computing…";
      try {
        const answer = await upload(choice.value ? `/api/models/${choice.value}/predict` : "/api/structures", file.files[0]);
        if (!signal.aborted) await present(result, answer, file.files[0].name.replace(/\.[^.]*$/, ""));
      } catch (problem) {
        if (!(problem instanceof Refusal)) throw problem;
        error.textContent = problem.message;
      } finally {
        button.textContent = "Compute";
      }
    });
  });
  main.append(el("h1", {}, "Trained potentials"), form, ...models.filter((model) => model.message).map((model) => el("p", { class: "muted" }, `${model.name}: ${model.message}`)), result);
}

async function present(place, { structure, symbols, positions, space_group, powder, powder_missing, prediction }, name) {
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
