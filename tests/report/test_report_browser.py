"""The report in a browser without a network: the viewer of 3Dmol, pictures that turn without WebGL, and nothing wider than the window."""

from pathlib import Path

import pytest

from nucleate.csp.run_folder import RunFolder
from nucleate.report.html import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
security = pytest.importorskip("nucleate.web.security", reason="the extra serve is not installed")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed as /usr/bin/chromium")


@pytest.fixture
def report(make):
    path = make()
    with RunFolder.open(path) as folder:
        name = "gpaw_with_plane_waves_of_900_eV_and_a_name_without_blanks_that_is_long"
        folder.set_fact("reference", {"name": name, "surrogate": False, "settings": {}})
    return write_report(path)


def drag(page, selector):
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 80)
    page.mouse.up()


def opened(playwright, report, *arguments):
    browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", *arguments])
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.asked, page.problems = [], []
    # The page as the web application serves it: the same file behind its policy.
    page.route("http://report.test/", lambda route: route.fulfill(body=report.read_text(encoding="utf-8"), headers={
        "content-security-policy": security.REPORT_POLICY, "content-type": "text/html; charset=utf-8"}))  # fmt: skip
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if "Content Security Policy" in message.text else None)
    page.goto("http://report.test/")
    return browser, page


def test_structures_in_the_viewer_of_the_page_itself(report):
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright, report, "--enable-unsafe-swiftshader")
        page.wait_for_selector("#polymorph-1 .live canvas")
        page.hover("#polymorph-3 .picture")
        page.wait_for_selector("#polymorph-3 .live canvas")
        assert page.locator("canvas").count() == page.locator("#polymorph-3 canvas").count()
        assert "behind" in page.get_attribute("#polymorph-3 svg", "class")
        assert "behind" not in page.get_attribute("#polymorph-1 svg", "class")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert [url for url in page.asked if not url.startswith("data:")] == ["http://report.test/"]
        assert page.problems == []
        browser.close()


def test_pictures_turn_without_webgl(report):
    with sync_api.sync_playwright() as playwright:
        browser, page = opened(playwright, report, "--disable-gpu", "--disable-3d-apis")
        before = page.inner_html("#polymorph-2 svg")
        drag(page, "#polymorph-2 svg")
        assert page.inner_html("#polymorph-2 svg") != before
        assert page.locator(".live").count() == 0
        assert page.problems == []
        browser.close()
