"""The report: one file, whole, offline, whatever the folder holds."""

import base64
import io
import re
from html.parser import HTMLParser

import ase.io
import pytest

from nucleate.report.drawing import draw_crystal
from nucleate.report.html import write_report
from nucleate.report.pages import duration, symbol

VOID = {"meta", "br", "link", "img", "input", "hr"}
LOADS = {"src", "srcset", "data", "poster", "action", "xlink:href"}


class Page(HTMLParser):
    """Collects what a test asks about, and that every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.attributes, self.words = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not set(self.open) & {"script", "style"}:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page(folder):
    text = write_report(folder).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.mark.parametrize("options", [{}, {"polymorphs": False}, {"rounds": 1}, {"polymorphs": False, "rounds": 1}])
def test_it_is_whole_and_asks_the_network_for_nothing(make, options):
    text, parsed = page(make(**options))
    for tag, name, value in parsed.attributes:
        if name in LOADS or (name == "href" and tag != "a"):
            assert value.startswith(("data:", "#")), (tag, name, value)
        assert "url(http" not in value
    assert "@import" not in text
    assert not re.search(r"url\(['\"]?(https?:)?//", text)
    # The library of the viewer, its use, and the pictures: all of it is text of the page, and only if there is a structure.
    assert parsed.seen.count("script") == (3 if options.get("polymorphs", True) else 0)
    assert ("$3Dmol" in text) == options.get("polymorphs", True)


def test_a_folder_before_its_first_round(tmp_path):
    from nucleate.csp.run_folder import RunFolder
    from nucleate.csp.run_settings import settings_from_dict
    from nucleate.persist.toml import to_toml

    RunFolder.create(tmp_path / "new", to_toml(settings_from_dict({"formula": "Si2"}))).close()
    _, parsed = page(tmp_path / "new")
    assert "No polymorph is confirmed yet." in parsed.text
    (tmp_path / "new" / "run.db").unlink()
    assert "No reference calculation" in page(tmp_path / "new")[1].text


def test_it_says_what_was_found_and_how_surely(make):
    _, parsed = page(make())
    for words in (
        "CHGNet is a surrogate, not a reference",
        "not resolved from rank 1",
        "Energies closer than 3 meV/atom are not resolved",
        "ends at the same energy after 4 steps",
        "Confirmed in the current round: Cmcm",
        "Search finished: the budget of reference calls is spent.",
        "candidates of the pool",
    ):
        assert words in parsed.text


def test_an_engine_s_words_cannot_become_markup(make):
    text, parsed = page(make())
    assert "SCF did not converge <script>alert(1)</script> after 100 iterations" in parsed.text
    assert "<script>alert" not in text
    assert "and more" not in parsed.text


def test_structures_can_be_downloaded_from_the_page(make):
    _, parsed = page(make())
    links = [value for tag, name, value in parsed.attributes if name == "href" and "x-cif" in value]
    names = [value for tag, name, value in parsed.attributes if name == "download" and value.endswith(".cif")]
    assert names == ["01_Fd-3m_-5.3000.cif", "02_I4_1_amd_-5.2980.cif", "03_Pm-3m_-5.1000.cif"]
    cif = base64.b64decode(links[0].split(",", 1)[1])
    assert len(ase.io.read(io.BytesIO(cif), format="cif")) == 8


def test_under_pressure_it_is_an_enthalpy(make):
    _, parsed = page(make(pressure=10.0))
    assert "at 10 GPa" in parsed.text
    assert "Lowest enthalpy" in parsed.text


def test_figures_use_the_page_s_colours(make):
    text, parsed = page(make())
    headings = ("Landscape", "Cost of discovery", "Calibration", "Relaxations", "Wall time")
    for heading in headings:
        assert heading in parsed.text
    assert "currentColor" in text
    assert "#010101" not in text


def test_a_picture_completes_the_cell():
    from ase.build import bulk

    text = draw_crystal(bulk("Si", "diamond", a=5.43))
    assert text.count("<circle") == 17
    assert text.count('class="edge"') == 12
    assert text.count('class="bond"') == 16


def test_words_for_people():
    assert [duration(x) for x in (1.26, 30, 600, 36000)] == ["1.3 s", "30 s", "10 min", "10.0 h"]
    assert str(symbol("P-3m1")) == 'P<span class="bar">3</span>m1'
    assert str(symbol("P6_3/mmc")) == "P6<sub>3</sub>/mmc"
