import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal

from nucleate.csp.select import first_candidates, score, select, simplest
from nucleate.csp.settings import SearchSettings
from nucleate.relax.batched import COLLAPSED, CONVERGED, EXPLODED, UNCERTAIN, Relaxed

SETTINGS = SearchSettings(symmetric_slots=0, uncertain_slots=0, diverse_slots=0, cluster_tolerance=0.03)


def low_symmetry(seed=0):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.4, seed=seed)
    return atoms


def end(energy, fmax=0.01, sigma=0.0, stop=CONVERGED, atoms=None):
    """An end point of 4 atoms with this energy per atom."""
    return Relaxed(atoms or low_symmetry(), 4 * energy, sigma, fmax, stop, 10)


def spots(*angles):
    """Unit vectors in the plane: the distance of two is nearly their angle."""
    angles = np.array(angles)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


NONE = np.zeros((0, 2))


def test_score_published():
    ends = [end(-1.0), end(-1.0, fmax=0.4), end(-1.0, fmax=50.0), end(-3.0, stop=EXPLODED), end(-3.0, stop=COLLAPSED), end(np.nan)]
    values = score(ends, SETTINGS)
    assert values[:3] == pytest.approx([-1.005, -1.2, -1.5])
    assert np.isinf(values[3:]).all()


def test_score_lower_confidence_bound():
    settings = SearchSettings(score="lcb", score_weight=2.0)
    assert score([end(-1.0, sigma=0.1, fmax=9.0)], settings)[0] == pytest.approx(-1.2)


def test_one_a_cluster_best_first():
    ends = [end(-1.0), end(-1.2), end(-1.1), end(-0.5)]
    vectors = spots(0.0, 0.01, 1.0, 2.0)
    chosen = select(ends, vectors, [], NONE, SETTINGS, 10)
    assert [c.index for c in chosen.choices] == [1, 2, 3]
    assert chosen.heads == [1, 2, 3]
    assert {c.why for c in chosen.choices} == {"score"}


def test_none_that_the_reference_has_seen():
    ends = [end(-1.0), end(-1.2), end(-1.1)]
    vectors = spots(0.0, 1.0, 2.0)
    chosen = select(ends, vectors, [low_symmetry()] * 2, spots(1.01, 2.5), SETTINGS, 10)
    assert [c.index for c in chosen.choices] == [2, 0]
    # Carried on all the same.
    assert chosen.heads == [1, 2, 0]


def test_never_more_than_asked():
    ends = [end(-k) for k in range(9)]
    settings = SETTINGS.model_copy(update={"symmetric_slots": 5, "uncertain_slots": 5})
    for count in (0, 1, 4, 20):
        chosen = select(ends, spots(*np.arange(9) / 3), [], NONE, settings, count).choices
        assert len(chosen) == min(count, 9)
        assert len({c.index for c in chosen}) == len(chosen)


def test_slots_for_symmetric_and_uncertain_end_points():
    ends = [
        end(-5.0), end(-4.0), end(-1.0, atoms=bulk("Cu", cubic=True)), end(-0.5, atoms=bulk("Cu", cubic=True)),
        end(-0.2, stop=UNCERTAIN), end(-0.1, stop=UNCERTAIN),
    ]  # fmt: skip
    settings = SETTINGS.model_copy(update={"symmetric_slots": 1, "uncertain_slots": 1})
    chosen = select(ends, spots(0, 0.5, 1, 1.5, 2, 2.5), [], NONE, settings, 4).choices
    assert [(c.index, c.why) for c in chosen] == [(2, "symmetric"), (4, "uncertain"), (0, "score"), (1, "score")]


def test_unused_slots_go_to_the_score():
    ends = [end(-5.0), end(-4.0), end(-3.0)]
    settings = SETTINGS.model_copy(update={"symmetric_slots": 2, "uncertain_slots": 2})
    chosen = select(ends, spots(0, 1, 2), [], NONE, settings, 3).choices
    assert [(c.index, c.why) for c in chosen] == [(0, "score"), (1, "score"), (2, "score")]


def test_exploded_end_points_are_neither_chosen_nor_carried():
    ends = [end(-9.0, stop=EXPLODED), end(np.inf), end(-1.0)]
    chosen = select(ends, spots(0, 1, 2), [], NONE, SETTINGS, 3)
    assert [c.index for c in chosen.choices] == [2]
    assert chosen.heads == [2]


def test_diverse_slots_go_furthest_from_all_that_is_labelled():
    ends = [end(-1.0 + 0.01 * k) for k in range(8)]
    vectors = spots(0.1, 0.2, 0.3, 1.5, 2.9, 3.0, 3.1, 3.14)
    settings = SETTINGS.model_copy(update={"diverse_slots": 1})
    chosen = select(ends, vectors, [low_symmetry()], spots(0.0), settings, 2).choices
    # The upper half by energy (from 2.9 on) is further away still, but too high.
    assert [(c.index, c.why) for c in chosen] == [(3, "diverse"), (0, "score")]


def test_diverse_choices_are_far_from_each_other():
    ends = [end(-1.0 + 0.01 * k) for k in range(8)]
    vectors = spots(0.5, 1.4, 1.5, 1.3, 2.9, 3.0, 3.1, 3.14)
    settings = SETTINGS.model_copy(update={"diverse_slots": 2})
    chosen = select(ends, vectors, [low_symmetry()], spots(0.0), settings, 2).choices
    # 1.4 and 1.3 are further from what is known than 0.5, but close to 1.5, which is taken.
    assert [c.index for c in chosen] == [2, 0]


def test_the_simplest_structures_have_few_inequivalent_atoms_and_high_symmetry():
    diamond, layered = bulk("Si", cubic=True), bulk("Mg")
    sheared = diamond.copy()
    sheared.set_cell(np.diag([5.4, 5.6, 5.9]), scale_atoms=True)
    corundum = crystal(["Al", "O"], [(0, 0, 0.352), (0.306, 0, 0.25)], spacegroup=167, cellpar=[4.76, 4.76, 12.99, 90, 90, 120])
    # Point groups of order 8 and 12, one inequivalent atom of each element, among 27 structures without symmetry.
    structures = [low_symmetry(seed) for seed in range(27)] + [corundum, sheared, diamond, layered]
    assert simplest(structures) == [29, 30, 27, 28]
    assert simplest(structures[:29]) == [27, 28]
    assert simplest([low_symmetry()]) == simplest([]) == []


def test_the_first_batch_is_symmetric_in_part():
    structures = [low_symmetry(seed) for seed in range(36)] + [bulk("Si"), bulk("Mg"), bulk("Ti"), bulk("Cu")]
    angles = np.linspace(0, 3, 40)

    def batch(count, symmetric):
        return first_candidates(structures, spots(*angles), count, symmetric, (np.random.default_rng(0), np.random.default_rng(1)))

    chosen = batch(6, 2)
    assert len(set(chosen)) == 6
    assert sorted(k >= 36 for k in chosen[:2]) == [True, True]
    # The two are as far apart as the symmetric candidates can be from the first of them.
    assert abs(chosen[0] - chosen[1]) >= 2
    # The other four cover the whole range.
    assert np.ptp(angles[chosen[2:]]) > 2.5
    assert batch(6, 2) == chosen
    # There are four symmetric candidates, so that the others fill the batch.
    assert sum(k >= 36 for k in batch(8, 6)[:4]) == 4
    assert len(batch(8, 6)) == 8
    assert len(batch(3, 6)) == 3
    assert batch(0, 6) == []
    assert len(batch(60, 0)) == 40


def relaxing(ends, vectors, places):
    """A further relaxation that takes candidates to other places, and what it was asked for."""
    asked = []

    def closely(indices):
        asked.append(list(indices))
        for k in indices:
            if k in places:
                vectors[k] = spots(places[k])[0]
                ends[k] = end(ends[k].energy_per_atom - 0.01)

    return closely, asked


def test_a_candidate_that_relaxes_further_into_a_labelled_minimum_gives_its_place_to_another():
    ends = [end(-3.0), end(-2.9), end(-2.8), end(-2.7)]
    vectors = spots(1.0, 1.5, 2.0, 2.5)
    closely, asked = relaxing(ends, vectors, {0: 0.01, 2: 0.02})
    chosen = select(ends, vectors, [low_symmetry()], spots(0.0), SETTINGS, 2, closely=closely)
    assert [c.index for c in chosen.choices] == [1, 3]
    assert asked == [[0, 1], [2], [3]]
    assert chosen.left == []


def test_two_candidates_that_relax_further_into_one_minimum_are_labelled_once():
    ends = [end(-3.0), end(-2.9), end(-2.8)]
    vectors = spots(1.0, 1.5, 2.0)
    closely, _ = relaxing(ends, vectors, {0: 2.9, 1: 2.905})
    assert [c.index for c in select(ends, vectors, [], NONE, SETTINGS, 2, closely=closely).choices] == [0, 2]


def test_candidates_that_did_not_converge_are_not_relaxed_further_and_the_number_is_limited():
    ends = [end(-3.0, stop=UNCERTAIN)] + [end(-2.0)] * 40
    vectors = spots(*np.arange(41) / 14)
    closely, asked = relaxing(ends, vectors, dict.fromkeys(range(1, 41), -1.0))
    chosen = select(ends, vectors, [low_symmetry()], spots(-1.0), SETTINGS, 2, closely=closely)
    assert chosen.choices[0].index == 0
    assert not any(0 in places for places in asked)
    assert sum(map(len, asked)) == 12
