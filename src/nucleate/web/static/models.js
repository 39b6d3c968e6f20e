// A structure and a model: the form. What each kind of model predicts is shown by the module of its kind.

import { act, el, get, Refusal, upload } from "./api.js";

const KINDS = [["potential", "Potentials", "predict"], ["electrons", "Electron models", "electrons"], ["couplings", "Coupling models", "couplings"]];
const PAGES = { potential: () => import("./potential.js"), electrons: () => import("./electrons.js"), couplings: () => import("./couplings.js") };

export async function show(main, parts, signal) {
  const [{ models, suffixes, most_atoms: most }, { runs }] = await Promise.all([get("/api/models", signal), get("/api/runs", signal)]);
  const usable = models.filter((model) => !model.message);
  const form = new ModelForm(usable, suffixes, most, runs.filter((run) => run.polymorph_count), signal);
  main.append(el("h1", {}, "Trained models"), form.form,
    ...models.filter((model) => model.message).map((model) => el("p", { class: "muted" }, `${model.name}: ${model.message}`)), form.result);
}

const field = (title, input, ...small) => el("label", { class: "field" }, el("span", {}, title), input, el("small", {}, ...small));
const said = (model) => [model.family ?? (model.kind === "potential" ? "manybody" : null), model.elements.join(", ")].filter(Boolean).join("; ");

class ModelForm {
  constructor(models, suffixes, most, runs, signal) {
    Object.assign(this, { models, signal, result: el("div") });
    this.file = el("input", { type: "file", name: "file", accept: suffixes.join(",") });
    this.run = el("select", { name: "run" }, el("option", { value: "" }, "an uploaded file"),
      el("optgroup", { label: "a polymorph of the search" }, runs.map((run) => el("option", { value: run.id }, run.name))));
    this.rank = el("input", { type: "number", name: "rank", min: "1", step: "1", value: "1" });
    this.model = el("select", { name: "model" }, el("option", { value: "" }, "none: show the structure only"),
      KINDS.map(([kind, title]) => {
        const own = models.filter((model) => model.kind === kind);
        return own.length ? el("optgroup", { label: title }, own.map((model) => el("option", { value: model.id }, `${model.name} (${said(model)})`))) : null;
      }));
    if (models.length) this.model.value = models[0].id;
    this.temperature = el("input", { type: "number", name: "temperature", min: "1", step: "any" });
    this.forces = el("input", { type: "checkbox", name: "forces" });
    this.cutoff = el("input", { type: "number", name: "cutoff", min: "0.5", max: "30", step: "any" });
    this.error = el("p", { class: "error", role: "alert", id: "problem" });
    this.button = el("button", { class: "main", type: "submit" }, "Compute");
    this.places = {
      file: field("Structure file", this.file, `${suffixes.join(", ")}; at most 5 MB and ${most} atoms. It is not kept.`),
      rank: field("Polymorph", this.rank, "Number in the ranking of the search."),
      temperature: field("Electronic temperature, K", this.temperature, "Empty: that of the training data."),
      forces: el("label", { class: "field" }, el("span", {}, "Forces"), this.forces, " with stress", el("small", {}, "Metals only; takes about four times as long.")),
      cutoff: field("Largest distance, Å", this.cutoff, "Empty: that of the training pairs."),
    };
    this.form = el("form", { class: "card", novalidate: true },
      el("div", { class: "pair" }, runs.length ? field("Structure", this.run, "A file, or the result of a search.") : null, this.places.file, this.places.rank),
      el("div", { class: "pair" }, field("Model", this.model, "Models named when the server was started, and the last potential of each run."),
        this.places.temperature, this.places.forces, this.places.cutoff),
      this.error, el("div", { class: "bar" }, this.button));
    this.form.addEventListener("submit", (event) => { event.preventDefault(); act(this.button, () => this.submit()); });
    for (const choice of [this.run, this.model]) choice.addEventListener("change", () => this.arrange());
    this.arrange();
  }

  get chosen() { return this.models.find((model) => model.id === this.model.value); }

  // Show the fields that belong to the choices.
  arrange() {
    const kind = this.chosen?.kind;
    const shown = { file: !this.run.value, rank: this.run.value, temperature: kind === "electrons", forces: kind === "electrons", cutoff: kind === "couplings" };
    for (const [name, place] of Object.entries(this.places)) place.hidden = !shown[name];
    this.temperature.placeholder = this.chosen?.temperature ? String(this.chosen.temperature) : "";
  }

  options() {
    const query = new URLSearchParams();
    const kind = this.chosen?.kind;
    if (kind === "electrons" && this.temperature.value) query.set("temperature", this.temperature.value);
    if (kind === "electrons" && this.forces.checked) query.set("forces", "true");
    if (kind === "couplings" && this.cutoff.value) query.set("cutoff", this.cutoff.value);
    return query.size ? `?${query}` : "";
  }

  // Return the structure as a file: the chosen one, or that of a polymorph.
  async structure() {
    if (!this.run.value) return this.file.files[0] ?? null;
    const answer = await fetch(`/api/runs/${this.run.value}/polymorphs/${encodeURIComponent(this.rank.value)}/structure?format=extxyz`, { credentials: "same-origin" });
    if (!answer.ok) throw new Refusal((await answer.json()).error);
    const name = this.run.selectedOptions[0].textContent;
    return new File([await answer.text()], `${name}-${this.rank.value}.extxyz`);
  }

  async submit() {
    this.error.textContent = "";
    this.result.replaceChildren();
    this.button.textContent = "Computing…";
    try {
      const file = await this.structure();
      if (!file) { this.error.textContent = "Choose a structure file."; this.file.focus(); return; }
      const model = this.chosen;
      const verb = model && KINDS.find(([kind]) => kind === model.kind)[2];
      const answer = await upload(model ? `/api/models/${model.id}/${verb}${this.options()}` : "/api/structures", file);
      const page = await PAGES[model?.kind ?? "potential"]();
      if (!this.signal.aborted) await page.present(this.result, answer, file.name.replace(/\.[^.]*$/, ""));
      this.result.scrollIntoView({ block: "nearest", behavior: "smooth" });
    } catch (problem) {
      if (!(problem instanceof Refusal)) throw problem;
      this.error.textContent = problem.message;
    } finally {
      this.button.textContent = "Compute";
    }
  }
}
