"""Clusters: exact counts, distances, the requested point group, extent and vacuum."""

import numpy as np
import pytest

from nucleate.crystals.clusters import extent
from nucleate.crystals.point_groups import mapping, symbol_of
from nucleate.errors import BadInput
from nucleate.generate.clusters import ClusterGenerator
from nucleate.generate.point_group_sites import point_group_sites
from nucleate.generate.settings import GenerateSettings

ONE = GenerateSettings(workers=1)


@pytest.mark.parametrize("counts", [{"Si": 7}, {"Na": 4, "Cl": 4}, {"Ar": 13}, {"Ti": 4, "O": 8}, {"H": 2, "O": 1}])
def test_properties_of_every_candidate(counts):
    generator = ClusterGenerator(counts, None, 12.0, ONE)
    groups = {group.symbol: group for group in point_group_sites(1)}
    drawn = set()
    for candidate in generator.propose(60, np.random.default_rng(0)):
        atoms = candidate.atoms
        symbols = atoms.get_chemical_symbols()
        assert {s: symbols.count(s) for s in counts} == counts
        assert not atoms.pbc.any()
        assert atoms.cell.array == pytest.approx((generator.diameter + 12.0) * np.eye(3))
        assert extent(atoms.positions) <= generator.diameter
        distances = atoms.get_all_distances() + 100 * np.eye(len(atoms))
        species = np.array([list(counts).index(s) for s in symbols])
        assert (distances >= generator.builder.packing.min_distances[np.ix_(species, species)] - 1e-6).all()
        # The same cluster through the periodic boundary is at least as far away as the vacuum.
        assert np.ptp(atoms.positions, axis=0).max() <= generator.diameter
        drawn.add(candidate.details["point_group"])
    assert len(drawn) > 3
    assert drawn <= set(groups)


def test_candidates_have_their_group():
    """Before it is moved into the middle of the box, a cluster is placed about the common centre of the operations."""
    builder = ClusterGenerator({"Ar": 13}, None, 12.0, ONE).builder
    rng = np.random.default_rng(3)
    placed = 0
    for filling in builder.fillings:
        for _ in range(20):
            combination = filling.draw(rng)
            candidate = None if combination is None else builder.place(filling, combination, rng)
            if candidate is None:
                continue
            positions = candidate.atoms.positions - candidate.atoms.positions.mean(0)
            for op in filling.group.rotations:
                assert mapping(candidate.atoms.numbers, positions, positions @ op.T, 1e-6) is not None
            placed += 1
            break
    assert placed > 50


def test_all_groups_are_groups_and_bear_their_names():
    orders = {"C1": 1, "D5h": 20, "S8": 8, "Td": 24, "Oh": 48, "I": 60, "Ih": 120, "D6d": 24}
    groups = point_group_sites(120)
    assert len(groups) == 59
    for group in groups:
        assert symbol_of(group.rotations) == group.symbol
        assert len(group.rotations) == orders.get(group.symbol, len(group.rotations))
        keys = {tuple(np.round(op.ravel() * 1e4).astype(int)) for op in group.rotations}
        for op in group.rotations:
            products = np.round((group.rotations @ op).reshape(-1, 9) * 1e4).astype(int)
            assert {tuple(row) for row in products} == keys
        rng = np.random.default_rng(group.number)
        for site in group.sites:
            orbit = np.unique(np.round(group.rotations @ (site.rotations[0] @ rng.normal(size=3)), 6), axis=0)
            assert len(orbit) == site.size


def test_the_same_seed_gives_the_same_clusters():
    generator = ClusterGenerator({"Si": 6}, None, 12.0, ONE)
    first, second = (generator.propose(20, np.random.default_rng(7)) for _ in range(2))
    assert all((a.atoms.positions == b.atoms.positions).all() for a, b in zip(first, second, strict=True))


def test_a_diameter_that_cannot_hold_the_atoms():
    with pytest.raises(BadInput, match=r"clusters.diameter = 3 Å is less than 6\.. Å"):
        ClusterGenerator({"Si": 8}, 3.0, 12.0, ONE)
