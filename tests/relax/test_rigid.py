"""Relaxation of rigid molecules: gradients beside finite differences, geometries kept, a minimum reached."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from nucleate.crystals.batch import CrystalBatch
from nucleate.relax import rigid
from nucleate.relax.batched import CommitteeSurface
from nucleate.relax.rigid import RigidMolecules, relax_rigid
from nucleate.relax.settings import RelaxSettings
from nucleate.units import GPA
from tests.conftest import PairPotential

PARTS = np.repeat([0, 1], 3)


def crystal(seed=0):
    """Two bent molecules in a triclinic cell."""
    rng = np.random.default_rng(seed)
    cell = np.diag([6.0, 6.5, 7.0]) + rng.normal(0, 0.3, (3, 3))
    one = molecule("SO2")
    one.positions -= one.positions.mean(0)
    parts = []
    for centre in ([1.5, 1.5, 2.0], [4.4, 4.5, 5.2]):
        turned = one.copy()
        turned.rotate(rng.uniform(0, 360), rng.normal(size=3))
        turned.positions += np.array(centre)
        parts.append(turned)
    atoms = parts[0] + parts[1]
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=cell, pbc=True)


def potential():
    return PairPotential((8, 16), bond=3.4, cutoff=6.0)


def state(structures):
    batch = CrystalBatch.from_atoms(structures)
    index = torch.as_tensor(PARTS)
    positions = batch.positions.view(len(batch), -1, 3)
    centres = torch.zeros(len(batch), 2, 3, dtype=torch.float64).index_add_(1, index, positions) / 3
    return batch, index, rigid._Bodies(centres, positions - centres[:, index], batch.cells)


def energies(batch, index, bodies, pressure):
    here = CrystalBatch((bodies.centres[:, index] + bodies.relative).reshape(-1, 3), bodies.cells, batch.numbers, batch.structure)
    return (CommitteeSurface(potential(), skin=0.0)(here).energy + pressure * GPA * here.volumes), here


def test_gradients_beside_finite_differences():
    pressure = 2.0
    batch, index, bodies = state([crystal(1), crystal(2)])
    sizes, radii = torch.tensor([3.0, 3.0], dtype=torch.float64), torch.tensor([1.1, 1.3], dtype=torch.float64)
    _, here = energies(batch, index, bodies, pressure)
    found = CommitteeSurface(potential(), skin=0.0)(here)
    settings = RelaxSettings(pressure=pressure)
    gradient, _ = rigid._gradient(bodies, found.forces.view(2, -1, 3), found.stress, here.volumes, index, sizes, radii, settings)
    h = 1e-4
    for k in range(gradient.shape[1]):
        step = torch.zeros_like(gradient)
        step[:, k] = h
        up, _ = energies(batch, index, bodies.moved(step, index, radii), pressure)
        down, _ = energies(batch, index, bodies.moved(-step, index, radii), pressure)
        # Central differences of second order; the third derivatives of the pair potential are some 100 eV/Å³.
        assert ((up - down) / (2 * h)).numpy() == pytest.approx(gradient[:, k].numpy(), abs=2e-6, rel=1e-5)


def test_molecules_keep_their_geometry_and_the_energy_falls():
    starts = [crystal(seed) for seed in range(4)]
    settings = RelaxSettings(fmax=0.005, smax=0.05)
    ends = relax_rigid(starts, RigidMolecules(PARTS, 400), potential(), settings)
    batch, index, bodies = state(ends)
    energy, here = energies(batch, index, bodies, 0.0)
    before, _ = energies(*state(starts), 0.0)
    assert (energy < before - 0.01).all()
    for start, end in zip(starts, ends, strict=True):
        for part in (PARTS == 0, PARTS == 1):
            a, b = (np.linalg.norm(x.positions[part][:, None] - x.positions[part][None], axis=2) for x in (start, end))
            assert a == pytest.approx(b, abs=1e-9)
    found = CommitteeSurface(potential(), skin=0.0)(here)
    sizes, radii = torch.tensor([3.0, 3.0], dtype=torch.float64), torch.tensor([1.0, 1.0], dtype=torch.float64)
    gradient, done = rigid._gradient(bodies, found.forces.view(4, -1, 3), found.stress, here.volumes, index, sizes, radii, settings)
    # Rotations are measured by their own radius of gyration in the relaxation.
    assert torch.as_tensor(done).sum() >= 3
    assert gradient.abs().amax(1).median() < 0.05


def test_no_steps_change_nothing():
    (end,) = relax_rigid([crystal()], RigidMolecules(PARTS, 0), potential(), RelaxSettings())
    assert end.positions == pytest.approx(crystal().positions)
    assert end.cell.array == pytest.approx(crystal().cell.array)
