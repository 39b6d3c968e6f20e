"""What a batched relaxation must do whatever the optimiser: gradients, modes, stops, refills."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from nucleate.crystals import CrystalBatch
from nucleate.potentials.base import Prediction
from nucleate.relax import optimisers
from nucleate.relax.batched import LESS_KNOWN, CommitteeSurface, relax
from nucleate.relax.optimisers import Fire, Lbfgs
from nucleate.relax.settings import RelaxSettings
from nucleate.relax.state import State, evaluate, start
from nucleate.units import GPA

BOTH = pytest.mark.parametrize("optimiser", ["fire", "lbfgs"])


@pytest.fixture(scope="module")
def argon(pair_potential):
    return pair_potential()


@pytest.fixture(scope="module")
def starts(make_crystal):
    rng = np.random.default_rng(0)
    return [make_crystal(rng, ["Ar"] * n, volume=26, closest=2.2) for n in (1, 2, 3, 4, 5, 2, 6, 3)]


def fcc(potential):
    """Relaxed to machine precision."""
    (end,) = relax([bulk("Ar", a=4.2)], potential, RelaxSettings(fmax=1e-6, smax=1e-6, progress=0))
    assert end.stop == "converged"
    return end


@pytest.mark.parametrize("pressure", [0.0, 5.0])
def test_gradient_of_the_coordinates(argon, starts, pressure):
    """Minus the gradient of the enthalpy by finite differences, at a cell far from its start."""
    rng = np.random.default_rng(1)
    surface = CommitteeSurface(argon, skin=0.0)
    state = start(CrystalBatch.from_atoms(starts[2:4]), surface, pressure * GPA, True)
    atoms = len(state.batch.numbers)
    move = 0.05 * rng.normal(size=state.coordinates.shape)
    # Rows of the cell: symmetric, times the number of atoms.
    for k, count in enumerate(state.batch.counts.tolist()):
        block = slice(atoms + 3 * k, atoms + 3 * k + 3)
        move[block] = 3 * count * (move[block] + move[block].T)

    def at(coordinates):
        moved = State(**{**state.__dict__, "coordinates": coordinates})
        return evaluate(moved, surface, pressure * GPA, True)

    here = state.coordinates + torch.as_tensor(move)
    forces = at(here).gradient_force
    h = 1e-5
    for row in range(len(here)):
        for axis in range(3):
            step = torch.zeros_like(here)
            step[row, axis] = h
            if row >= atoms:
                first = atoms + (row - atoms) // 3 * 3
                # The logarithm stays symmetric: both halves move.
                step[first + axis, row - first] = h
            slope = float((at(here + step).enthalpy - at(here - step).enthalpy).sum()) / (2 * h)
            both = 2.0 if row >= atoms and axis != (row - atoms) % 3 else 1.0
            assert slope == pytest.approx(-both * float(forces[row, axis]), abs=1e-6), (row, axis)


@BOTH
def test_minimum_has_no_force_and_no_stress(argon, starts, optimiser):
    before = [atoms.copy() for atoms in starts]
    settings = RelaxSettings(optimiser=optimiser, fmax=1e-3, smax=0.01, max_steps=1000, patience=1000)
    ends = relax(starts, argon, settings)
    first = argon.energy_forces_stress(CrystalBatch.from_atoms(starts)).energy[0].tolist()
    for begin, kept, end, energy in zip(starts, before, ends, first, strict=True):
        assert end.stop == "converged"
        assert end.energy < energy
        found = argon.energy_forces_stress(CrystalBatch.from_atoms([end.atoms]))
        assert float(found.energy[0, 0]) == pytest.approx(end.energy, abs=1e-9)
        assert float(found.forces.norm(dim=-1).max()) == pytest.approx(end.fmax, abs=1e-9)
        assert end.fmax <= 1e-3
        assert float(found.stress.abs().max()) <= 0.01 * GPA * 1.001
        assert np.array_equal(begin.positions, kept.positions)
        assert np.array_equal(end.atoms.numbers, kept.numbers)


@BOTH
def test_fixed_cell(argon, starts, optimiser):
    settings = RelaxSettings(optimiser=optimiser, fmax=1e-3, variable_cell=False, max_steps=1000, patience=1000)
    for begin, end in zip(starts, relax(starts, argon, settings), strict=True):
        assert end.stop == "converged"
        assert np.allclose(end.atoms.cell.array, begin.cell.array, atol=1e-12)
        found = argon.energy_forces_stress(CrystalBatch.from_atoms([end.atoms]))
        assert float(found.forces.norm(dim=-1).max()) <= 1.001e-3


@BOTH
@pytest.mark.parametrize("pressure", [-0.5, 3.0, 30.0])
def test_external_pressure(argon, optimiser, pressure):
    """Stress ends at minus the pressure, and the enthalpy is the lowest among scaled cells."""
    settings = RelaxSettings(optimiser=optimiser, fmax=1e-3, smax=1e-3, pressure=pressure, max_steps=800, patience=800)
    atoms = bulk("Ar", a=4.3, cubic=True)
    atoms.rattle(0.05, seed=0)
    (end,) = relax([atoms], argon, settings)
    assert end.stop == "converged"
    found = argon.energy_forces_stress(CrystalBatch.from_atoms([end.atoms]))
    assert np.allclose(found.stress[0, 0].numpy(), -pressure * GPA * np.eye(3), atol=1.01e-3 * GPA)
    assert end.energy == pytest.approx(float(found.energy[0, 0]) + pressure * GPA * end.atoms.get_volume(), abs=1e-9)
    for factor in (0.995, 1.005):
        scaled = end.atoms.copy()
        scaled.set_cell(factor * scaled.cell.array, scale_atoms=True)
        energy = float(argon.energy_forces_stress(CrystalBatch.from_atoms([scaled])).energy[0, 0])
        assert energy + pressure * GPA * scaled.get_volume() > end.energy


@BOTH
def test_skewed_cell_of_one_atom_finds_a_close_packing(argon, optimiser):
    atoms = bulk("Ar", a=4.2)
    strain = np.array([[1.1, 0.08, -0.05], [0.0, 0.95, 0.1], [0.0, 0.0, 1.05]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    settings = RelaxSettings(optimiser=optimiser, fmax=1e-4, smax=1e-3, max_steps=1000, patience=1000)
    (end,) = relax([atoms], argon, settings)
    assert end.energy == pytest.approx(fcc(argon).energy, abs=1e-5)


class Staged:
    """Argon with a fault that sets in for structures of a chosen number of atoms."""

    def __init__(self, good, change):
        self.good, self.change = good, change
        self.cutoff, self.species = good.cutoff, good.species

    def layout(self, batch, edges):
        return None

    def energy_forces_stress(self, batch, edges=None, layout=None, mean_forces=False):
        p = self.good.energy_forces_stress(batch, edges)
        return Prediction(*self.change(batch, p.energy.clone(), p.forces.clone(), p.stress.clone()))


def stops(potential, starts, **settings):
    return [end.stop for end in relax(starts, potential, RelaxSettings(max_steps=300, patience=300, **settings))]


@BOTH
def test_nan_stops_one_structure_alone(argon, starts, optimiser):
    def nan_for_six(batch, energy, forces, stress):
        energy[:, batch.counts == 6] = torch.nan
        return energy, forces, stress

    found = stops(Staged(argon, nan_for_six), starts, optimiser=optimiser)
    assert found == ["exploded" if len(atoms) == 6 else "converged" for atoms in starts]


@BOTH
def test_pulled_apart_is_exploded_and_pushed_in_is_collapsed(argon, starts, optimiser):
    for sign, reason in ((-1.0, "exploded"), (1.0, "collapsed")):

        def push(batch, energy, forces, stress, sign=sign):
            stress[:, batch.counts == 6] = sign * 0.3 * torch.eye(3, dtype=torch.float64)
            return energy, forces, stress

        found = stops(Staged(argon, push), starts, optimiser=optimiser)
        assert found == [reason if len(atoms) == 6 else "converged" for atoms in starts]


@BOTH
def test_out_of_steps(argon, starts, optimiser):
    ends = relax(starts, argon, RelaxSettings(optimiser=optimiser, fmax=1e-9, smax=1e-9, max_steps=3))
    assert {end.stop for end in ends} == {"out of steps"}
    assert {end.steps for end in ends} == {3}


@BOTH
def test_stalled(argon, optimiser):
    """A surface whose forces never vanish while its energy stays."""

    def flat(batch, energy, forces, stress):
        push = torch.zeros_like(forces)
        push[:, ::2, 0], push[:, 1::2, 0] = 0.1, -0.1
        return torch.zeros_like(energy), push, torch.zeros_like(stress)

    settings = RelaxSettings(optimiser=optimiser, patience=7, max_steps=300)
    (end,) = relax([bulk("Ar", a=4.2).repeat((2, 1, 1))], Staged(argon, flat), settings)
    assert end.stop == "stalled"
    # The first look counts as one without progress.
    assert end.steps == 6


@BOTH
def test_uncertain(pair_potential, starts, optimiser):
    """Where the threshold is passed everywhere, those stop that get to know less than they set out with."""
    committee = pair_potential(depth=(0.28, 0.3, 0.32))
    batch = CrystalBatch.from_atoms(starts)
    sigma = committee.energy_forces_stress(batch).energy_sigma(batch)

    def run(potential, **more):
        settings = RelaxSettings(optimiser=optimiser, max_steps=400, patience=400, sigma_stop=0.2)
        return relax(starts, potential, settings, **more)

    assert float(sigma.max()) < 0.2
    assert {end.stop for end in run(committee)} == {"converged"}
    ends = run(committee, sigma_factor=1000.0)
    assert {end.stop for end in ends} == {"uncertain", "converged"}
    for end, before in zip(ends, sigma.tolist(), strict=True):
        assert (end.stop == "uncertain") == (end.sigma > LESS_KNOWN * 1000 * before)
        assert (end.stop == "uncertain") <= (end.steps > 0)

    looks = [0]

    # Members that disagree about one kind of structure alone, more with each look.
    def part(batch, energy, forces, stress):
        looks[0] += 1
        energy[0, batch.counts == 6] += 100.0 * looks[0]
        return energy, forces, stress

    found = [end.stop for end in run(Staged(committee, part))]
    assert found == ["uncertain" if len(atoms) == 6 else "converged" for atoms in starts]


@BOTH
def test_refill_gives_what_one_big_batch_gives(argon, make_crystal, optimiser):
    rng = np.random.default_rng(3)
    pool = [make_crystal(rng, ["Ar"] * int(n), volume=26, closest=2.2) for n in rng.integers(1, 6, 14)]
    settings = RelaxSettings(optimiser=optimiser, max_steps=400, patience=400)
    whole = relax(pool, argon, settings)
    for capacity in (1, 7, 12):
        done = []
        parts = relax(pool, argon, settings.model_copy(update={"capacity": capacity}), progress=done.append)
        assert [(end.stop, end.steps) for end in parts] == [(end.stop, end.steps) for end in whole], capacity
        for a, b in zip(whole, parts, strict=True):
            assert b.energy == pytest.approx(a.energy, abs=1e-8)
            assert np.allclose(a.atoms.positions, b.atoms.positions, atol=1e-6)
            assert np.allclose(a.atoms.cell.array, b.atoms.cell.array, atol=1e-6)
        assert (done[-1].done, done[-1].total) == (14, 14)
        assert done == sorted(done, key=lambda step: step.done)
        assert len(done) > 3


def test_refill_with_a_committee_that_keeps_a_layout(make_crystal):
    """The layout of the neighbour list must follow the batch."""
    from nucleate.potentials.manybody import ManyBodyCommittee
    from nucleate.potentials.settings import ModelSettings

    model = ManyBodyCommittee((11, 17), ModelSettings(cutoff=4.0, radial=4, channels=4, hidden=8, members=2), dtype=torch.float64)
    rng = np.random.default_rng(4)
    pool = [make_crystal(rng, ["Na", "Cl"] * int(n), volume=22, closest=1.8) for n in rng.integers(1, 4, 9)]
    settings = RelaxSettings(max_steps=15, patience=4)
    whole = relax(pool, model, settings)
    assert len({end.steps for end in whole}) > 1
    for a, b in zip(whole, relax(pool, model, settings.model_copy(update={"capacity": 5})), strict=True):
        assert (a.stop, a.steps) == (b.stop, b.steps)
        assert b.energy == pytest.approx(a.energy, abs=1e-8)


def test_order_of_the_pool_changes_nothing(argon, starts):
    settings = RelaxSettings(max_steps=300, patience=300)
    forward = relax(starts, argon, settings)
    backward = relax(starts[::-1], argon, settings)[::-1]
    assert [end.steps for end in forward] == [end.steps for end in backward]
    assert [end.energy for end in forward] == pytest.approx([end.energy for end in backward], abs=1e-9)


def test_nothing_to_relax(argon):
    assert relax([], argon) == []


def test_select_and_concatenate_keep_every_field(argon, starts):
    """A state cut into pieces and put together again walks on as if nothing had happened."""
    surface, optimiser = CommitteeSurface(argon, skin=0.0), Fire()
    state = optimiser.init(start(CrystalBatch.from_atoms(starts), surface, 0.0, True))
    for _ in range(5):
        state = evaluate(optimiser.move(state), surface, 0.0, True)
    pieces = [state.select(torch.tensor(part)) for part in ([0, 1, 2], [3], [4, 5, 6, 7])]
    joined = State.concatenate(State.concatenate(pieces[0], pieces[1]), pieces[2])
    for name in ("coordinates", "gradient_force", "owner", "cells0", "enthalpy", "forces", "stress", "steps"):
        assert torch.equal(getattr(joined, name), getattr(state, name)), name
    for name, value in state.memory.items():
        assert torch.equal(joined.memory[name], value), name
    surface.neighbours.reset()
    after = evaluate(optimiser.move(joined), surface, 0.0, True)
    surface.neighbours.reset()
    expected = evaluate(optimiser.move(state), surface, 0.0, True)
    assert torch.allclose(after.enthalpy, expected.enthalpy, atol=1e-12)


def test_lbfgs_by_kernel_takes_the_steps_of_torch(argon, starts, monkeypatch):
    pytest.importorskip("numba")
    surface = CommitteeSurface(argon, skin=0.0)
    # A short memory, so that it is overwritten, and steps from which the curvature is sometimes negative.
    optimiser = Lbfgs(history=4, maxstep=0.5)
    state = optimiser.init(start(CrystalBatch.from_atoms(starts), surface, 0.0, True))
    scarce = 0
    for step in range(15):
        monkeypatch.setattr(optimisers, "HAS_KERNELS", True)
        ours = optimiser.move(state)
        monkeypatch.setattr(optimisers, "HAS_KERNELS", False)
        theirs = optimiser.move(state)
        torch.testing.assert_close(ours.coordinates, theirs.coordinates, rtol=1e-9, atol=1e-12)
        for name, value in theirs.memory.items():
            torch.testing.assert_close(ours.memory[name], value, rtol=1e-9, atol=1e-12)
        assert torch.equal(ours.steps, theirs.steps)
        state = evaluate(ours, surface, 0.0, True)
        scarce += int((ours.memory["rho"][-1] == 0).sum()) if step else 0
    assert scarce > 0
