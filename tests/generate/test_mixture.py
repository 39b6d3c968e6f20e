from collections import Counter

import numpy as np
import pytest
from ase.build import bulk

from nucleate.errors import BadInput
from nucleate.generate import GenerateSettings, make_generator
from tests.generate.conftest import same


def test_seeds_first_then_the_shares():
    seeds = [bulk("Si", a=a) for a in (5.3, 5.4)]
    generator = make_generator({"Si": 8}, GenerateSettings(symmetric_share=0.8, workers=1), seeds)
    rng = np.random.default_rng(0)
    made = generator.propose(52, rng)
    assert [c.origin for c in made[:2]] == ["seed", "seed"]
    assert Counter(c.origin for c in made) == {"seed": 2, "symmetric": 40, "p1": 10}
    assert "seed" not in {c.origin for c in generator.propose(10, rng)}


def test_small_batches_keep_the_shares_on_average():
    generator = make_generator({"Si": 2}, GenerateSettings(symmetric_share=0.7, workers=1))
    rng = np.random.default_rng(0)
    origins = Counter(c.origin for _ in range(100) for c in generator.propose(1, rng))
    assert 55 <= origins["symmetric"] <= 85
    assert sum(origins.values()) == 100


@pytest.mark.parametrize(("share", "origin"), [(1.0, "symmetric"), (0.0, "p1")])
def test_pure_shares(share, origin):
    generator = make_generator({"Si": 4}, GenerateSettings(symmetric_share=share, workers=1))
    assert {c.origin for c in generator.propose(5, np.random.default_rng(0))} == {origin}


def test_repeats_with_the_same_seed():
    settings = GenerateSettings(workers=1)
    runs = [make_generator({"Al": 4, "O": 6}, settings).propose(15, np.random.default_rng(7)) for _ in range(2)]
    assert all(same(a.atoms, b.atoms) for a, b in zip(*runs, strict=True))


def test_bad_seeds_are_refused():
    with pytest.raises(BadInput, match="composition Ge2"):
        make_generator({"Si": 8}, None, bulk("Ge"))
