import numpy as np
import pytest
from ase.build import bulk

from nucleate.crystals.batch import CrystalBatch
from nucleate.fingerprints.pointwise_distances import PointwiseDistances
from nucleate.polymorphs.families import expansion, families, silhouette


def spread(centres, copies, noise, seed=0):
    rng = np.random.default_rng(seed)
    points = np.repeat(centres, copies, axis=0) + rng.normal(0, noise, (len(centres) * copies, centres.shape[1]))
    return np.linalg.norm(points[:, None] - points[None], axis=2)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_number_of_families_is_found(count):
    centres = np.random.default_rng(count).normal(0, 5, (count, 6))
    assert families(spread(centres, 5, 0.1)).tolist() == np.repeat(np.arange(count), 5).tolist()


def test_order_does_not_matter():
    distances = spread(np.eye(4) * 10, 3, 0.1)
    order = np.random.default_rng(1).permutation(12)
    found = families(distances[np.ix_(order, order)])
    same = found[:, None] == found[None]
    truth = order // 3
    assert (same == (truth[:, None] == truth[None])).all()
    assert found[0] == 0


def test_structures_that_cannot_be_compared_are_never_one_family():
    distances = spread(np.array([[0.0], [1.0]]), 3, 0.01)
    distances[:3, 3:] = distances[3:, :3] = np.inf
    assert families(distances).tolist() == [0, 0, 0, 1, 1, 1]


def test_few_structures_and_no_structure():
    assert families(np.zeros((0, 0))).tolist() == []
    assert families(np.zeros((1, 1))).tolist() == [0]
    # Equal distances: no structure is nearer to one than to another.
    assert families(np.ones((5, 5)) - np.eye(5)).tolist() == [0, 1, 2, 3, 4]


def test_silhouette_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(3)
    points = rng.normal(size=(30, 3))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    labels = rng.integers(0, 5, 30)
    labels[0] = 9
    assert silhouette(distances, labels) == pytest.approx(metrics.silhouette_score(distances, labels, metric="precomputed"))


def test_rattled_crystals_fall_into_their_families():
    rng = np.random.default_rng(0)
    phases = [bulk("Cu", "fcc", 3.6), bulk("Cu", "bcc", 2.87), bulk("Cu", "hcp", 2.55, c=4.2), bulk("Cu", "sc", 2.4)]
    structures = []
    for atoms in phases:
        for _ in range(4):
            copy = atoms.repeat((2, 1, 1))
            copy.positions += rng.normal(0, 0.02, copy.positions.shape)
            structures.append(copy)
    fingerprint = PointwiseDistances([29])
    rows = fingerprint.describe(CrystalBatch.from_atoms(structures))
    assert families(fingerprint.distances(rows, rows)).tolist() == np.repeat(np.arange(4), 4).tolist()


def test_expansion_over_families():
    """Equal values within families are explained entirely; values without relation to them not at all, on average."""
    labels = np.repeat([0, 1, 2], 4)
    means, explained = expansion(labels, np.repeat([1.0, 5.0, 2.0], 4))
    assert means == pytest.approx([1, 5, 2])
    assert explained == pytest.approx(1)
    rng = np.random.default_rng(0)
    shares = [expansion(labels, rng.normal(size=12))[1] for _ in range(400)]
    # The adjusted share has the expectation 0; its standard deviation is about 0.2.
    assert abs(np.mean(shares)) < 0.05
    assert np.isnan(expansion(np.arange(4), np.arange(4.0))[1])
    assert np.isnan(expansion(labels, np.ones(12))[1])
