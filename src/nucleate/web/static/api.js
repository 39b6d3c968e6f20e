// Requests to the server, and the few functions with which all pages are built.

export class Refusal extends Error {}

// Return the JSON of an answer; a refusal becomes an exception with the server's one line.
export async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer. Is nucleate serve still running?");
  }
  const data = await answer.json().catch(() => ({ error: `The server answered with status ${answer.status}.` }));
  if (!answer.ok) throw new Refusal(data.error);
  return data;
}

export const get = (path, signal) => call(path, { signal });
export const post = (path, body = {}) =>
  call(path, { method: "POST", headers: { "Content-Type": "application/json", "X-Nucleate": "1" }, body: JSON.stringify(body) });

export function upload(path, file) {
  const form = new FormData();
  form.append("file", file);
  return call(path, { method: "POST", headers: { "X-Nucleate": "1" }, body: form });
}

// Make an element. Texts are set as text, so that nothing from a file is read as HTML.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

export const number = (value, digits = 3) => (value == null ? "–" : value.toFixed(digits).replace("-", "−"));

let timer;
export function notice(text) {
  const place = document.getElementById("notice");
  place.textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => (place.textContent = ""), 9000);
}

// Run an action of a button: the button is disabled meanwhile, and a refusal is shown.
export async function act(button, action) {
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    notice(error.message);
  } finally {
    button.disabled = false;
  }
}

export function table(heads, rows, caption) {
  const cell = (tag, [text, kind]) => el(tag, { class: kind, scope: tag === "th" ? "col" : null }, text);
  const asPair = (item) => (Array.isArray(item) ? item : [item]);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("thead", {}, el("tr", {}, heads.map((head) => cell("th", asPair(head))))),
      el("tbody", {}, rows.map((row) => el("tr", { class: row.chosen ? "chosen" : null }, row.cells.map((item) => cell("td", asPair(item))))))));
}

export const facts = (pairs) => el("dl", { class: "facts" }, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));

// Offer a text as a download.
export function save(name, text, type) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
