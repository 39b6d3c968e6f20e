"""Relaxations that keep the space group."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import write

from nucleate import api
from nucleate.crystals.batch import CrystalBatch
from nucleate.csp.proof import on_reference
from nucleate.csp.resolve import resolve_settings
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import space_group
from nucleate.generate import SymmetricGenerator
from nucleate.relax.batched import relax
from nucleate.relax.settings import RelaxSettings
from nucleate.relax.state import Evaluation
from nucleate.relax.symmetry import KeptSymmetry, operations_of


def quartz():
    """A structure with screw axes, whose atoms are on general and special positions."""
    generator = SymmetricGenerator({"Si": 3, "O": 6})
    return generator.propose(1, np.random.default_rng(4))[0].atoms


@pytest.mark.parametrize(
    ("atoms", "order"),
    [(bulk("NaCl", "rocksalt", a=5.6), 48), (bulk("Si", cubic=True), 192), (bulk("Mg"), 24), (Atoms("Si", cell=[3, 4, 5], pbc=True), 8)],
)
def test_operations(atoms, order):
    """The operations are isometries that map the crystal onto itself."""
    found = operations_of(atoms)
    assert len(found.rotations) == order
    assert found.rotations @ found.rotations.transpose(0, 2, 1) == pytest.approx(np.broadcast_to(np.eye(3), (order, 3, 3)), abs=1e-10)
    vectors = atoms.positions[:, None] - atoms.positions
    for rotation, image in zip(found.rotations, found.images, strict=True):
        assert (atoms.numbers[image] == atoms.numbers).all()
        # Differences of positions are turned, up to lattice vectors.
        turned = vectors @ rotation.T - vectors[image][:, image]
        assert np.abs(np.mod(turned @ np.linalg.inv(atoms.cell.array) + 0.5, 1) - 0.5).max() < 1e-6


def noisy(seed):
    """A surface with random forces and stresses, which have no symmetry."""
    generator = torch.Generator().manual_seed(seed)

    def surface(batch):
        n = len(batch)
        stress = torch.randn(n, 3, 3, generator=generator, dtype=torch.float64)
        forces = torch.randn(len(batch.numbers), 3, generator=generator, dtype=torch.float64)
        zero = torch.zeros(n, dtype=torch.float64)
        return Evaluation(zero, forces, stress + stress.transpose(1, 2), zero)

    return surface


def test_averages_have_the_symmetry_and_are_projections():
    structures = [quartz(), bulk("NaCl", "rocksalt", a=5.6), bulk("Mg")]
    kept = KeptSymmetry(structures)
    batch = CrystalBatch.from_atoms(kept.structures)
    once = kept.averaged(noisy(0))(batch)
    twice = kept.averaged(lambda _: once)(batch)
    assert torch.allclose(once.forces, twice.forces, atol=1e-10)
    assert torch.allclose(once.stress, twice.stress, atol=1e-10)
    # No force on the atoms of rocksalt, and an isotropic stress.
    nacl = slice(9, 11)
    assert once.forces[nacl].abs().max() < 1e-10
    assert torch.allclose(once.stress[1], once.stress[1, 0, 0] * torch.eye(3, dtype=torch.float64), atol=1e-10)
    assert once.forces[:9].abs().max() > 1e-3


def test_batches_may_change():
    """The tables follow the structures of the batch when some have finished."""
    structures = [quartz(), bulk("NaCl", "rocksalt", a=5.6), bulk("Mg")]
    kept = KeptSymmetry(structures)
    batch = CrystalBatch.from_atoms(kept.structures)
    kept.averaged(noisy(0))(batch)
    part = batch.select(torch.tensor([2, 0]))
    once = kept.averaged(noisy(1))(part)
    assert torch.allclose(once.forces, kept.averaged(lambda _: once)(part).forces, atol=1e-10)


class Tilted:
    """Springs between all atoms and points that do not have the symmetry, in a stiff cell with a sheared minimum."""

    cutoff, species = 4.0, (11, 17)

    def layout(self, batch, edges):
        return None

    def energy_forces_stress(self, batch, edges=None, layout=None, mean_forces=False):
        from nucleate.potentials.base import Prediction

        strain = batch.cells @ torch.linalg.inv(self.cell) - torch.eye(3, dtype=torch.float64)
        wanted = torch.tensor([[0.02, 0.03, 0.0], [0.03, -0.01, 0.0], [0.0, 0.0, 0.04]], dtype=torch.float64)
        symmetric = 0.5 * (strain + strain.transpose(1, 2)) - wanted
        scaled = torch.linalg.solve(batch.cells[0].T, batch.positions.T).T
        shift = (scaled - self.scaled) @ batch.cells[0]
        forces = -(shift - torch.tensor([0.05, 0.0, 0.0]))
        energy = 0.5 * (forces**2).sum()[None] + 10 * (symmetric**2).sum((1, 2))
        return Prediction(energy[None], forces[None], (20 * symmetric / batch.volumes.view(-1, 1, 1))[None])


@pytest.mark.parametrize("optimiser", ["lbfgs", "fire"])
def test_a_surface_without_the_symmetry(optimiser):
    """On a surface whose minimum is sheared, the crystal stays cubic if asked, and its volume still relaxes."""
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    surface = Tilted()
    surface.cell = torch.as_tensor(atoms.cell.array)
    surface.scaled = torch.as_tensor(atoms.get_scaled_positions())
    ends = {}
    for keep in (False, True):
        settings = RelaxSettings(optimiser=optimiser, keep_symmetry=keep, fmax=1e-3, smax=0.05, max_steps=400)
        ends[keep] = relax([atoms], surface, settings)[0]
    assert space_group(ends[False].atoms, 0.01)[1] < 100
    assert space_group(ends[True].atoms, 1e-4)[1] == 225
    assert ends[True].stop == "converged"
    assert ends[True].atoms.get_volume() > 1.02 * atoms.get_volume()


def test_the_proof_is_free():
    """A polymorph of candidates with kept symmetry is relaxed without it on the reference, where it may distort."""
    settings = resolve_settings("Si8", {"reference": {"engine": "chgnet"}, "relax": {"keep_symmetry": True}})
    assert settings.relax.keep_symmetry
    assert not on_reference(settings).keep_symmetry


def test_moments_are_refused(tmp_path):
    atoms = bulk("Fe")
    atoms.set_initial_magnetic_moments([2.0])
    write(tmp_path / "iron.extxyz", atoms)
    with pytest.raises(BadInput, match="has starting moments, whose symmetry is not kept; remove --keep-symmetry"):
        api.relax_file(tmp_path / "iron.extxyz", reference="chgnet", keep_symmetry=True)
