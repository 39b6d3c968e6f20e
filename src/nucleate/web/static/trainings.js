// Trainings of potentials: their errors, and commands to those that run.

import { act, el, get, notice, number, post, table } from "./api.js";

export async function show(main, parts, signal) {
  main.append(el("h1", {}, "Trainings"));
  const { trainings } = await get("/api/trainings", signal);
  if (!trainings.length) {
    main.append(el("p", {}, "There are no trainings in the folders that the server shows. Start one with: nucleate fit DATA --out DIR/NAME"));
    return;
  }
  for (const training of trainings) main.append(await card(training.id, signal));
}

async function card(id, signal) {
  const place = el("section", { class: "card" });
  const renew = async () => {
    const data = await get(`/api/trainings/${id}`, signal);
    const send = (button, command) => act(button, async () => { await post(`/api/trainings/${id}/steer`, command); notice("The training applies the command at its next step."); });
    const rate = el("input", { type: "text", inputmode: "decimal", "aria-label": "Learning rate", placeholder: "0.001" });
    const setRate = el("button", { onclick: () => send(setRate, { do: "lr", value: Number(rate.value) || null }) }, "Set learning rate");
    const layer = el("input", { type: "text", "aria-label": "Layer or species", placeholder: "layer or species" });
    const freeze = el("button", { onclick: () => send(freeze, { do: "freeze", what: layer.value || null }) }, "Freeze");
    const thaw = el("button", { onclick: () => send(thaw, { do: "unfreeze", what: layer.value || null }) }, "Unfreeze");
    const keep = el("button", { onclick: () => send(keep, { do: "save" }) }, "Save model now");
    const stop = el("button", { onclick: () => send(stop, { do: "stop" }) }, "Stop");
    const again = el("button", { onclick: () => act(again, renew) }, "Update");
    const error = (set, key) => [set?.[key] == null ? "–" : number((key === "energy_rmse" ? 1e3 : 1) * set[key], key === "energy_rmse" ? 2 : 3), "n"];
    place.replaceChildren(
      el("div", { class: "bar top" }, el("h2", {}, data.name, " ", el("span", { class: `status ${data.status}` }, data.status), ` step ${data.step}`), again),
      data.status === "running" ? el("div", { class: "bar" }, rate, setRate, layer, freeze, thaw, keep, stop) : "",
      table([["Step", "n"], ["Training, meV/atom", "n"], ["eV/Å", "n"], ["Validation, meV/atom", "n"], ["eV/Å", "n"]],
        data.evaluations.slice(-12).reverse().map((one) => ({ cells: [[String(one.step), "n"], error(one.training, "energy_rmse"), error(one.training, "force_rmse"), error(one.validation, "energy_rmse"), error(one.validation, "force_rmse")] })), "Errors"),
      data.commands.length ? el("details", {}, el("summary", {}, "Commands"), el("pre", {}, data.commands.map((one) => `step ${one.step}: ${JSON.stringify(one.command)}${one.refused ? ` refused: ${one.refused}` : ""}`).join("\n"))) : "");
  };
  await renew();
  return place;
}
