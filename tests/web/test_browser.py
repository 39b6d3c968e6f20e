"""The page in a browser without a window: a whole search, predictions, the keyboard, contrast, and no request to elsewhere."""

from pathlib import Path
from urllib.parse import urlsplit

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.io.cube import read_cube_data
from ase.units import Bohr

from nucleate.spins.models.data import read_pairs

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed as /usr/bin/chromium")

CONTRAST = """() => {
  const light = ([r, g, b]) => [r, g, b].map((x) => x / 255).map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, k) => sum + x * [0.2126, 0.7152, 0.0722][k], 0);
  const parts = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const text = getComputedStyle(node).backgroundColor;
      const colour = parts(text);
      if (text.startsWith("rgb") && (colour.length < 4 || colour[3] === 1)) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.getClientRects().length || node.closest("noscript, script, style, :disabled, .skip")) continue;
    const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push([node.tagName, node.textContent.slice(0, 40), (a + 0.05) / (b + 0.05)]);
  }
  return low;
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--enable-unsafe-swiftshader"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, server):
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    page = context.new_page()
    hosts, problems = set(), []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc if request.url.startswith("http") else request.url[:5]))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if "Content Security Policy" in message.text else None)
    page.goto(server.address)
    page.wait_for_selector("h1")
    yield page
    context.close()
    assert hosts <= {f"127.0.0.1:{server.port}", "blob:", "data:"}
    assert problems == []


def test_a_search_from_the_form_to_the_lowest_crystal(page, server, tmp_path):
    assert "token" not in page.url
    page.click("nav >> text=New search")
    page.fill("[name=formula]", "Al4")
    page.fill("[name='search.pool']", "many")
    page.click("text=Start search")
    assert "search.pool" in page.inner_text("#problem")
    assert page.evaluate("document.activeElement.name") == "search.pool"
    page.fill("[name='search.pool']", "16")
    page.click("text=Start search")
    page.wait_for_selector("#status.running", timeout=40_000)
    # By its address: other tests of this server start runs of the same formula.
    identity = page.url.rpartition("/")[2]
    page.wait_for_selector("#status.finished", timeout=80_000)
    page.wait_for_selector("[data-ready]", timeout=20_000)
    assert "strongest lines" in page.get_attribute("[data-ready]", "aria-label")
    page.wait_for_selector(".viewer canvas", timeout=20_000)
    with page.expect_download() as waiting:
        page.click("text=Download CIF of polymorph 1")
    waiting.value.save_as(tmp_path / "lowest.cif")
    assert set(ase.io.read(tmp_path / "lowest.cif").get_chemical_symbols()) == {"Al"}
    page.check("[aria-label='Compare polymorph 2']")
    page.wait_for_selector("text=Download CIF of polymorph 2")
    page.wait_for_selector(".pair > div:nth-child(2) .viewer canvas")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CONTRAST) == []
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(CONTRAST) == []
    (run,) = [one for one in server.get("/api/runs")[1]["runs"] if one["id"] == identity]
    assert run["polymorph_count"] >= 2
    status, headers, content = server.send("GET", f"/api/runs/{run['id']}/report.html")
    assert status == 200
    assert headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert b"Al" in content
    assert server.post(f"/api/runs/{run['id']}/stop", {})[0] == 409
    electrons_of_the_lowest_crystal(page, run["id"], tmp_path)
    assert "can only be raised" in server.post(f"/api/runs/{run['id']}/resume", {"budget": 3})[1]["error"]
    assert server.get(f"/api/runs/{run['id']}/polymorphs/99/powder")[0] == 404


def electrons_of_the_lowest_crystal(page, run, tmp_path):
    """A polymorph of a search, chosen on the page, and an electron model."""
    page.emulate_media(color_scheme="light")
    page.click("nav >> text=Models")
    page.select_option("[name=model]", label="al-electrons (Al)")
    page.select_option("[name=run]", value=run)
    assert not page.is_visible("[name=file]")
    assert not page.is_visible("[name=cutoff]")
    page.fill("[name=rank]", "99")
    page.click("button.main")
    page.wait_for_selector("#problem:not(:empty)", timeout=30_000)
    page.fill("[name=rank]", "1")
    page.fill("[name=temperature]", "1200")
    page.check("[name=forces]")
    page.click("button.main")
    page.wait_for_selector("[data-isosurface]", timeout=60_000)
    assert page.inner_text("#problem") == ""
    assert "1200" in page.inner_text("dl.facts")
    assert page.evaluate("document.querySelector('.viewer').viewer.shapes.some((shape) => shape.geo?.vertices > 100)")
    page.fill("[aria-label='Density of the isosurface']", "0.9")
    with page.expect_download() as waiting:
        page.click("text=Download density (cube)")
    waiting.value.save_as(tmp_path / "density.cube")
    density, atoms = read_cube_data(tmp_path / "density.cube")
    assert density.sum() / Bohr**3 * atoms.get_volume() / density.size == pytest.approx(3 * len(atoms), rel=1e-4)
    with page.expect_download() as waiting:
        page.click("text=Download DOS (CSV)")
    waiting.value.save_as(tmp_path / "dos.csv")
    assert np.loadtxt(tmp_path / "dos.csv", delimiter=",", skiprows=1).shape == (128, 5)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CONTRAST) == []


def test_couplings_of_an_uploaded_crystal(page, iron, tmp_path):
    page.click("nav >> text=Models")
    page.select_option("[name=model]", label="fe-mn (kernel; Fe, Mn)")
    page.set_input_files("[name=file]", iron)
    page.fill("[name=cutoff]", "3")
    page.click("button.main")
    page.wait_for_selector("[aria-label='Coupling against distance'] canvas, #problem:not(:empty)", timeout=60_000)
    page.wait_for_selector(".viewer canvas")
    assert page.inner_text("#problem") == ""
    assert page.locator(".scroll table tbody tr").count() == 2
    with page.expect_download() as waiting:
        page.click("text=Download CSV")
    waiting.value.save_as(tmp_path / "iron.csv")
    assert read_pairs(tmp_path / "iron.csv").distances == pytest.approx([2.4855, 2.87], abs=1e-3)
    assert page.evaluate(CONTRAST) == []


def test_files_uploaded_to_a_potential(page, tmp_path):
    page.click("nav >> text=Models")
    wrong = tmp_path / "wrong.cif"
    wrong.write_bytes(b"\x00\x01 not a structure")
    page.set_input_files("[name=file]", wrong)
    page.click("button.main")
    page.wait_for_selector("#problem:not(:empty)", timeout=30_000)
    ase.io.write(tmp_path / "al.cif", bulk("Al", cubic=True))
    page.set_input_files("[name=file]", tmp_path / "al.cif")
    page.select_option("[name=model]", label="al.safetensors (manybody; Al)")
    page.click("button.main")
    page.wait_for_selector("text=uncertainty, meV/atom", timeout=40_000)
    assert page.inner_text("#problem") == ""
    with page.expect_download() as waiting:
        page.click("text=Download extxyz")
    waiting.value.save_as(tmp_path / "back.extxyz")
    assert len(ase.io.read(tmp_path / "back.extxyz")) == 4
    assert page.evaluate(CONTRAST) == []


def test_the_keyboard_reaches_everything_in_order(page):
    seen = []
    for _ in range(7):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim()"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
    assert seen[:6] == ["Skip to the content", "nucleate", "Searches", "New search", "Models", "Trainings"]
    assert seen[6] == "New search"
    page.keyboard.press("Enter")
    page.wait_for_selector("[name=formula]")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "formula"
