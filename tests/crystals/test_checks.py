"""What every structure must be, wherever it comes from."""

import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.io import write

from nucleate.crystals import CrystalBatch, neighbour_edges
from nucleate.crystals.checks import check_structure, close_pairs, settle_periodicity
from nucleate.crystals.io import read_structures
from nucleate.errors import BadInput, InputNote


def test_distances_are_those_of_the_lattice_however_sheared():
    rng = np.random.default_rng(0)
    for _ in range(5):
        cell = 3 * np.eye(3) + 0.3 * rng.normal(size=(3, 3))
        atoms = Atoms("Cu2", scaled_positions=rng.random((2, 3)), cell=cell, pbc=True)
        brute = min(
            np.linalg.norm(b - a + np.array(n) @ cell)
            for i, a in enumerate(atoms.positions) for j, b in enumerate(atoms.positions) for n in np.ndindex(7, 7, 7)
            for n in [np.array(n) - 3] if i != j or n.any()
        )  # fmt: skip
        sheared = atoms.copy()
        sheared.set_cell(np.array([[1, 0, 0], [40, 1, 0], [-7, 13, 1]]) @ cell, scale_atoms=False)
        for one in (atoms, sheared):
            assert close_pairs(one, brute + 0.5)[2].min() == pytest.approx(brute, abs=1e-8)


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (Atoms("Cu2", [[0, 0, 0], [0.3, 0, 0]], cell=[4, 4, 4], pbc=True), ("atom 1", "atom 2", "0.30")),
        (Atoms("Cu2", [[0, 0, 0], [4, 4, 4]], cell=[4, 4, 4], pbc=True), ("listed twice",)),
        (Atoms("Cu", cell=[1.0, 5, 5], pbc=True), ("its own image", "1.00")),
        (bulk("Si", a=1.0, cubic=True), ("Å apart",)),
        (Atoms("CuAu", cell=[4, 4, 4], pbc=True), ("ordered",)),
        (Atoms("Cu", cell=[[4, 0, 0], [1e4, 4, 0], [0, 0, 4]], pbc=True), ("planes",)),
        (Atoms("Cu", cell=[4, 4, 1e7], pbc=True), ("in Å",)),
        (Atoms("Cu", [[1e9, 0, 0]], cell=[4, 4, 4], pbc=True), ("in Å",)),
    ],
)
def test_overlaps_and_lost_scales_are_named(atoms, words):
    with pytest.raises(BadInput) as caught:
        check_structure(atoms, "here")
    assert str(caught.value).startswith("here")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "atoms", [bulk("Cu", a=2.2 * 2**0.5), bulk("C", "diamond", a=2.9), Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], cell=[5, 5, 5], pbc=True)]
)
def test_compressed_crystals_and_molecules_pass(atoms):
    check_structure(atoms, "here")


def test_a_slab_with_vacuum_is_a_crystal_and_is_said(tmp_path):
    slab = fcc100("Al", (1, 1, 4), vacuum=6.0)
    assert not slab.pbc[2]
    write(tmp_path / "slab.extxyz", slab)
    with pytest.warns(InputNote, match="vacuum"):
        (atoms,) = read_structures(tmp_path / "slab.extxyz")
    assert atoms.pbc.all()
    np.testing.assert_allclose(atoms.cell.array, slab.cell.array, atol=1e-6)


def test_a_direction_without_vacuum_must_be_periodic():
    for pbc in ([True, True, False], False):
        crystal = bulk("Al", cubic=True)
        crystal.pbc = pbc
        with pytest.raises(BadInput, match="vacuum"):
            settle_periodicity(crystal, "here")
    box = molecule("H2O", cell=[12, 12, 12])
    box.center()
    box.pbc = False
    with pytest.warns(InputNote):
        settle_periodicity(box, "here")
    flat = Atoms("Al", cell=[3, 3, 0], pbc=[True, True, False])
    with pytest.raises(BadInput, match="no vector"):
        settle_periodicity(flat, "here")
    free = molecule("H2O")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settle_periodicity(free, "here")
    assert not free.pbc.any()


def test_a_batch_carries_moments_and_knows_its_structures():
    ferro, plain = bulk("Fe", cubic=True), bulk("Cu")
    ferro.set_initial_magnetic_moments([2.0, -2.0])
    batch = CrystalBatch.from_atoms([ferro, plain])
    again = CrystalBatch.concatenate([batch.select(torch.tensor([1])), batch.select(torch.tensor([0]))])
    assert again.ids.tolist() == [1, 0]
    copper, iron = again.to_atoms()
    assert iron.get_initial_magnetic_moments().tolist() == [2.0, -2.0]
    assert not copper.has("initial_magmoms")
    assert batch.to(dtype=torch.float32).moments.dtype == torch.float32
    canted = bulk("Cu", cubic=True)[:2]
    canted.set_initial_magnetic_moments([[0, 0, 2.0], [0, 2.0, 0]])
    with pytest.raises(BadInput, match="vectors"):
        CrystalBatch.from_atoms([canted])


def test_a_sheared_cell_is_refused_before_its_neighbours_are_counted():
    sheared = Atoms("Cu", cell=[[3.6, 0, 0], [1e8, 3.6, 0], [0, 0, 3.6]], pbc=True)
    with pytest.raises(BadInput, match="flat"):
        neighbour_edges(CrystalBatch.from_atoms([sheared]), 6.0)
