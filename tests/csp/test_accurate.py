"""Accurate energies of the lowest polymorphs: which are calculated, which are relaxed again, and how they are ranked."""

import numpy as np
import pytest
from ase.build import bulk

from nucleate.csp.accurate import candidates, rank_accurately, reordered
from nucleate.csp.plan import prepare
from nucleate.csp.records import LoopState, Polymorph
from nucleate.csp.run_data import unresolved
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import ReferenceFailed
from nucleate.reference import Dispatcher, Ledger, ReferenceSettings, make_reference
from nucleate.reference.base import Label
from nucleate.relax.settings import RelaxSettings
from nucleate.report.run_text import accurate_line

SETTINGS = RelaxSettings(fmax=0.02, smax=0.1, max_steps=40, patience=40, pressure=0.0)
EMT = ReferenceSettings(engine="ase", calculator="ase.calculators.emt:EMT")


def polymorph(energy, accurate=None, atoms=None):
    atoms = bulk("Cu", cubic=True) if atoms is None else atoms
    return Polymorph(atoms, atoms, energy, 0.0, 0.0, "Fm-3m", 225, 0.0, "p1", 1, 1, 0, accurate=accurate)


def test_the_five_lowest_within_30_mev_are_calculated():
    minima = [polymorph(0.005 * k) for k in range(9)]
    assert [p.energy for p in candidates(minima)] == pytest.approx([0, 0.005, 0.01, 0.015, 0.02])
    assert candidates([polymorph(0.0), polymorph(0.031)]) == []
    assert candidates([]) == []


def test_only_pairs_whose_order_changes_beyond_the_resolution_are_relaxed_again():
    one, two, three = polymorph(0.0, 0.010), polymorph(0.004, 0.002), polymorph(0.020, 0.021)
    assert reordered([one, two, three], 0.003) == [one, two]
    assert reordered([one, two, three], 0.020) == []
    assert reordered([one, polymorph(0.004)], 0.003) == []


def test_accurate_energies_decide_the_order_and_what_is_degenerate():
    state = LoopState(polymorphs=[polymorph(0.0, 0.010), polymorph(0.004, 0.0095), polymorph(0.05), polymorph(-1.0)])
    state.polymorphs[-1].check = "saddle"
    assert [p.energy for p in state.ranking()] == [0.004, 0.0, 0.05, -1.0]
    assert [p.energy for p in state.minima()] == [0.004, 0.0, 0.05]
    assert unresolved(state.minima(), 3.0) == [[2], [1], []]
    assert [p.accurate for p in LoopState.from_dict(state.as_dict()).polymorphs] == [0.010, 0.0095, None, None]


def test_energies_at_the_standard_geometry_and_relaxations_where_the_order_changes(tmp_path):
    """The accurate reference is EMT; the standard energies put bcc below fcc, which EMT does not."""
    fcc, bcc = bulk("Cu", a=3.6, cubic=True), bulk("Cu", "bcc", a=2.87, cubic=True)
    pair = [polymorph(-0.02, atoms=bcc), polymorph(-0.005, atoms=fcc)]
    with Dispatcher(make_reference(EMT), Ledger(tmp_path / "accurate.db"), workers=0) as dispatcher:
        cost = rank_accurately(pair, dispatcher, SETTINGS, 0.003)
        assert cost["relaxed"] == 2
        assert cost["calls"] == dispatcher.calls() > 2
    assert pair[1].accurate < pair[0].accurate
    # Again from the ledger, without a calculation, as after a kill.
    with Dispatcher(make_reference(EMT), Ledger(tmp_path / "accurate.db"), workers=0) as dispatcher:
        energies = [p.accurate for p in pair]
        assert rank_accurately(pair, dispatcher, SETTINGS, 0.003)["calls"] == cost["calls"]
    assert [p.accurate for p in pair] == pytest.approx(energies, abs=1e-9)


def test_one_failed_calculation_keeps_the_order_of_the_search(tmp_path):
    """Otherwise the polymorph without an accurate energy would be listed after those that have one."""

    class Fails:
        name, surrogate = "fails", True

        def settings(self):
            return {}

        def k_points(self, atoms):
            return None

        def label(self, atoms):
            if atoms.get_volume() < 47:
                raise ReferenceFailed("out of memory")
            return Label(-1.0, np.zeros((len(atoms), 3)), np.zeros(6))

    pair = [polymorph(0.0, atoms=bulk("Cu", a=3.6)), polymorph(0.01, atoms=bulk("Cu", a=5.8))]
    with Dispatcher(Fails(), Ledger(tmp_path / "accurate.db"), workers=0) as dispatcher:
        cost = rank_accurately(pair, dispatcher, SETTINGS, 0.003)
    assert (cost["calls"], cost["failed"], cost["relaxed"], cost["ranked"]) == (2, 1, 0, False)
    assert [p.accurate for p in pair] == [None, None]
    assert [p.energy for p in LoopState(polymorphs=pair).ranking()] == [0.0, 0.01]
    assert accurate_line(cost).startswith("1 of 2 calculations")


def test_which_references_have_an_accurate_preset():
    pytest.importorskip("gpaw")
    plan = prepare(settings_from_dict({"formula": "Si2"}))
    assert plan.accurate is not None
    assert plan.accurate.settings() != plan.reference.settings()
    assert prepare(settings_from_dict({"formula": "Si2", "reference": {"preset": "accurate"}})).accurate is None
    assert prepare(settings_from_dict({"formula": "Si2", "reference": EMT.model_dump()})).accurate is None
