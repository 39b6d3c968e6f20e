import numpy as np
import pytest
import torch
from ase import Atoms

from nucleate.crystals import CrystalBatch
from nucleate.crystals.batch import ragged_arange
from nucleate.crystals.strain import deform


@pytest.fixture(scope="module")
def crystals(make_crystal):
    rng = np.random.default_rng(0)
    return [make_crystal(rng, symbols) for symbols in (["Si"], ["Na", "Cl", "Cl"], ["O"] * 5, ["Al", "O"])]


def same(a: Atoms, b: Atoms) -> bool:
    return (
        np.array_equal(a.numbers, b.numbers)
        and np.array_equal(a.positions, b.positions)
        and np.array_equal(a.cell.array, b.cell.array)
        and bool(b.pbc.all())
    )


def test_round_trip(crystals):
    batch = CrystalBatch.from_atoms(crystals)
    assert len(batch) == 4
    assert batch.counts.tolist() == [1, 3, 5, 2]
    assert batch.structure.tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3]
    assert all(same(a, b) for a, b in zip(crystals, batch.to_atoms(), strict=True))
    assert np.allclose(batch.volumes.numpy(), [atoms.get_volume() for atoms in crystals], rtol=1e-12)


def test_left_handed_cell_has_positive_volume(crystals):
    atoms = crystals[1].copy()
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    assert np.linalg.det(atoms.cell.array) < 0
    assert float(CrystalBatch.from_atoms([atoms]).volumes[0]) == pytest.approx(crystals[1].get_volume())


def test_no_structures():
    batch = CrystalBatch.from_atoms([])
    assert len(batch) == 0
    assert batch.to_atoms() == []


@pytest.mark.parametrize("chosen", [[0], [3, 1], [2, 0, 3, 1], [1, 1]])
def test_select(crystals, chosen):
    picked = CrystalBatch.from_atoms(crystals).select(torch.tensor(chosen)).to_atoms()
    assert all(same(crystals[k], atoms) for k, atoms in zip(chosen, picked, strict=True))


def test_select_none(crystals):
    none = CrystalBatch.from_atoms(crystals).select(torch.tensor([], dtype=torch.int64))
    assert len(none) == 0
    assert len(none.positions) == 0


def test_concatenate(crystals):
    parts = [CrystalBatch.from_atoms(crystals[:1]), CrystalBatch.from_atoms(crystals[1:])]
    whole, expected = CrystalBatch.concatenate(parts), CrystalBatch.from_atoms(crystals)
    for name in ("positions", "cells", "numbers", "structure"):
        assert torch.equal(getattr(whole, name), getattr(expected, name)), name


def test_to_changes_floating_point_alone(crystals):
    single = CrystalBatch.from_atoms(crystals).to(dtype=torch.float32)
    assert single.positions.dtype == single.cells.dtype == torch.float32
    assert single.numbers.dtype == single.structure.dtype == torch.int64


def test_ragged_arange():
    starts, counts = torch.tensor([5, 0, 9, 2]), torch.tensor([2, 0, 1, 3])
    assert ragged_arange(starts, counts).tolist() == [5, 6, 9, 2, 3, 4]


def test_deform_strains_each_structure_by_its_own(crystals):
    rng = np.random.default_rng(1)
    gradients = np.eye(3) + 0.1 * rng.normal(size=(4, 3, 3))
    strained = deform(CrystalBatch.from_atoms(crystals), torch.as_tensor(gradients)).to_atoms()
    for before, after, gradient in zip(crystals, strained, gradients, strict=True):
        assert np.allclose(after.cell.array, before.cell.array @ gradient)
        assert np.allclose(after.get_scaled_positions(wrap=False), before.get_scaled_positions(wrap=False))
