// The list of searches, which follows those that are running.

import { el, get, number, table } from "./api.js";

const NEVER_DONE = ["running", "starting", "stopping"];

export async function show(main, parts, signal) {
  const list = el("div", { class: "card" }, el("p", { class: "muted" }, "The runs are being read."));
  main.append(el("div", { class: "bar top" }, el("h1", {}, "Searches"), el("a", { class: "button main", href: "#/new" }, "New search")), list);
  let shown = "";
  while (!signal.aborted) {
    const { runs, folders } = await get("/api/runs", signal);
    const text = JSON.stringify(runs);
    // The table is replaced only if something has changed, so that the focus of the keyboard stays where it is.
    if (text !== shown) list.replaceChildren(runs.length ? ranked(runs) : empty(folders));
    shown = text;
    const busy = runs.some((run) => NEVER_DONE.includes(run.status));
    await new Promise((resolve) => setTimeout(resolve, busy ? 1500 : 6000));
  }
}

function ranked(runs) {
  const heads = ["Run", "Status", ["Calls", "n"], ["Polymorphs", "n"], "Lowest", ["Energy, eV/atom", "n"], "Reference"];
  return table(heads, runs.map((run) => ({ cells: [
    el("a", { href: `#/run/${run.id}` }, run.name),
    el("span", { class: `status ${run.status}`, title: run.message }, run.status),
    [run.calls == null ? "–" : `${run.calls} of ${run.budget}`, "n"],
    [run.polymorph_count == null ? "–" : String(run.polymorph_count), "n"],
    run.best ? run.best.space_group : "–",
    [run.best ? number(run.best.energy, 4) : "–", "n"],
    run.reference ? run.reference + (run.surrogate ? " (surrogate)" : "") : run.message ?? "–",
  ] })), "Searches");
}

function empty(folders) {
  return el("p", {}, "There are no runs yet. ", folders.length ? el("a", { href: "#/new" }, "Start a search")
    : "Start the server with the folder of the runs: nucleate serve DIR", ".");
}
