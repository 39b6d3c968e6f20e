"""The stop rule on states made by hand: no search is run."""

import numpy as np
import pytest
from ase.build import bulk

from nucleate.csp.evolution.pool import Pool
from nucleate.csp.evolution.records import Birth
from nucleate.csp.loop import Search
from nucleate.csp.plan import prepare
from nucleate.csp.records import Carried, Lead, Polymorph
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.fingerprints.selection import fingerprints
from nucleate.generate.base import Candidate
from nucleate.persist.toml import to_toml
from nucleate.reference.base import Label
from nucleate.relax.batched import CONVERGED, EXPLODED, Relaxed


class Silent:
    """Never asked."""

    name = "silent"
    surrogate = True

    def settings(self):
        return {}

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        raise AssertionError("the stop rule asks no reference")


def polymorph(energy):
    atoms = bulk("Cu")
    return Polymorph(atoms, atoms, energy, 0.0, 0.0, "Fm-3m", 225, 0.0, "p1", 1, 1, 0)


def lead(energy, status="open"):
    return Lead(bulk("Cu"), bulk("Cu"), energy, 0.0, 0.0, "p1", np.zeros((1, 3)), np.zeros(6), status=status)


@pytest.fixture
def search(tmp_path):
    settings = settings_from_dict(
        {"formula": "Cu1", "search": {"top": 2, "resolution": 3.0, "quiet_rounds": 2, "max_rounds": 10, "budget": 5, "check": False}}
    )
    with RunFolder.create(tmp_path / "run", to_toml(settings)) as folder:
        yield Search(folder, prepare(settings, Silent()))


def judged(search, *energies, round=1, asked=True, leads=(), clear=False):
    search.state.polymorphs = [polymorph(energy) for energy in energies]
    search.state.leads = list(leads)
    search._count_quiet(clear)
    search._judge(round, asked)
    return search.state.finished


def test_stops_after_quiet_rounds(search):
    assert judged(search, -3.0, -2.9) is None
    assert judged(search, -3.0, -2.9) is None
    assert search.state.quiet == 1
    assert "stayed the same for 2 rounds" in judged(search, -3.0, -2.9)


def test_change_at_the_top_starts_the_count_again(search):
    judged(search, -3.0, -2.9)
    judged(search, -3.0, -2.9)
    assert judged(search, -3.1, -3.0, -2.9) is None
    assert search.state.quiet == 0
    judged(search, -3.1, -3.0, -2.9)
    assert judged(search, -3.1, -3.0, -2.9) is not None


def test_change_below_the_resolution_or_below_the_top_is_none(search):
    judged(search, -3.0, -2.9)
    judged(search, -3.002, -2.9, -2.0)
    assert search.state.quiet == 1
    judged(search, -3.002, -2.9, -2.0, -1.0)
    assert search.state.finished is not None


def test_a_clear_round_counts_twice(search):
    judged(search, -3.0, -2.9, clear=True)
    assert search.state.clear == 0
    finished = judged(search, -3.0, -2.9, clear=True)
    assert "stayed the same for 1 round, with no other candidate within 50 meV/atom" in finished


def test_clear_rounds_before_a_change_do_not_count(search):
    search.settings.search.quiet_rounds = 4
    judged(search, -3.0, -2.9)
    judged(search, -3.0, -2.9, clear=True)
    assert judged(search, -3.1, -2.9, clear=True) is None
    assert (search.state.quiet, search.state.clear) == (0, 0)
    judged(search, -3.1, -2.9, clear=True)
    judged(search, -3.1, -2.9)
    assert "for 3 rounds, in 1 of them with no other candidate" in judged(search, -3.1, -2.9)


def test_promising_lead_keeps_the_search_going(search):
    for _ in range(5):
        assert judged(search, -3.0, -2.9, leads=[lead(-3.5)]) is None
    assert search.state.quiet == 0
    judged(search, -3.0, -2.9, leads=[lead(-3.5, "dropped")])
    assert judged(search, -3.0, -2.9, leads=[lead(-3.5, "confirmed"), lead(-1.0)]) is not None


def test_label_below_the_best_polymorph_keeps_the_search_going(search):
    """It may be too strained to be followed yet; its minimum lies lower still."""
    strained = bulk("Cu", a=4.2)
    search.space.add([strained], [Label(-3.5, np.zeros((1, 3)), np.zeros(6))])
    for _ in range(5):
        assert judged(search, -3.0, -2.9) is None
    assert judged(search, -3.499, -3.0) is None
    assert judged(search, -3.499, -3.0) is None
    assert "stayed the same for 2 rounds" in judged(search, -3.499, -3.0)


def checked(search, monkeypatch, verdicts):
    """The search with a softest-mode check that gives these verdicts by energy; returns the energies checked in each call."""
    asked = []

    def run(self, polymorphs, model, round):
        asked.append([polymorph.energy for polymorph in polymorphs])
        for polymorph in polymorphs:
            polymorph.check = verdicts[polymorph.energy]
        return [Result(polymorph) for polymorph in polymorphs]

    class Result:
        def __init__(self, polymorph):
            self.polymorph, self.verdict = polymorph, polymorph.check

        def lead(self, pressure):
            return lead(self.polymorph.energy - 0.5)

    search.settings.search.check = True
    search.learner._learned = Learned()
    monkeypatch.setattr("nucleate.csp.loop.SoftestModeCheck.run", run)
    return asked


class Learned:
    """Stands in for a committee."""

    prior_name = None


def test_the_search_ends_after_its_lowest_polymorphs_are_checked(search, monkeypatch):
    asked = checked(search, monkeypatch, {-3.0: "minimum", -2.9: "minimum", -2.0: "saddle"})
    for _ in range(3):
        judged(search, -3.0, -2.9, -2.0)
    assert asked == [[-3.0, -2.9]]
    assert "stayed the same for 2 rounds" in search.state.finished


def test_a_saddle_among_the_lowest_continues_the_search(search, monkeypatch):
    asked = checked(search, monkeypatch, {-3.0: "saddle", -2.9: "minimum"})
    for _ in range(3):
        judged(search, -3.0, -2.9)
    assert asked == [[-3.0, -2.9]]
    assert search.state.finished is None
    assert search.state.quiet == 0
    assert [each.energy for each in search.state.leads] == [-3.5]
    assert [each.energy for each in search.state.minima()] == [-2.9]
    assert search.state.ranking()[-1].energy == -3.0


def test_no_polymorph_is_never_quiet(search):
    for _ in range(5):
        assert judged(search, leads=[lead(-1.0)]) is None


def test_last_round(search):
    assert "limit of 10 rounds" in judged(search, round=10)


def test_nothing_left_to_ask(search):
    assert judged(search, asked=False, leads=[lead(-1.0)]) is None
    assert "known to the reference" in judged(search, asked=False)


def test_spent_budget(search):
    for k in range(5):
        search.folder.ledger.begin(str(k), bulk("Cu"), "silent", {}, "train", 0)
        search.folder.ledger.finish(str(k), Label(0.0, np.zeros((1, 3)), np.zeros(6)), 0.0)
    assert "budget" in judged(search)


def test_a_candidate_that_explodes_when_it_is_relaxed_further_stays_as_it_was(search, monkeypatch):
    atoms, moved = bulk("Cu"), bulk("Cu", a=3.7)
    before = Relaxed(atoms, -3.0, 0.0, 0.04, CONVERGED, 5)
    pool = Pool([Carried(atoms, "p1"), Carried(atoms, "p1")], 1, (29,), search.state.evolution)
    pool.relaxed([before, before])
    after = [Relaxed(moved, -3.1, 0.0, 0.001, CONVERGED, 9), Relaxed(moved, -90.0, 0.0, 9.0, EXPLODED, 9)]
    monkeypatch.setattr(search, "_relaxed", lambda structures, closely: after)
    search._relax_closely(pool, [0, 1])
    assert pool.ends == [after[0], before]
    assert np.allclose(pool.vectors, fingerprints([moved, atoms], (29,)))


CU, LONG, FLAT = bulk("Cu"), bulk("Cu", "bct", a=2.5, c=5.0), bulk("Cu", "bct", a=3.4, c=2.6)


@pytest.mark.parametrize(
    ("found", "height", "window", "clear"),
    [
        (CU, 0.06, 50.0, True),
        (CU, 0.04, 50.0, False),
        (CU, 0.04, 30.0, True),
        # The round has not found the lowest polymorph again, or only in what was carried, given or bred.
        (FLAT, 0.06, 50.0, False),
        ("carried", 0.06, 50.0, False),
        ("seed", 0.06, 50.0, False),
        ("child", 0.06, 50.0, False),
    ],
)
def test_a_round_is_clear(search, found, height, window, clear):
    """Random candidates end at the lowest polymorph, and no minimum of the committee without a label is near it."""
    search.settings.search.clear_window = window
    search.settings.search.top = 1
    search.state.polymorphs = [polymorph(-3.0)]
    search.state.evolution.births["0.1"] = Birth("p1", (), 0)
    pool = Pool([Carried(CU, "p1", "0.1")] if found == "carried" else [], 1, (29,), search.state.evolution)
    if found == "child":
        pool.enter([Candidate(CU, "heredity", 1)], [("0.1", "0.1")])
    elif found != "carried":
        pool.enter([Candidate(CU, "seed", -1)] if found == "seed" else [Candidate(found, "p1", 1)])
    pool.enter([Candidate(LONG, "p1", 1)])
    pool.relaxed([Relaxed(item.atoms, -3.0 + place * height, 0.0, 0.0, CONVERGED, 5) for place, item in enumerate(pool.items)])
    assert search.space.clear(pool, [1], search.state) is clear
