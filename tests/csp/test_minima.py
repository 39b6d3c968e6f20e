"""Searches of every minimum within a window."""

import numpy as np
import pytest
from ase.build import bulk

from nucleate import api
from nucleate.csp.evolution.pool import Pool
from nucleate.csp.evolution.records import EvolutionRecord
from nucleate.csp.leads import new_leads
from nucleate.csp.loop import Search
from nucleate.csp.minima.coverage import expected_number, unseen_probability
from nucleate.csp.minima.space import MinimaSpace
from nucleate.csp.plan import prepare
from nucleate.csp.records import Lead, LoopState, Polymorph
from nucleate.csp.resolve import resolve_settings
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.settings import SearchSettings
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.persist.toml import to_toml
from nucleate.relax.batched import Relaxed

DIAMOND = bulk("Si", "diamond", a=5.43)
TIN = bulk("Si", "bct", a=4.8, c=2.65).repeat((2, 1, 1))
SIMPLE = bulk("Si", "sc", a=2.5).repeat((2, 1, 1))
SETTINGS = {"reference": {"engine": "chgnet"}, "minima": {"window": 100}}


def polymorph(atoms, energy):
    return Polymorph(atoms, atoms, energy, 0.01, 0.01, "P1", 1, 0.0, "p1", 10, 2, 1)


def lead(energy):
    return Lead(DIAMOND, DIAMOND, energy, 0.0, 0.0, "p1", np.zeros((2, 3)), np.zeros(6))


@pytest.fixture
def space():
    return MinimaSpace(resolve_settings("Si2", SETTINGS))


def pool_of(ends, origins, parents=None):
    pool = Pool([], 3, (14,), EvolutionRecord())
    pool.enter([Candidate(atoms, origin) for (atoms, _), origin in zip(ends, origins, strict=True)], parents)
    pool.relaxed([Relaxed(atoms, energy * len(atoms), 0.0, 0.01, "converged", 3) for atoms, energy in ends])
    return pool


def test_estimates():
    """One of ten finds is a single one; with one single and one double, half a minimum more is expected than found."""
    assert unseen_probability([5, 4, 1]) == pytest.approx(0.1)
    assert unseen_probability([]) == unseen_probability([0, 0]) == 1.0
    assert unseen_probability([3, 2, 0]) == 0.0
    assert expected_number([5, 4, 1]) == 3
    assert expected_number([1, 1, 1, 2]) == pytest.approx(4 + 3 * 2 / 4)


def test_the_estimates_follow_a_simulation():
    """The mean of the estimated unseen probability is the true one, for finds with unequal probabilities."""
    rng = np.random.default_rng(0)
    shares = 0.5 ** np.arange(1, 9)
    shares /= shares.sum()
    estimated, true = [], []
    for _ in range(2000):
        counts = np.bincount(rng.choice(8, size=30, p=shares), minlength=8)
        estimated.append(unseen_probability(counts.tolist()))
        true.append(shares[counts == 0].sum())
    # The bias of the estimate is below 1/30, the error of the mean below 0.002.
    assert np.mean(estimated) == pytest.approx(np.mean(true), abs=1 / 30)
    assert np.mean(true) > 1 / 60


def test_all_leads_within_the_window_are_urgent(space):
    state = LoopState(polymorphs=[polymorph(DIAMOND, -5.4)])
    leads = [lead(-5.5), lead(-5.35), lead(-5.25)]
    assert space.urgent(leads, state) == leads[:2]
    assert space.urgent(leads, LoopState()) == leads
    state.leads = leads[2:]
    assert not space.pending(state)
    state.leads = leads[1:2]
    assert space.pending(state)


def test_minima_within_the_window(space):
    state = LoopState(polymorphs=[polymorph(TIN, -5.32), polymorph(DIAMOND, -5.4), polymorph(SIMPLE, -5.1)])
    assert [item.energy for item in space.lowest(state)] == [-5.4, -5.32]
    assert space.shown(2) == "the 2 polymorphs within 100 meV/atom"


def test_random_candidates_are_counted(space):
    """Finds of random candidates count, those of children and seeds do not; minima above the window are left out."""
    state = LoopState(polymorphs=[polymorph(DIAMOND, -5.4), polymorph(TIN, -5.32), polymorph(SIMPLE, -5.1)])
    ends = [(DIAMOND, -5.4), (DIAMOND, -5.4), (TIN, -5.32), (SIMPLE, -5.1), (DIAMOND, -5.4)]
    pool = pool_of(ends, ["p1", "symmetric", "p1", "p1", "seed"])
    assert space.chance(pool, [], state) == pytest.approx(1 / 3)
    assert [item.met for item in state.polymorphs] == [2, 1, 0]
    assert space.chance(pool_of(ends[2:3], ["strain"], [("1.1",)]), [], state) == pytest.approx(1 / 3)
    # A minimum of the committee without a label is not known yet; above the window it does not matter.
    assert space.chance(pool, [3], state) == 0.0
    assert [item.met for item in state.polymorphs] == [4, 2, 0]
    assert space.chance(pool, [2], state) == 1.0
    assert space.chance(pool, [], LoopState()) == 1.0


def test_discoveries_are_counted(space):
    """All random candidates that ended in a minimum before it had a label are finds of it, which its lead hands to the polymorph."""
    ends = [(DIAMOND, -5.4), (TIN, -5.38), (TIN, -5.38), (TIN, -5.38), (SIMPLE, -5.1)]
    pool = pool_of(ends, ["p1"] * 5)
    assert space.finds(pool, [1, 0]) == [3, 1]
    assert space.finds(pool, [4]) == [0]
    assert space.finds(pool, []) == []


def test_finds_in_minima_without_a_polymorph_are_single(space):
    """A candidate in a minimum that has a label and never became a polymorph is a find of something unseen."""
    state = LoopState(polymorphs=[polymorph(DIAMOND, -5.4)])
    pool = pool_of([(DIAMOND, -5.4)] * 3 + [(TIN, -5.38)], ["p1"] * 4)
    assert space.chance(pool, [], state) == pytest.approx(1 / 4)


def test_the_estimate_with_discoveries_is_calibrated():
    """Searches that count as this one does, and end at 5 %, leave about 5 % unseen, with one common and many rare minima."""
    rng = np.random.default_rng(0)
    shares = np.array([0.6, *[0.4 / 100] * 100])
    left = []
    for _ in range(100):
        counts = np.zeros(101, dtype=int)
        while counts.sum() < 20 or unseen_probability(counts.tolist()) > 0.05:
            counts += rng.multinomial(20, shares)
        left.append(shares[counts == 0].sum())
    # The mean over 100 searches has an error of 0.003; without the first finds it is 0.27.
    assert np.mean(left) == pytest.approx(0.05, abs=0.02)


def test_finds_survive_a_duplicate_and_a_lower_geometry():
    first, second = lead(-5.4), lead(-5.4)
    first.met, second.met = 3, 4
    state = LoopState()
    new_leads(state, [first, second], SearchSettings(), (14,))
    assert [item.met for item in state.leads] == [7]


@pytest.mark.parametrize(("chance", "ends"), [(0.5, False), (0.01, True)])
def test_a_search_without_candidates_ends_only_when_little_is_unseen(tmp_path, chance, ends):
    plan = prepare(resolve_settings("Si2", SETTINGS))
    with RunFolder.create(tmp_path / "run", to_toml(plan.settings)) as folder:
        search = Search(folder, plan)
        search.state = LoopState(round=2, polymorphs=[polymorph(DIAMOND, -5.4)], chance=chance, top=[-5.0])
        search._judge(3, asked=False)
        assert (search.state.finished is not None) == ends
        search.dispatcher.close()


@pytest.mark.parametrize(
    ("goal", "window", "stated", "setting"),
    [
        (None, None, None, None), (None, None, 80.0, None), (None, 30.0, 80.0, 30.0), ("minima", None, None, 50.0),
        ("minima", None, 80.0, None), ("minima", 30.0, None, 30.0), ("lowest", None, 80.0, "unset"), ("lowest", None, None, None),
    ],
)  # fmt: skip
def test_goal_and_window_beside_those_of_the_settings(goal, window, stated, setting):
    """None leaves the setting as it is."""
    assert api._window(goal, window, stated) == setting


@pytest.mark.parametrize(
    ("formula", "options", "said"),
    [
        ("Mg-Si", SETTINGS, "not for a chemical system"),
        ("Si2", {**SETTINGS, "dimensions": 0}, "not for clusters"),
        ("Si2", {"reference": {"engine": "chgnet"}, "minima": {"unseen": 0.1}}, "minima.unseen has no effect without a window"),
        ("Si2", {"reference": {"engine": "chgnet"}, "minima": {"window": 200}}, "increase search.window"),
        ("Si2", {**SETTINGS, "search": {"top": 7}}, "search.top has no effect on the goal minima"),
        ("Si2", {**SETTINGS, "search": {"clear_window": 20}}, "search.clear_window has no effect on the goal minima"),
    ],
)
def test_what_has_no_effect_is_refused(formula, options, said):
    with pytest.raises(BadInput, match=said):
        prepare(resolve_settings(formula, options))


def test_bad_goals():
    with pytest.raises(BadInput, match="goal 'all' is unknown; choose lowest or minima"):
        api.search("Si2", goal="all")
    with pytest.raises(BadInput, match="window 50 has no effect without --goal minima"):
        api.search("Si2", window=50)


def test_a_search_of_minima(tmp_path):
    """Aluminium in a cell of one atom has one minimum, fcc, which random candidates find again and again."""
    options = {
        "reference": {"engine": "chgnet"},
        "search": {"pool": 30, "keep": 10, "first_batch": 6, "max_rounds": 8, "quiet_rounds": 2, "budget": 60, "proof": False},
        "model": {"channels": 4, "hidden": 8, "members": 2},
        "training": {"steps": 80, "warm_steps": 40},
        "relax": {"max_steps": 60, "workers": 1},
    }
    result = api.search("Al", settings=options, goal="minima", window=30, seed=0, out=tmp_path / "run")
    data = api.show(result.folder)
    assert data["minima"]["found"] == len([p for p in data["polymorphs"] if p["above_best"] <= 30 and p["check"] != "saddle"])
    assert sum(data["minima"]["met"]) > 5
    assert data["polymorphs"][0]["space_group"] == "Fm-3m"
    assert data["minima"]["unseen"] < 0.2


@pytest.mark.parametrize(("formula", "given"), [("Si2", SETTINGS), ("Mg-Si", {"reference": {"engine": "chgnet"}})])
def test_the_default_top_of_earlier_versions_is_not_refused_where_it_has_no_effect(formula, given):
    """Their folders state it; any other number was given by the user."""
    for top in (1, 5):
        _ = prepare(resolve_settings(formula, {**given, "search": {"top": top}})).space
    with pytest.raises(BadInput, match=r"search\.top has no effect"):
        _ = prepare(resolve_settings(formula, {**given, "search": {"top": 2}})).space
