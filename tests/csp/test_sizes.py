"""Searches of cells of several sizes, which hand their minima on."""

import pytest
from ase.build import bulk

from nucleate import api
from nucleate.api import SearchResult
from nucleate.cli.csp import units_of
from nucleate.csp.known import Known
from nucleate.csp.labels_from import HANDED_ON, labels_known
from nucleate.csp.loop import Search
from nucleate.csp.plan import prepare
from nucleate.csp.resolve import resolve_settings
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.stages import what_is_known
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import same_crystal
from nucleate.persist.toml import to_toml
from nucleate.reference import make_reference
from nucleate.reference.settings import ReferenceSettings

SETTINGS = {
    "reference": {"engine": "chgnet"},
    "search": {"pool": 20, "keep": 8, "first_batch": 5, "max_rounds": 4, "quiet_rounds": 1, "proof": False, "check": False},
    "model": {"channels": 4, "hidden": 8, "members": 2},
    "training": {"steps": 60, "warm_steps": 30},
    "relax": {"max_steps": 40, "workers": 1},
    "evolution": {"strategy": "mixed"},
}


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    return api.search_sizes("AlAl", units=[2, 1], settings=SETTINGS, budget=40, seed=1, out=folder)


def test_the_smallest_cell_is_searched_first(series):
    assert [sum(result.settings.counts.values()) for result in series] == [1, 2]
    assert [result.folder.name for result in series] == ["Z1", "Z2"]
    assert series[0].polymorphs


def test_minima_are_handed_on(series):
    """The polymorphs of the smaller cell begin the search of the larger one as supercells."""
    first, second = series
    known, _ = labels_known(second.settings, make_reference(ReferenceSettings(engine="chgnet")))
    assert len(known.smaller) == len(first.polymorphs)
    assert all(len(atoms) == 2 for atoms in known.minima)
    assert same_crystal(known.minima[0], first.polymorphs[0].atoms)
    best = min(polymorph.energy for polymorph in second.polymorphs)
    # A supercell has the energy of its cell, and the search may find something lower.
    assert best < first.polymorphs[0].energy + 1e-3
    assert any(polymorph.origin == "earlier" for polymorph in second.polymorphs)


def test_the_lowest_minima_of_all_smaller_cells_come_first(tmp_path, monkeypatch):
    """Folders are compared by energy, equal crystals are handed on once, and few supercells are labelled."""
    layered = bulk("Al", "hcp", a=2.86, c=4.67)
    found = {
        "one": [(-3.60, bulk("Al")), (-3.40, bulk("Al", "bcc", a=3.2)), (-3.20, bulk("Al", "sc", a=2.7))],
        "two": [(-3.59, bulk("Al").repeat((2, 1, 1))), (-3.58, layered), (-3.0, bulk("Al", "diamond", a=6.0))],
    }
    for name in found:
        with RunFolder.create(tmp_path / name, to_toml(resolve_settings("Al", SETTINGS))) as folder:
            reference = make_reference(ReferenceSettings(engine="chgnet"))
            folder.set_fact("reference", {"name": "chgnet", "surrogate": True, "settings": reference.settings()})
            Search(folder, prepare(resolve_settings("Al", SETTINGS))).dispatcher.label_many([bulk("Al")], "train", 0)
    monkeypatch.setattr("nucleate.csp.labels_from._smaller", lambda path, settings: found[path.name])
    settings = resolve_settings("Al4", {**SETTINGS, "teacher": {"labels_from": [str(tmp_path / name) for name in found]}})
    known, _ = labels_known(settings, make_reference(ReferenceSettings(engine="chgnet")))
    assert [len(atoms) for atoms in known.smaller] == [1, 2, 1, 1, 2]
    assert len(known.minima) == HANDED_ON == 3
    assert all(len(atoms) == 4 for atoms in known.minima)
    assert same_crystal(known.minima[1], layered)


def test_minima_of_smaller_cells_beside_a_teacher(tmp_path, monkeypatch):
    """The first start and a resumed search know the same smaller cells."""
    smaller = [bulk("Al")]
    monkeypatch.setattr("nucleate.csp.stages.labels_known", lambda *args: (Known(smaller=smaller), []))
    monkeypatch.setattr("nucleate.csp.stages._teach", lambda *args: Known(source="teacher"))
    settings = resolve_settings("Al2", {**SETTINGS, "teacher": {"name": "7net-0", "labels_from": [str(tmp_path)]}})
    with RunFolder.create(tmp_path / "run", to_toml(settings)) as folder:
        assert what_is_known(folder, prepare(settings)).smaller == smaller


def test_units_follow_the_settings(tmp_path, monkeypatch):
    """The formula of a settings file is scaled as that of the command line is; a chemical system has no units."""
    asked = []

    def stop(settings, reference):
        asked.append(settings)
        raise BadInput("enough")

    monkeypatch.setattr(api, "prepare", stop)
    for formula, settings in ((None, {**SETTINGS, "formula": "Al4"}), ("Al4", SETTINGS)):
        with pytest.raises(BadInput, match="enough"):
            api.search(formula, settings=settings, units=2)
    assert [settings.formula for settings in asked] == ["Al2", "Al2"]
    with pytest.raises(BadInput, match="the chemical system Cu-Au has cells of all sizes"):
        api.search("Cu-Au", settings=SETTINGS, units=2)


def test_labels_of_the_settings_reach_every_size(tmp_path, monkeypatch):
    asked = []

    def record(formula, *, units, labels_from, **options):
        asked.append([str(path) for path in labels_from])
        return SearchResult(tmp_path / f"Z{units}", None, [], 0, None, None)

    monkeypatch.setattr(api, "search", record)
    api.search_sizes("Al", units=[1, 2], settings={**SETTINGS, "teacher": {"labels_from": ["/given"]}}, out=tmp_path)
    assert asked == [["/given"], ["/given", str(tmp_path / "Z1")]]


def test_a_repeated_series_calculates_nothing(series):
    again = api.search_sizes("Al", units=[1, 2], settings=SETTINGS, budget=40, seed=1, out=series[0].folder.parent)
    assert [result.calls for result in again] == [result.calls for result in series]
    energies = [[polymorph.energy for polymorph in result.polymorphs] for result in (*series, *again)]
    assert energies[:2] == energies[2:]


def test_cells_that_do_not_fit_are_not_handed_on(series):
    settings = resolve_settings("Al3", {**SETTINGS, "teacher": {"labels_from": [str(series[1].folder)]}})
    known, _ = labels_known(settings, make_reference(ReferenceSettings(engine="chgnet")))
    assert known.smaller == []
    assert known.minima == []


@pytest.mark.parametrize(("text", "numbers"), [("2", [2]), ("1..4", [1, 2, 3, 4]), (None, None)])
def test_numbers_of_formula_units(text, numbers):
    assert units_of(text) == numbers


@pytest.mark.parametrize("text", ["", "0", "4..1", "1..", "1-4", "²", "1..501", "1.5"])
def test_bad_numbers_of_formula_units(text):
    with pytest.raises(BadInput, match=r"--units .*give a number of formula units"):
        units_of(text)


def test_bad_sizes(tmp_path):
    for units in ([], [1, 1], [0], [501]):
        with pytest.raises(BadInput, match="units"):
            api.search_sizes("Al", units=units, settings=SETTINGS, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()
