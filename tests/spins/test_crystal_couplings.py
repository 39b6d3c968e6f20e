"""Couplings of a whole crystal from a model of pairs: which pairs there are, and that each is predicted as if it was asked for alone."""

import numpy as np
import pytest
from ase.build import bulk

from nucleate.errors import BadInput
from nucleate.spins.models.crystal import predict_crystal
from nucleate.spins.models.data import Pairs
from nucleate.spins.models.training import PairTraining, fit_pairs


def dilute(metal="Mn", rattle=0.0, seed=0):
    """Magnesium oxide with two magnetic atoms."""
    cell = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    cell.rattle(rattle, seed=seed)
    cell.symbols[[0, 2]] = metal
    return cell


@pytest.fixture(scope="module")
def of_crystals():
    atoms = [dilute(rattle=0.1, seed=k) for k in range(8)]
    vectors = np.array([each.get_distance(0, 2, mic=True, vector=True) for each in atoms])
    return fit_pairs(Pairs.of_crystals(atoms, [[0, 2]] * 8, vectors, np.linalg.norm(vectors, axis=1)), PairTraining(components=[2]))


def test_pairs_of_elements_alone_are_one_row_for_each_two_elements():
    elements = [("Fe", "Fe"), ("Fe", "Mn"), ("Mn", "Mn"), ("Mn", "Co")]
    model = fit_pairs(Pairs.of_elements(elements, np.array([1.0, 2.0, 3.0, 4.0])), PairTraining(model="elements"))
    iron = bulk("Fe", cubic=True)
    iron.symbols[1] = "Mn"
    found = predict_crystal(model, iron)
    assert [sorted(pair) for pair in found.elements] == [["Fe", "Mn"], ["Fe", "Fe"], ["Mn", "Mn"]]
    assert found.distances == pytest.approx([2.87 * 0.75**0.5, 2.87, 2.87])
    assert found.longest is None
    assert found.couplings == pytest.approx([2, 1, 3], abs=0.5)


def test_a_pair_in_a_crystal_is_predicted_as_alone(of_crystals):
    cell = dilute(rattle=0.1, seed=20)
    found = predict_crystal(of_crystals, cell, 3.3)
    nearest = cell.get_distance(0, 2, mic=True, vector=True)
    alone = of_crystals.predict(Pairs.of_crystals([cell], [[0, 2]], [nearest], [np.nan]))
    assert found.distances[0] == pytest.approx(np.linalg.norm(nearest))
    assert found.couplings[0] == pytest.approx(alone.couplings[0])
    assert len(found.pairs) == 4


def test_equivalent_pairs_are_one_row_and_images_are_pairs_too(of_crystals):
    found = predict_crystal(of_crystals, dilute(), 3.3)
    assert found.distances == pytest.approx([2.97], abs=0.01)
    assert found.pairs.tolist() == [4]
    single = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    single.symbols[0] = "Mn"
    found = predict_crystal(of_crystals, single, 4.3)
    assert found.distances == pytest.approx([4.2])
    assert found.pairs.tolist() == [3]
    # A model of pairs in a host without further magnetic atoms does not describe a pair beside others.
    with pytest.raises(BadInput, match="Mn occurs around a pair"):
        predict_crystal(of_crystals, dilute(), 4.3)
    fluoride = dilute()
    fluoride.symbols[[1, 3, 5, 7]] = "F"
    with pytest.raises(BadInput, match="F: not in the training data"):
        predict_crystal(of_crystals, fluoride)


def test_what_has_no_couplings_is_refused(of_crystals):
    for cell, cutoff, said in (
        (bulk("MgO", "rocksalt", a=4.2), None, "no atom is of an element"),
        (dilute(), 1.0, "increase the cutoff"),
        (dilute(), 40.0, "too long"),
    ):
        with pytest.raises(BadInput, match=said):
            predict_crystal(of_crystals, cell, cutoff)
    layer = dilute()
    layer.pbc = [True, True, False]
    with pytest.raises(BadInput, match="periodic in three directions"):
        predict_crystal(of_crystals, layer)
