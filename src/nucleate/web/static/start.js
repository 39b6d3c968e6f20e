// The form of a new search, built from the server's description of the settings.

import { act, el, get, post, Refusal } from "./api.js";

const TITLES = { "": "Search", reference: "Reference", search: "Search loop", generate: "Candidates", model: "Committee", training: "Training of the committee",
  relax: "Relaxation on the committee", teacher: "Teacher", hull: "Chemical system", layers: "Layers", clusters: "Clusters" };

export async function show(main, parts, signal) {
  const { fields, profiles, folders } = await get("/api/settings", signal);
  main.append(el("h1", {}, "New search"));
  if (!folders.length) {
    main.append(el("p", {}, "The server was started without a folder for new searches. Start it as: nucleate serve DIR"));
    return;
  }
  const inputs = new Map(fields.map((field) => [field.name, input(field)]));
  const profile = choice("profile", "Profile", "Settings from a file that was named when the server was started; fields that are left as they are keep its values.",
    [["", "none"], ...profiles.map(({ name }) => [name, name])], profiles.length === 1 ? profiles[0].name : "");
  const folder = choice("folder", "Folder", "Folder in which the run folder is created.", folders.map(({ id, name }) => [id, name]), folders[0].id);
  const hidden = el("p", { class: "muted" });
  const error = el("p", { class: "error", role: "alert", id: "problem" });
  const button = el("button", { class: "main", type: "submit" }, "Start search");
  const useProfile = () => {
    const chosen = profiles.find(({ name }) => name === profile.control.value);
    for (const field of fields) {
      const own = chosen && field.name in chosen.settings ? chosen.settings[field.name] : field.default;
      const { control } = inputs.get(field.name);
      control.usual = own;
      put(control, field, own);
    }
    hidden.textContent = chosen?.hidden.length ? `The profile also sets ${chosen.hidden.join(", ")}, which cannot be changed here.` : "";
  };
  profile.control.addEventListener("change", useProfile);
  useProfile();
  const tables = Object.keys(TITLES).map((table) => [table, fields.filter((field) => field.table === table && !field.first)]).filter(([, own]) => own.length);
  const form = el("form", { class: "card", novalidate: true },
    el("div", { class: "pair" }, inputs.get("formula").label, profiles.length ? profile.label : "", folders.length > 1 ? folder.label : "",
      fields.filter((field) => field.first && field.name !== "formula").map((field) => inputs.get(field.name).label)),
    hidden,
    tables.map(([table, own]) => el("details", {}, el("summary", {}, TITLES[table]), el("div", { class: "pair" }, own.map((field) => inputs.get(field.name).label)))),
    error, el("div", { class: "bar" }, button));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(button, async () => {
      error.textContent = "";
      const settings = {};
      let wrong = null;
      for (const field of fields) {
        const { control } = inputs.get(field.name);
        control.removeAttribute("aria-invalid");
        try {
          const value = taken(control, field);
          if (JSON.stringify(value) !== JSON.stringify(control.usual) || field.name === "formula") put_in(settings, field, value);
        } catch (problem) {
          wrong ??= [control, problem.message];
        }
      }
      if (wrong) { point(wrong[0], error, wrong[1]); return; }
      try {
        const { run } = await post("/api/runs", { folder: folder.control.value, profile: profile.control.value || null, settings });
        location.hash = `#/run/${run}`;
      } catch (problem) {
        if (!(problem instanceof Refusal)) throw problem;
        const named = fields.find(({ name }) => problem.message.includes(`${name}:`) || problem.message.includes(`${name} `));
        point(inputs.get(named?.name ?? "formula").control, error, problem.message);
      }
    });
  });
  main.append(el("p", { class: "muted" }, "Settings that name programs, modules or files are set in a profile: nucleate serve DIR --profile FILE.toml"), form);
}

function point(control, place, text) {
  place.textContent = text;
  control.setAttribute("aria-invalid", "true");
  const hiding = control.closest("details");
  if (hiding) hiding.open = true;
  control.focus();
}

function labelled(control, title, text) {
  return { control, label: el("label", { class: "field" }, el("span", {}, title), control, el("small", {}, text)) };
}

function choice(name, title, text, options, value) {
  const control = el("select", { name }, options.map(([key, shown]) => el("option", { value: key }, shown)));
  control.value = value;
  return labelled(control, title, text);
}

function input(field) {
  const title = field.first ? field.name.split(".").pop() : field.name;
  if (field.kind === "choice") return choice(field.name, title, field.description, [...(field.optional ? [["", "unset"]] : []), ...field.choices.map((one) => [String(one), String(one)])], "");
  if (field.kind === "boolean") return labelled(el("input", { type: "checkbox", name: field.name }), title, field.description);
  const numeric = ["integer", "number"].includes(field.kind);
  const control = el("input", { name: field.name, type: "text", inputmode: numeric ? "decimal" : null, autocomplete: "off",
    placeholder: field.optional ? "unset" : null });
  const bounds = numeric && field.maximum != null && field.maximum < 1e15 ? ` From ${field.minimum} to ${field.maximum}.` : field.kind === "array" ? " Numbers separated by commas." : "";
  return labelled(control, title, field.description + bounds);
}

function put(control, field, value) {
  if (field.kind === "boolean") control.checked = Boolean(value);
  else if (field.kind === "choice") {
    // A profile may contain a value that cannot be chosen here, such as an engine with a command.
    control.querySelector("[data-own]")?.remove();
    if (value != null && !field.choices.includes(value)) control.append(el("option", { value: String(value), "data-own": true }, `${value} (as in the profile)`));
    control.value = value == null ? "" : String(value);
  } else control.value = value == null ? "" : Array.isArray(value) ? value.join(", ") : String(value);
}

// Return the value of a field; throw an error with a message if it is not valid.
function taken(control, field) {
  if (field.kind === "boolean") return control.checked;
  const text = control.value.trim();
  if (text === "" && field.kind === "array") return field.optional ? null : field.default ?? control.usual ?? [];
  if (text === "" && field.optional) return null;
  if (text === "") throw new Error(`${field.name}: a value is needed.`);
  if (text === String(control.usual)) return control.usual;
  if (field.kind === "choice") return field.choices.find((one) => String(one) === text);
  if (field.kind === "string") return text;
  const values = (field.kind === "array" ? text.split(",") : [text]).map((part) => Number(part.trim()));
  if (values.some((value) => !Number.isFinite(value))) throw new Error(`${field.name}: '${text.slice(0, 40)}' is not a number.`);
  if (field.kind === "array") return values;
  if (field.kind === "integer" && !Number.isInteger(values[0])) throw new Error(`${field.name}: a whole number is needed.`);
  if (field.minimum != null && values[0] < field.minimum) throw new Error(`${field.name}: the smallest value is ${field.minimum}.`);
  if (field.maximum != null && values[0] > field.maximum) throw new Error(`${field.name}: the largest value is ${field.maximum}.`);
  return values[0];
}

function put_in(settings, field, value) {
  const [key, table] = field.name.split(".").reverse();
  if (table) (settings[table] ??= {})[key] = value;
  else settings[key] = value;
}
