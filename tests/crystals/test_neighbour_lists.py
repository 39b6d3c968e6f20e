"""Neighbour lists against ASE's, and the cached list against a fresh one."""

from collections import Counter

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list

from nucleate.crystals import CrystalBatch, SkinNeighbours, neighbour_edges, neighbours


@pytest.fixture(params=[True, False], ids=["kernel", "vesin"], autouse=True)
def kernels(request, monkeypatch):
    if request.param:
        pytest.importorskip("numba")
    monkeypatch.setattr(neighbours, "HAS_KERNELS", request.param)


def pairs_of(edges, batch, cutoff):
    """Every pair within the cutoff as (centre, neighbour, shift), counted."""
    inside = edges.vectors(batch).norm(dim=1) < cutoff
    rows = torch.cat([edges.centre[:, None], edges.neighbour[:, None], edges.shift.round().long()], 1)[inside]
    return Counter(map(tuple, rows.tolist()))


def pairs_by_ase(structures, cutoff):
    found, offset = Counter(), 0
    for atoms in structures:
        for i, j, shift in zip(*neighbor_list("ijS", atoms, cutoff), strict=True):
            found[(int(i) + offset, int(j) + offset, *(int(s) for s in shift))] += 1
        offset += len(atoms)
    return found


def needle():
    """Angles far from 90 degrees and lengths far apart: many images along one direction."""
    cell = [[2.2, 0.0, 0.0], [2.0, 3.1, 0.0], [-3.9, 2.5, 14.0]]
    return Atoms("CO2", scaled_positions=[[0, 0, 0], [0.5, 0.4, 0.1], [1.3, -0.2, 0.7]], cell=cell, pbc=True)


@pytest.mark.parametrize("gap", [3.0, 5.9, 6.1, 20.0])
def test_molecules_beside_crystals(make_crystal, gap):
    """Cells so large that images do not meet are listed in another way; so are molecules that lie outside of their cell."""
    from ase.build import molecule

    rng = np.random.default_rng(2)
    structures = [make_crystal(rng, ["Na", "Cl"])]
    for name in ("C6H6", "H2O", "H"):
        atoms = molecule(name)
        skewed = np.array([[0, 0.3, 0], [0, 0, 0], [0.2, 0, 0]])
        atoms.set_cell(np.diag(np.ptp(atoms.positions, axis=0) + gap) + skewed)
        atoms.positions += rng.normal(size=3) * 4
        atoms.pbc = True
        structures += [atoms, make_crystal(rng, ["Cl"] * 3)]
    batch = CrystalBatch.from_atoms(structures)
    edges = neighbour_edges(batch, 6.0)
    assert pairs_of(edges, batch, 6.0) == pairs_by_ase(structures, 6.0)
    assert bool((edges.centre.diff() >= 0).all())


@pytest.mark.parametrize("cutoff", [1.5, 3.7, 6.0])
def test_same_pairs_as_ase(make_crystal, cutoff):
    rng = np.random.default_rng(0)
    structures = [
        Atoms("Cu", cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True),
        make_crystal(rng, ["Na", "Cl"], volume=15),
        needle(),
        make_crystal(rng, ["Si"] * 40, volume=20, spread=0.4),
    ]
    batch = CrystalBatch.from_atoms(structures)
    edges = neighbour_edges(batch, cutoff)
    found = pairs_of(edges, batch, cutoff)
    assert found == pairs_by_ase(structures, cutoff)
    assert max(found.values(), default=1) == 1
    assert bool((edges.centre.diff() >= 0).all())


def test_vectors_against_ase():
    atoms = needle()
    batch = CrystalBatch.from_atoms([atoms])
    edges = neighbour_edges(batch, 4.0)
    ours = np.array(sorted(edges.vectors(batch).tolist()))
    theirs = np.array(sorted(neighbor_list("D", atoms, 4.0).tolist()))
    assert np.allclose(ours, theirs, atol=1e-10)


def walked(batch, rng, size):
    """A random step of positions and cells."""
    strain = torch.as_tensor(np.eye(3) + 0.3 * size * rng.normal(size=(len(batch), 3, 3)))
    per_atom = strain.index_select(0, batch.structure)
    positions = (batch.positions.unsqueeze(1) @ per_atom).squeeze(1)
    positions = positions + size * torch.as_tensor(rng.normal(size=positions.shape))
    return CrystalBatch(positions, batch.cells @ strain, batch.numbers, batch.structure)


def test_skin_finds_every_pair_along_a_walk(make_crystal):
    rng = np.random.default_rng(1)
    batch = CrystalBatch.from_atoms([make_crystal(rng, ["Si"] * n, volume=15) for n in (1, 2, 6)])
    cached = SkinNeighbours(4.0, skin=0.5)
    for _ in range(60):
        assert pairs_of(cached.update(batch), batch, 4.0) == pairs_of(neighbour_edges(batch, 4.0), batch, 4.0)
        batch = walked(batch, rng, 0.015)
    # It would be no cache if it were rebuilt at every step.
    assert 3 < cached.builds < 90


def test_same_edges_object_while_nothing_is_rebuilt(make_crystal):
    rng = np.random.default_rng(2)
    batch = CrystalBatch.from_atoms([make_crystal(rng, ["Si"] * 4)])
    cached = SkinNeighbours(4.0, skin=0.5)
    first = cached.update(batch)
    assert cached.update(walked(batch, rng, 0.001)) is first


def test_one_moving_structure_leaves_the_others_lists(make_crystal):
    rng = np.random.default_rng(3)
    batch = CrystalBatch.from_atoms([make_crystal(rng, ["Si"] * 4) for _ in range(5)])
    cached = SkinNeighbours(4.0, skin=0.3)
    cached.update(batch)
    positions = batch.positions.clone()
    positions[4] += 1.0
    cached.update(CrystalBatch(positions, batch.cells, batch.numbers, batch.structure))
    assert cached.builds == 6


def test_pure_rotation_and_strain_are_followed_exactly(make_crystal):
    """Rigid rotation needs no rebuild however large; compression beyond the skin does."""
    rng = np.random.default_rng(4)
    batch = CrystalBatch.from_atoms([make_crystal(rng, ["Si"] * 4)])
    turn = torch.as_tensor(np.linalg.qr(rng.normal(size=(3, 3)))[0])
    cached = SkinNeighbours(4.0, skin=0.4)
    cached.update(batch)
    turned = CrystalBatch(batch.positions @ turn, batch.cells @ turn, batch.numbers, batch.structure)
    cached.update(turned)
    assert cached.builds == 1
    for factor, builds in ((0.92, 1), (0.90, 2)):
        squeezed = CrystalBatch(batch.positions * factor, batch.cells * factor, batch.numbers, batch.structure)
        assert pairs_of(cached.update(squeezed), squeezed, 4.0) == pairs_of(neighbour_edges(squeezed, 4.0), squeezed, 4.0)
        assert cached.builds == builds


def test_keep_follows_removed_and_added_structures(make_crystal):
    rng = np.random.default_rng(5)
    batch = CrystalBatch.from_atoms([make_crystal(rng, ["Si"] * int(n), volume=15) for n in rng.integers(1, 6, 6)])
    cached = SkinNeighbours(4.0, skin=0.5)
    changed = 0
    for step in range(60):
        assert pairs_of(cached.update(batch), batch, 4.0) == pairs_of(neighbour_edges(batch, 4.0), batch, 4.0), step
        batch = walked(batch, rng, 0.01)
        if step % 4 == 3:
            stay = torch.as_tensor(np.flatnonzero(rng.random(len(batch)) < 0.7))
            new = CrystalBatch.from_atoms([make_crystal(rng, ["Si"] * int(n), volume=15) for n in rng.integers(1, 6, 7 - len(stay))])
            if step % 8 == 3:
                # Removal and refill at once, as one call ...
                cached.keep(stay, batch, len(new))
            else:
                # ... and apart, with no update in between.
                cached.keep(stay, batch, 0)
                cached.keep(torch.arange(len(stay)), batch.select(stay), len(new))
            batch = CrystalBatch.concatenate([batch.select(stay), new])
            changed += 1
    assert changed > 10
    assert cached.builds < 60 * 6 / 2


def test_added_then_removed_before_any_update(make_crystal):
    """A newcomer that ends at its first look has never been in the list."""
    rng = np.random.default_rng(6)
    old = CrystalBatch.from_atoms([make_crystal(rng, ["Si"] * n) for n in (3, 2)])
    new = CrystalBatch.from_atoms([make_crystal(rng, ["Si"] * n) for n in (4, 1)])
    cached = SkinNeighbours(4.0, skin=0.5)
    cached.update(old)
    cached.keep(torch.arange(2), old, 2)
    both = CrystalBatch.concatenate([old, new])
    stay = torch.tensor([1, 3])
    cached.keep(stay, both, 0)
    left = both.select(stay)
    assert pairs_of(cached.update(left), left, 4.0) == pairs_of(neighbour_edges(left, 4.0), left, 4.0)


def test_keep_of_another_batch_starts_afresh(make_crystal):
    rng = np.random.default_rng(7)
    batch = CrystalBatch.from_atoms([make_crystal(rng, ["Si"] * 3)])
    cached = SkinNeighbours(4.0, skin=0.5)
    cached.keep(torch.arange(1), batch, 0)
    assert pairs_of(cached.update(batch), batch, 4.0) == pairs_of(neighbour_edges(batch, 4.0), batch, 4.0)
