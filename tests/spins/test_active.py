"""Active choice: it asks for what it does not know, pays for failures, and never looks at answers before it asks."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.errors import BadInput
from nucleate.spins.models.active import ActiveSettings, choose, learn_actively
from nucleate.spins.models.data import Pairs, write_pairs
from nucleate.spins.models.features import element_features
from nucleate.spins.models.kernel import PairGaussianProcess

METALS = ("Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Y", "Zr", "Nb", "Mo")


def pool():
    elements = [(a, b) for k, a in enumerate(METALS) for b in METALS[k:]]
    d = np.array([[element_features(a)[2], element_features(b)[2]] for a, b in elements])
    return Pairs.of_elements(elements, 10 * np.cos(0.7 * d.sum(axis=1)) - np.abs(d[:, 0] - d[:, 1]))


def blind(pairs):
    return pairs.with_couplings(np.full(len(pairs), np.nan))


def test_variance_asks_where_nothing_is_known():
    pairs = pool()
    known = [k for k, (a, b) in enumerate(pairs.elements) if {a, b} <= set(METALS[:7])]
    rest = [k for k in range(len(pairs)) if k not in known]
    model = PairGaussianProcess(0, 1).fit(pairs.take(known))
    rows = choose(blind(pairs), known, rest, 6, model, "variance", np.random.default_rng(0))
    assert len(set(rows)) == 6
    assert set(rows) <= set(rest)
    errors = model.predict(pairs.take(rest))[1]
    assert model.predict(pairs.take(rows[:1]))[1][0] == pytest.approx(errors.max(), rel=1e-6)
    # A batch is not six times the same question: together they tell more than the six least known one by one.
    greedy = np.array(rest)[np.argsort(-errors)[:6]]

    def volume(chosen):
        c = model.covariance(pairs.take(chosen)) / model.noise**2
        return np.linalg.slogdet(np.eye(6) + c)[1]

    assert volume(rows) >= volume(greedy) - 1e-9


def test_an_observable_moves_the_choice():
    pairs = pool()
    known, rest = list(range(20)), list(range(20, len(pairs)))
    model = PairGaussianProcess(0, 1).fit(pairs.take(known))
    slopes = np.zeros(len(pairs))
    slopes[33] = 1.0
    assert choose(pairs, known, rest, 1, model, "observable", np.random.default_rng(0), slopes) == [33]
    with pytest.raises(BadInput, match="derivative of the observable"):
        choose(pairs, known, rest, 1, model, "observable", np.random.default_rng(0))
    with pytest.raises(BadInput, match="unknown strategy"):
        choose(pairs, known, rest, 1, model, "luck", np.random.default_rng(0))


@pytest.mark.parametrize("strategy", ["random", "variance", "diversity"])
def test_a_pool_is_learned_within_its_budget(strategy):
    pairs = pool()
    asked = []

    def label(row):
        asked.append(row)
        return None if row % 10 == 3 else float(pairs.couplings[row])

    steps = []
    ended = learn_actively(blind(pairs), label, ActiveSettings(strategy, first=8, batch=6, budget=30, components=0), progress=steps.append)
    assert list(ended.asked) == asked
    assert len(asked) == len(set(asked)) == 30
    assert not any(row % 10 == 3 for row in ended.known)
    assert [len(s.asked) for s in steps] == [8, 14, 20, 26, 30]
    again = learn_actively(blind(pairs), label, ActiveSettings(strategy, first=8, batch=6, budget=30, components=0))
    assert again.asked == ended.asked


def test_variance_beats_chance_here():
    pairs = pool()
    errors = {}
    for strategy in ("random", "variance"):
        found = []
        for seed in range(4):
            settings = ActiveSettings(strategy, first=8, batch=8, budget=40, components=0, seed=seed)
            ended = learn_actively(blind(pairs), lambda row: float(pairs.couplings[row]), settings)
            rest = np.setdiff1d(np.arange(len(pairs)), ended.asked)
            found.append(np.sqrt(((ended.model.predict(pairs.take(rest))[0] - pairs.couplings[rest]) ** 2).mean()))
        errors[strategy] = np.mean(found)
    assert errors["variance"] < errors["random"]


def test_too_little_is_said():
    pairs = pool()
    with pytest.raises(BadInput, match="first batch"):
        learn_actively(pairs, lambda row: 0.0, ActiveSettings(first=3))
    with pytest.raises(BadInput, match="0 of 8 labels succeeded"):
        learn_actively(pairs, lambda row: None, ActiveSettings(first=8))


def test_the_verb_suggests(tmp_path):
    pairs = pool()
    write_pairs(tmp_path / "known.csv", pairs.take(range(30)))
    write_pairs(tmp_path / "pool.csv", pairs.take(range(30, 60)))
    for arguments in (["train", "known.csv", "--out", "m"], ["suggest", "m", "pool.csv", "--count", "3", "--json"]):
        paths = [str(tmp_path / a) if a in ("known.csv", "pool.csv", "m") else a for a in arguments]
        ended = CliRunner().invoke(app, ["spins", *paths], catch_exceptions=False)
        assert ended.exit_code == 0
    assert len({p["row"] for p in json.loads(ended.stdout)["pairs"]}) == 3
