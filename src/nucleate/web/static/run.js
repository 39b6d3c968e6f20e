// One search: progress, ranking, landscape, learning curve, structures, powder patterns, failures and events.

import { act, el, facts, get, notice, number, post, Refusal, table } from "./api.js";
import { draw, scattered } from "./plots.js";
import { drawStructure, latticeText } from "./structure.js";

const PURPOSES = { train: "first labels", explore: "labels", confirm: "confirming polymorphs", check: "softest-mode check", proof: "proof of the best polymorph" };

export async function show(main, [id], signal) {
  const page = new RunPage(id, signal);
  main.append(...page.parts());
  await page.refresh();
  await page.follow();
}

class RunPage {
  constructor(id, signal) {
    Object.assign(this, { id, signal, url: `/api/runs/${id}`, chosen: [], picked: null, events: [], next: 0, drawn: {} });
  }

  parts() {
    const card = (title, wide) => el("section", { class: wide ? "card wide" : "card" }, el("h2", {}, title));
    this.head = el("div");
    this.ranking = card("Polymorphs", true);
    this.detail = card("Structure and powder pattern", true);
    this.landscape = card("Landscape");
    this.curve = card("Lowest energy against reference calls");
    this.failures = card("Failed calculations");
    this.log = card("Events");
    for (const part of [this.landscape, this.curve]) part.append(el("div", { class: "plot" }));
    this.rows = el("div");
    this.ranking.append(this.rows);
    this.view = el("div");
    this.detail.append(this.view);
    this.list = el("div", { class: "scroll low", tabindex: "0", role: "log", "aria-label": "Events" });
    this.log.append(this.list);
    this.failed = el("div");
    this.failures.append(this.failed);
    return [this.head, el("div", { class: "grid" }, this.ranking, this.detail, this.landscape, this.curve, this.failures, this.log)];
  }

  async refresh() {
    this.data = await get(this.url, this.signal);
    document.title = `${this.data.name} – nucleate`;
    this.showHead();
    const ranked = JSON.stringify(this.data.polymorphs);
    if (ranked !== this.drawn.ranked) {
      this.drawn.ranked = ranked;
      if (!this.chosen.length && !this.picked && this.data.polymorphs.length) this.chosen = [1];
      this.chosen = this.chosen.filter((rank) => rank <= this.data.polymorphs.length);
      this.showRanking();
      await this.showDetail();
    }
    if (this.data.calls && this.data.calls !== this.drawn.calls) {
      this.drawn.calls = this.data.calls;
      await this.showPlots();
    }
    await this.showFailures();
  }

  // Wait for events; each answer that brings some, or a change of the state, renews the page.
  async follow() {
    while (!this.signal.aborted) {
      const busy = ["running", "starting", "stopping"].includes(this.data.status);
      const answer = await get(`${this.url}/events?after=${this.next}&wait=${busy ? 3 : 20}`, this.signal);
      this.next = answer.next;
      this.events = this.events.concat(answer.events).slice(-300);
      if (answer.events.length) this.showEvents();
      if (answer.events.length || busy || this.data.status === "stopped") await this.refresh();
      if (answer.next < answer.total) continue;
      if (answer.events.length) await new Promise((resolve) => setTimeout(resolve, 700));
    }
  }

  showHead() {
    const d = this.data;
    const last = this.events.at(-1);
    const before = d.status === "running" && last ? (last.event === "label" ? PURPOSES[last.purpose] ?? last.purpose : last.event) : null;
    // The phase file tells more than the last event; a search that has just begun has written none.
    const phase = d.phase ? `${d.phase.phase}, ${d.phase.done} of ${d.phase.total}` : before;
    const key = JSON.stringify([d.status, d.calls, d.budget, d.round, d.polymorphs?.length, d.message, d.advice, phase, d.failures]);
    if (key === this.drawn.head) return;
    this.drawn.head = key;
    const stop = el("button", { onclick: () => act(stop, async () => { await post(`${this.url}/stop`); notice("The search stops after writing its results."); await this.refresh(); }) }, "Stop");
    const budget = el("input", { type: "number", min: d.budget ?? 1, value: d.finished ? 2 * d.budget : d.budget, "aria-label": "New budget of reference calls" });
    const resume = el("button", { onclick: () => act(resume, async () => {
      await post(`${this.url}/resume`, { budget: Number(budget.value) });
      notice("The search resumes.");
      await this.refresh();
    }) }, "Resume");
    this.head.replaceChildren(
      el("div", { class: "bar top" },
        el("h1", {}, d.name, " ", el("span", { class: `status ${d.status}`, id: "status" }, d.status)),
        el("div", { class: "bar" }, d.can_stop && stop, d.can_resume && d.budget && el("label", {}, "budget ", budget), d.can_resume && resume,
          d.calls != null && el("a", { class: "button", href: `${this.url}/report.html`, target: "_blank", rel: "noopener" }, "Report"))),
      d.calls != null ? el("progress", { max: d.budget, value: d.calls, "aria-label": "Reference calls" }) : el("p", { class: "muted" }, "The search is starting."),
      d.calls != null ? facts([
        ["reference calls", `${d.calls} of ${d.budget}`], ["round", d.round ?? "–"], ["polymorphs", String(d.polymorphs.length)],
        ["failed calls", String(d.failures)], ["reference", d.reference.name + (d.reference.surrogate ? " (surrogate)" : "")],
        ["core time", `${Math.round(d.core_seconds)} s`], ...(phase ? [["phase", phase]] : []),
      ]) : "",
      d.finished ? el("p", { class: "muted" }, `The search ended: ${d.finished}.`) : "",
      d.advice ? el("p", { class: "warning" }, d.advice) : "",
      d.message ? el("p", { class: "error" }, d.message) : "");
  }

  showRanking() {
    const { polymorphs } = this.data;
    if (!polymorphs.length) {
      this.rows.replaceChildren(el("p", { class: "muted" }, "No polymorph is confirmed yet; each round confirms the lowest ones."));
      return;
    }
    const heads = [["Rank", "n"], "Space group", ["Above rank 1, meV/atom", "n"], ["Energy, eV/atom", "n"], ["Volume, Å³/atom", "n"], "Check", "Compare", "Files"];
    this.rows.replaceChildren(table(heads, polymorphs.map((p) => ({ chosen: this.chosen.includes(p.rank), cells: [
      [String(p.rank), "n"],
      el("button", { class: "link", "aria-pressed": String(this.chosen.includes(p.rank)), "data-rank": p.rank, onclick: () => this.choose([p.rank]) },
        `${p.space_group} (${p.formula})`),
      [number(p.above_best, 1), "n"], [number(p.energy, 4), "n"], [number(p.volume, 2), "n"], p.check ?? "–",
      el("input", { type: "checkbox", "aria-label": `Compare polymorph ${p.rank}`, checked: this.chosen.includes(p.rank), onchange: () => this.toggle(p.rank) }),
      this.links(p.rank),
    ] })), "Polymorphs"), el("p", { class: "muted" }, "Choose a space group to see its structure and powder pattern; tick two polymorphs to compare them."));
  }

  links(rank) {
    const link = (format, text) => el("a", { href: `${this.url}/polymorphs/${rank}/structure?format=${format}`, download: true, "aria-label": `${text} of polymorph ${rank}` }, text);
    return el("span", {}, link("cif", "CIF"), " ", link("extxyz", "extxyz"));
  }

  toggle(rank) {
    const kept = this.chosen.filter((other) => other !== rank);
    this.choose(this.chosen.includes(rank) ? kept : [...kept.slice(-1), rank]);
  }

  async choose(ranks) {
    const at = document.activeElement;
    const again = at?.dataset?.rank ? `[data-rank="${at.dataset.rank}"]` : at?.getAttribute?.("aria-label") ? `[aria-label="${at.getAttribute("aria-label")}"]` : null;
    Object.assign(this, { chosen: ranks, picked: null });
    this.showRanking();
    if (again) this.rows.querySelector(again)?.focus();
    await this.showDetail().catch((error) => this.complain(error));
  }

  async pick(numberOfLabel) {
    Object.assign(this, { chosen: [], picked: numberOfLabel });
    this.showRanking();
    await this.showDetail().catch((error) => this.complain(error));
    this.detail.scrollIntoView({ block: "nearest" });
  }

  complain(error) {
    if (!(error instanceof Refusal)) throw error;
    notice(error.message);
  }

  async showDetail() {
    if (this.picked != null) {
      const label = await get(`${this.url}/labels/${this.picked}`, this.signal);
      const place = el("div");
      this.view.replaceChildren(el("h3", {}, `Labelled structure ${this.picked}, ${number(label.energy, 4)} eV/atom (${label.purpose}); it is not a relaxed polymorph`),
        el("p", { class: "muted" }, latticeText(label.lattice)), place);
      await drawStructure(place, label);
      return;
    }
    if (!this.chosen.length) {
      this.view.replaceChildren(el("p", { class: "muted" }, "The structure appears here when a polymorph is chosen."));
      return;
    }
    const chosen = this.chosen.map((rank) => this.data.polymorphs[rank - 1]);
    const places = chosen.map(() => el("div"));
    const pattern = el("div", { class: "plot" });
    const peaks = el("div");
    const columns = chosen.map((p, k) => el("div", {},
      el("h3", {}, `${p.rank}. ${p.space_group}, ${number(p.above_best, 1)} meV/atom above rank 1`),
      el("p", { class: "muted" }, `${latticeText(p.conventional_cell)}; ${number(p.energy, 4)} eV/atom`), places[k],
      el("p", {}, el("a", { class: "button main", href: `${this.url}/polymorphs/${p.rank}/structure?format=cif`, download: true }, `Download CIF of polymorph ${p.rank}`))));
    const powder = el("div", {}, el("h3", {}, "Calculated X-ray powder pattern, Cu Kα"), pattern, peaks);
    // One structure leaves room for the pattern at its side.
    this.view.replaceChildren(...(chosen.length === 1 ? [el("div", { class: "pair" }, columns, powder)] : [el("div", { class: "pair" }, columns), powder]));
    const structures = await Promise.all(chosen.map((p) => get(`${this.url}/polymorphs/${p.rank}/structure?format=json`, this.signal)));
    const turn = Symbol("turn");
    this.turn = turn;
    try {
      const patterns = await Promise.all(chosen.map((p) => get(`${this.url}/polymorphs/${p.rank}/powder`, this.signal)));
      if (this.turn !== turn) return;
      await draw(pattern, { x: "2θ, degrees", y: "intensity", series: chosen.map((p) => ({ label: `${p.rank}. ${p.space_group}` })),
        data: [patterns[0].two_theta, ...patterns.map((one) => one.intensity)], height: 240,
        describe: `Powder pattern; strongest lines at ${strongest(patterns[0])} degrees` });
      pattern.dataset.ready = "1";
      peaks.replaceChildren(el("details", {}, el("summary", {}, "Lines of the pattern"), chosen.map((p, k) => table(
        [["2θ, degrees", "n"], ["d, Å", "n"], ["intensity", "n"]],
        patterns[k].lines.map((line) => ({ cells: [[number(line.two_theta), "n"], [number(line.d, 4), "n"], [number(line.intensity, 1), "n"]] })),
        `Lines of polymorph ${p.rank}`))));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      pattern.replaceChildren(el("p", { class: "muted" }, error.message));
    }
    for (const [k, structure] of structures.entries()) await drawStructure(places[k], structure);
  }

  async showPlots() {
    const { size, unit, energy, labels, polymorphs } = await get(`${this.url}/landscape`, this.signal);
    const { data, places } = scattered([polymorphs.map(([, x, y]) => [x, y]), labels.map(([, x, y]) => [x, y])]);
    await draw(this.landscape.querySelector(".plot"), { x: `${size}, ${unit}`, y: `${energy}, eV/atom`, data,
      low: true,
      series: [{ label: "polymorphs", points: true, size: 10, colour: 1 }, { label: "labelled structures", points: true, size: 5, colour: 0 }],
      describe: `Energy against ${size} of ${labels.length} labelled structures and ${polymorphs.length} polymorphs`,
      click: (series, k) => (places[k].set === 0 ? this.choose([polymorphs[places[k].k][0]]) : this.pick(labels[places[k].k][0])) });
    let lowest = Infinity;
    const best = labels.map(([, , y]) => (lowest = Math.min(lowest, y)));
    const errors = new Map(this.data.rounds.map((round) => [round.calls, round.calibration?.mae]));
    await draw(this.curve.querySelector(".plot"), { x: "reference calls", y: `${energy}, eV/atom`,
      data: [labels.map(([n]) => n), best, labels.map(([, , y]) => y)],
      low: true,
      series: [{ label: "lowest so far", colour: 1 }, { label: "labels", points: true, size: 4, colour: 0 }],
      describe: `Lowest ${energy} against ${labels.length} reference calls` });
    this.errors(errors);
  }

  // The error of the committee on the labels of each round, before it was trained on them.
  errors(errors) {
    const known = [...errors].filter(([, value]) => value != null);
    const before = this.curve.querySelector("details");
    before?.remove();
    if (known.length) this.curve.append(el("details", { open: before?.open ?? false }, el("summary", {}, "Learning curve: error of the committee on new labels"),
      table([["reference calls", "n"], ["error, meV/atom", "n"]], known.map(([calls, value]) => ({ cells: [[String(calls), "n"], [number(1e3 * value, 1), "n"]] })), "Learning curve")));
  }

  async showFailures() {
    const count = this.data.failures ?? 0;
    if (count === this.drawn.failures) return;
    this.drawn.failures = count;
    if (!count) { this.failed.replaceChildren(el("p", { class: "muted" }, "No reference calculation has failed.")); return; }
    const { failures } = await get(`${this.url}/failures`, this.signal);
    this.failed.replaceChildren(table([["Call", "n"], "Purpose", "Kind", "Reason"],
      failures.map((one) => ({ cells: [[String(one.number), "n"], one.purpose, one.kind, [one.reason ?? "–", "wrap"]] })), "Failed calculations"));
  }

  showEvents() {
    this.list.replaceChildren(el("pre", {}, this.events.slice().reverse().map(eventText).join("\n")));
  }
}

const strongest = ({ lines }) => lines.slice().sort((a, b) => b.intensity - a.intensity).slice(0, 3).map((line) => line.two_theta.toFixed(1)).join(", ");

function eventText({ time, event, ...rest }) {
  const clock = new Date(1000 * time).toLocaleTimeString();
  const shown = Object.entries(rest).filter(([, value]) => value != null && typeof value !== "object");
  return `${clock}  ${event}  ${shown.map(([key, value]) => `${key} ${typeof value === "number" && !Number.isInteger(value) ? value.toFixed(4) : value}`).join(", ")}`;
}
