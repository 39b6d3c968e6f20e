"""Searches of cells of several sizes, which hand their minima on."""

import pytest

from nucleate import api
from nucleate.cli.csp import units_of
from nucleate.csp.labels_from import labels_known
from nucleate.csp.resolve import resolve_settings
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import same_crystal
from nucleate.reference import make_reference
from nucleate.reference.settings import ReferenceSettings

SETTINGS = {
    "reference": {"engine": "chgnet"},
    "search": {"pool": 24, "keep": 8, "first_batch": 5, "max_rounds": 4, "quiet_rounds": 1, "proof": False, "check": False},
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
