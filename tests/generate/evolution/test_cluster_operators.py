import numpy as np
import pytest
from ase import Atoms

from nucleate.crystals.clusters import extent, in_cube
from nucleate.crystals.point_groups import turned
from nucleate.fingerprints.clusters import cluster_order, same_cluster
from nucleate.generate import GenerateSettings
from nucleate.generate.clusters import ClusterGenerator
from nucleate.generate.distances import closest_fit
from nucleate.generate.evolution.base import limits
from nucleate.generate.evolution.cluster_finishing import Cluster, cluster_of
from nucleate.generate.evolution.cluster_heredity import spliced
from nucleate.generate.evolution.cluster_symmetrise import ClusterSymmetrise, completed, orbits
from nucleate.generate.evolution.cluster_twist import twisted
from nucleate.generate.evolution.registry import make_cluster_operators, starting_shares
from nucleate.generate.packing import make_packing
from nucleate.generate.tries import NotPlaced
from tests.generate.conftest import same

CLUSTERS = [{"Au": 2}, {"Ar": 13}, {"Mg": 4, "O": 4}, {"Au": 6, "Cu": 7}]


def icosahedron(distance: float = 2.9) -> np.ndarray:
    golden = (1 + 5**0.5) / 2
    corners = np.array([p for a in (-1, 1) for b in (-golden, golden) for p in ((0, a, b), (a, b, 0), (b, 0, a))])
    return np.concatenate([np.zeros((1, 3)), 0.5 * distance * corners])


@pytest.mark.parametrize("counts", CLUSTERS)
def test_children_have_the_atoms_distances_and_box_of_the_search(counts):
    generator = ClusterGenerator(counts, None, 8.0, GenerateSettings(workers=1))
    packing = generator.builder.packing
    pool = [candidate.atoms for candidate in generator.propose(6, np.random.default_rng(0))]
    species = np.repeat(np.arange(len(counts)), packing.counts)
    rng = np.random.default_rng(1)
    for name, operator in make_cluster_operators(packing, generator.diameter).items():
        assert operator.name == name
        made = 0
        for seed in range(10):
            parents = [pool[k] for k in rng.integers(6, size=operator.parents)]
            before = [atoms.positions.copy() for atoms in parents]
            try:
                child = operator(parents, np.random.default_rng(seed))
            except NotPlaced:
                continue
            made += 1
            assert same(child, operator(parents, np.random.default_rng(seed)))
            assert all(np.array_equal(atoms.positions, start) for atoms, start in zip(parents, before, strict=True))
            assert child.get_chemical_symbols() == [packing.symbols[s] for s in species]
            assert not child.pbc.any()
            assert np.allclose(child.cell.array, pool[0].cell.array)
            assert extent(child.positions) <= generator.diameter + 1e-6
            middle = 0.5 * (child.positions.max(0) + child.positions.min(0))
            assert np.allclose(middle, 0.5 * child.cell.lengths())
            smallest = limits(packing, parents)[np.ix_(species, species)]
            assert closest_fit(child.get_scaled_positions(wrap=False), child.cell.array, smallest) >= 1.0 - 1e-6
        assert made >= 8


def test_heredity_takes_the_upper_part_of_one_and_the_lower_part_of_the_other():
    rng = np.random.default_rng(0)
    one, other = (Cluster(rng.normal(size=(9, 3)) * 3, np.repeat([0, 1], [4, 5])) for _ in range(2))
    one, other = (c._replace(positions=c.positions - c.positions.mean(0)) for c in (one, other))
    shares = set()
    for _ in range(20):
        child = spliced(one, other, rng)
        assert np.array_equal(np.bincount(child.species), [4, 5])
        # Distances within each part are those of its parent.
        inside = [np.linalg.norm(c.positions[:, None] - c.positions, axis=2) for c in (child, one, other)]
        known = [np.array([np.abs(inside[k] - d).min() < 1e-9 for d in inside[0].ravel()]).reshape(9, 9) for k in (1, 2)]
        assert not (known[0] | known[1]).all()
        first = max(range(1, 9), key=lambda n: known[0][:n, :n].all() * n)
        assert known[0][:first, :first].all()
        assert known[1][first:, first:].all()
        shares.add(first)
    assert len(shares) > 2


def test_a_twist_keeps_the_distances_within_both_parts():
    rng = np.random.default_rng(0)
    cluster = Cluster(icosahedron(), np.zeros(13, dtype=int))
    for _ in range(10):
        moved = twisted(cluster, rng)
        stayed = np.linalg.norm(moved.positions - cluster.positions, axis=1) < 1e-9
        for part in (stayed, ~stayed):
            before, after = (np.linalg.norm(p[part][:, None] - p[part], axis=2) for p in (cluster.positions, moved.positions))
            assert np.allclose(before, after)
        assert 0 < stayed.sum() < 13


def test_flat_levels_cannot_be_twisted():
    with pytest.raises(NotPlaced, match="no plane"):
        twisted(Cluster(np.zeros((1, 3)), np.zeros(1, dtype=int)), np.random.default_rng(0))


def test_an_incomplete_icosahedron_is_completed():
    positions = icosahedron()
    positions[12] = positions[[1, 2, 3]].mean(0) * 2.2  # a corner on the other side, outside the shell
    damaged = in_cube(Atoms("Ar13", positions=positions), 20.0)
    perfect = in_cube(Atoms("Ar13", positions=icosahedron()), 20.0)
    assert not same_cluster(damaged, perfect)
    operator = ClusterSymmetrise(make_packing({"Ar": 13}, GenerateSettings(distance_factor=0.6)))
    rng = np.random.default_rng(0)
    children = [operator([damaged], rng) for _ in range(30)]
    assert any(same_cluster(child, perfect) for child in children)


def test_children_are_symmetric_where_whole_orbits_fit():
    generator = ClusterGenerator({"Ar": 12}, None, 8.0, GenerateSettings(workers=1))
    pool = [candidate.atoms for candidate in generator.propose(4, np.random.default_rng(0))]
    rng = np.random.default_rng(0)
    pool = [in_cube(Atoms("Ar12", positions=atoms.positions + rng.normal(scale=0.3, size=(12, 3))), 30.0) for atoms in pool]
    assert all(cluster_order(atoms, 1e-3) == 1 for atoms in pool)
    operator = ClusterSymmetrise(generator.builder.packing, diameter=20.0)
    orders = [cluster_order(operator([pool[k % 4]], rng), 1e-3) for k in range(16)]
    assert np.mean([order > 1 for order in orders]) > 0.4


def test_orbits_merge_on_the_axis_and_are_completed():
    threefold = turned(np.array([0.0, 0.0, 1.0]), 2 * np.pi / 3)
    cluster = Cluster(np.array([[2.0, 0, 0], [0.1, 0.1, 3.0], [2.1, 0.1, 5.0], [-5.0, 0, 0]]), np.zeros(4, dtype=int))
    made = orbits(cluster, threefold, np.array([[1.5]]))
    assert [len(orbit.sites) for orbit in made] == [3, 1, 3, 3]
    assert np.allclose(made[1].sites, [[0.0, 0.0, 3.0]])
    child = completed(cluster, made, np.arange(4), np.array([[1.5]]))
    assert np.allclose(sorted(np.linalg.norm(child.positions[:, :2], axis=1)), [0, 2, 2, 2])
    # With five atoms, a threefold orbit and one on the axis leave one atom, which keeps its place.
    five = Cluster(np.concatenate([cluster.positions, [[0.0, 4.0, -4.0]]]), np.zeros(5, dtype=int))
    rest = completed(five, orbits(five, threefold, np.array([[1.5]])), np.arange(5), np.array([[1.5]]))
    assert np.allclose(rest.positions[4], five.positions[2])


def test_other_compositions_are_refused_and_single_atoms_have_no_operators():
    with pytest.raises(NotPlaced, match="composition"):
        cluster_of(make_packing({"Ar": 12}), in_cube(Atoms("Ar13", positions=icosahedron()), 20.0))
    assert make_cluster_operators(make_packing({"Ar": 1})) == {}
    shares = starting_shares(make_cluster_operators(make_packing({"Ar": 13})))
    assert shares == pytest.approx({"heredity": 35 / 55, "symmetrise": 10 / 55, "twist": 10 / 55})
