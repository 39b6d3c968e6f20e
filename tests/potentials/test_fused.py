"""The evaluation by kernels equals the one in torch, for every size of a committee and every batch."""

import copy

import numpy as np
import pytest
import torch

from nucleate.crystals import CrystalBatch, SkinNeighbours, neighbour_edges
from nucleate.potentials import manybody
from nucleate.potentials.basis import quadrature
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import ModelSettings
from nucleate.training.data import from_labels
from nucleate.training.fitting import fit_model
from nucleate.training.settings import FitSettings

pytest.importorskip("numba")


@pytest.fixture(scope="module")
def crystals(make_crystal):
    """From one atom to 24, a third of them so dense that the wall is at work."""
    rng = np.random.default_rng(0)
    contents = (["Na"], ["Na", "Cl"], ["Cl", "Na", "Cl"], ["Cl"] * 3 + ["Na"] * 2, ["Na"] * 12 + ["Cl"] * 12, ["Cl"] * 4)
    return [make_crystal(rng, c, volume=9 if k % 3 == 1 else 20, closest=1.0) for k, c in enumerate(contents)]


def in_double(model):
    twin = copy.deepcopy(model).double()
    twin.dtype = torch.float64
    return twin


SIZES = [
    ModelSettings(),
    ModelSettings(members=1, channels=5, hidden=7, radial=3, cutoff=4.1),
    ModelSettings(members=7, channels=33, hidden=9, radial=11, activation="tanh"),
    ModelSettings(members=2, channels=128, hidden=4, radial=2, wall_strength=0.0),
]


@pytest.mark.parametrize("settings", SIZES)
def test_equals_torch(crystals, settings):
    model = ManyBodyCommittee((11, 17, 35), settings, seed=5)
    batch = CrystalBatch.from_atoms(crystals)
    model.fit_inputs(batch)
    model.energy_scale.fill_(0.7)
    model.energy_shift.copy_(torch.tensor([-1.3, 2.1, 0.0]))
    # Edges of the skin, beyond the cutoff, change nothing.
    edges = SkinNeighbours(model.cutoff, 0.5).update(batch)
    fused = model.energy_forces_stress(batch, edges, mean_forces=True)
    exact = in_double(model).energy_forces_stress(batch, mean_forces=True)
    assert fused.forces.shape == (1, len(batch.numbers), 3)
    assert fused.stress.shape == (1, len(batch), 3, 3)
    for name in ("energy", "forces", "stress"):
        ours, theirs = getattr(fused, name).double(), getattr(exact, name)
        assert float((ours - theirs).abs().max()) < 1e-5 * max(1.0, float(theirs.abs().max())), name


def test_without_numba_torch_gives_the_same(crystals, monkeypatch):
    model = ManyBodyCommittee((11, 17), seed=1)
    batch = CrystalBatch.from_atoms(crystals)
    fused = model.energy_forces_stress(batch, mean_forces=True)
    monkeypatch.setattr(manybody, "HAS_KERNELS", False)
    plain = model.energy_forces_stress(batch, mean_forces=True)
    assert not torch.equal(fused.forces, plain.forces)
    for name in ("energy", "forces", "stress"):
        torch.testing.assert_close(getattr(fused, name), getattr(plain, name), rtol=2e-4, atol=2e-4)


def test_forces_and_stress_are_slopes_of_the_energy(pair_potential, make_crystal, make_label):
    rng = np.random.default_rng(3)
    teacher = pair_potential((11, 17))
    structures = [make_crystal(rng, ["Na", "Cl", "Cl"], volume=18, closest=1.9) for _ in range(8)]
    model = ManyBodyCommittee((11, 17), ModelSettings(members=3))
    fit_model(model, from_labels(structures, [make_label(teacher, atoms) for atoms in structures]), FitSettings(steps=20, batch=4))
    atoms = structures[0]
    found = model.energy_forces_stress(CrystalBatch.from_atoms([atoms]), mean_forces=True)

    def energy(change):
        moved = atoms.copy()
        change(moved)
        return float(model.energy_forces_stress(CrystalBatch.from_atoms([moved]), mean_forces=True).energy.mean())

    h = 5e-3
    for row in range(len(atoms)):
        for axis in range(3):

            def shift(moved, sign, row=row, axis=axis):
                moved.positions[row, axis] += sign * h

            slope = (energy(lambda moved, s=shift: s(moved, 1)) - energy(lambda moved, s=shift: s(moved, -1))) / (2 * h)
            assert float(found.forces[0, row, axis]) == pytest.approx(-slope, abs=5e-3)
    for i in range(3):
        for j in range(i, 3):

            def strain(moved, sign, i=i, j=j):
                gradient = np.eye(3)
                gradient[i, j] += 0.5 * sign * h
                gradient[j, i] += 0.5 * sign * h
                moved.set_cell(moved.cell.array @ gradient, scale_atoms=True)

            slope = (energy(lambda moved, s=strain: s(moved, 1)) - energy(lambda moved, s=strain: s(moved, -1))) / (2 * h)
            assert float(found.stress[0, 0, i, j]) * atoms.get_volume() == pytest.approx(slope, abs=2e-2)


def test_a_structure_does_not_feel_the_others(crystals):
    model = ManyBodyCommittee((11, 17))
    together = model.energy_forces_stress(CrystalBatch.from_atoms(crystals), mean_forces=True)
    first = 0
    for k, atoms in enumerate(crystals):
        alone = model.energy_forces_stress(CrystalBatch.from_atoms([atoms]), mean_forces=True)
        torch.testing.assert_close(alone.energy[:, 0], together.energy[:, k], rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(alone.forces, together.forces[:, first : first + len(atoms)], rtol=1e-4, atol=1e-4)
        first += len(atoms)


def test_a_position_that_is_not_a_number_has_no_energy(crystals):
    model = ManyBodyCommittee((11, 17))
    batch = CrystalBatch.from_atoms(crystals)
    edges = neighbour_edges(batch, model.cutoff)
    batch.positions[-1] = torch.nan
    energy = model.energy_forces_stress(batch, edges, mean_forces=True).energy
    assert not bool(torch.isfinite(energy[:, -1]).any())
    assert bool(torch.isfinite(energy[:, :-1]).all())


def test_cubic_invariant_is_the_integral_over_the_sphere():
    from nucleate.potentials.fused.invariants import invariant_slopes, invariants

    rng = np.random.default_rng(2)
    values, weights = quadrature()
    mixed = rng.normal(size=(16, 5, 6)).astype(np.float32)
    made = np.empty((2, 5, 6, 3), np.float32)
    invariants(mixed, made)
    on_sphere = np.einsum("qa,anc->qnc", values, mixed.astype(float))
    cubic = np.einsum("q,qnc->nc", weights, on_sphere**3)
    assert made[:, :, 5].transpose(1, 0, 2).reshape(5, 6) == pytest.approx(cubic, abs=1e-4)
    upstream = np.zeros_like(made)
    upstream[:, :, 5] = 1
    slopes = np.empty_like(mixed)
    invariant_slopes(mixed, upstream, slopes)
    assert slopes == pytest.approx(3 * np.einsum("q,qa,qnc->anc", weights, values, on_sphere**2), abs=1e-4)


@pytest.mark.parametrize("settings", SIZES[:3])
def test_slopes_of_the_loss_equal_those_of_torch(crystals, settings, monkeypatch):
    """A loss of energies, forces and stresses of all members, derived with respect to every weight."""
    model = ManyBodyCommittee((11, 17, 35), settings, seed=2)
    batch = CrystalBatch.from_atoms(crystals)
    model.fit_inputs(batch)
    draw = torch.Generator().manual_seed(0)

    def slopes(some):
        found = some.energy_forces_stress(batch, create_graph=True)
        shown = {"energy": found.energy, "forces": found.forces, "stress": 10 * found.stress}
        draw.manual_seed(0)
        total = sum((torch.rand(part.shape, generator=draw, dtype=torch.float64) * part.double() ** 2).sum() for part in shown.values())
        names, weights = zip(*some.named_parameters(), strict=True)
        return found, dict(zip(names, torch.autograd.grad(total, weights), strict=True))

    fused, ours = slopes(model)
    exact, theirs = slopes(in_double(model))
    monkeypatch.setattr(manybody, "HAS_KERNELS", False)
    plain, _ = slopes(model)
    assert not torch.equal(fused.forces, plain.forces)
    for name in ("energy", "forces", "stress"):
        torch.testing.assert_close(getattr(fused, name).double(), getattr(exact, name), rtol=1e-4, atol=1e-4)
    for name, slope in theirs.items():
        # Bromine does not occur, so its weights have no slope.
        assert float(ours[name][2].abs().max()) == 0.0
        assert float((ours[name].double() - slope).abs().max()) < 1e-4 * float(slope.abs().max()), name
