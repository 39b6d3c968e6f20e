// The address after # decides which page is shown.

import { el, Refusal } from "./api.js";

const PAGES = [
  [/^#\/run\/(\w+)$/, () => import("./run.js")],
  [/^#\/new$/, () => import("./start.js")],
  [/^#\/models$/, () => import("./models.js")],
  [/^#\/trainings$/, () => import("./trainings.js")],
  [/^(?:#\/?)?$/, () => import("./runs.js")],
];

let leaving = new AbortController();

async function show(first) {
  const address = location.hash;
  if (address === "#main") return;
  // What the last page was waiting for ends with it.
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const main = document.getElementById("main");
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === (address || "#/")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const found = PAGES.map(([pattern, load]) => [address.match(pattern), load]).find(([match]) => match);
  try {
    if (!found) throw new Refusal("There is no such page.");
    const page = await found[1]();
    if (signal.aborted) return;
    main.replaceChildren();
    await page.show(main, found[0].slice(1), signal);
  } catch (error) {
    if (signal.aborted) return;
    main.replaceChildren(el("p", { class: "error" }, error.message));
    if (!(error instanceof Refusal)) throw error;
  }
  if (!first && !signal.aborted) main.focus({ preventScroll: true });
}

addEventListener("hashchange", () => show(false));
show(true);
