"""Validation of potentials: every implementation of `Potential` must pass `validate_potential`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.crystals.strain import deform
from nucleate.errors import BadInput
from nucleate.potentials.base import Potential, Prediction

BEYOND = 0.7
"""Length by which a neighbour list exceeds the cutoff in a test that this does not change the results, Å."""


def validate_potential(
    potential: Potential,
    structures: Sequence[Atoms],
    rtol: float = 1e-8,
    difference_rtol: float = 1e-5,
    step: float = 1e-4,
    seed: int = 0,
) -> None:
    """Check that a potential implements the protocol `Potential`.

    The checks are: shapes, committee axis and symmetric stress; agreement between single structures and a batch; neighbour lists beyond
    the cutoff; a layout computed before; mean forces; translation, rotation, inversion, permutation and supercells; forces and stress
    against finite differences; and `BadInput` for an unsupported element.

    Args:
        potential: the potential.
        structures: structures of at least two different sizes, with supported elements and no atom at a site where forces vanish.
        rtol: largest error of the symmetries, relative to the largest value compared (at least 1).
        difference_rtol: the same for finite differences.
        step: step of the finite differences, Å for positions, dimensionless for strain.
        seed: random seed of rotations, translations and permutations.

    Raises:
        AssertionError: a check failed; the message names the check, the error and the structure.
    """
    if len({len(atoms) for atoms in structures}) < 2:
        raise ValueError("give structures of at least two sizes; equal sizes would hide errors in the indexing of a batch")
    rng = np.random.default_rng(seed)
    batch = CrystalBatch.from_atoms(structures)
    plain = potential.energy_forces_stress(batch)
    _check_shapes(plain, batch)
    _check_batching(potential, batch, plain, rtol)
    _check_symmetries(potential, batch, plain, rtol, rng)
    for number, atoms in enumerate(structures):
        _check_differences(potential, atoms, difference_rtol, step, f"structure {number}")
    _check_unknown_element(potential, structures[0])


def _require_close(actual: Tensor, expected: Tensor, rtol: float, what: str) -> None:
    """Raise `AssertionError` if two tensors differ by more than `rtol` times the largest expected value (at least 1)."""
    actual, expected = actual.detach().double(), expected.detach().double()
    error = float((actual - expected).abs().max())
    allowed = rtol * max(1.0, float(expected.abs().max()))
    # `not error <= allowed` is also true for NaN.
    if not error <= allowed:
        raise AssertionError(f"{what}: differs by {error:.3g}, allowed {allowed:.3g}")


def _check_shapes(prediction: Prediction, batch: CrystalBatch) -> None:
    """Check shapes, finite values and the symmetry of the stress."""
    n, n_atoms = len(batch), len(batch.numbers)
    if prediction.energy.ndim != 2:
        raise AssertionError(f"committee axis: energy has shape {tuple(prediction.energy.shape)}, not (members, {n})")
    m = prediction.energy.shape[0]
    shapes = {"energy": (m, n), "forces": (m, n_atoms, 3), "stress": (m, n, 3, 3)}
    for name, expected in shapes.items():
        value = getattr(prediction, name)
        if tuple(value.shape) != expected:
            raise AssertionError(f"shape of {name}: {tuple(value.shape)}, not {expected}")
        if not bool(torch.isfinite(value).all()):
            raise AssertionError(f"{name}: not finite")
    _require_close(prediction.stress.transpose(-1, -2), prediction.stress, 1e-6, "symmetry of the stress")


def _check_batching(potential: Potential, batch: CrystalBatch, plain: Prediction, rtol: float) -> None:
    """Check that results do not depend on the batch, on the length of the neighbour list, or on a layout computed before."""
    ends = torch.cumsum(batch.counts, 0).tolist()
    for k, count in enumerate(batch.counts.tolist()):
        alone = potential.energy_forces_stress(batch.select(torch.tensor([k])))
        where = f"structure {k} alone compared with the batch"
        _require_close(alone.energy[:, 0], plain.energy[:, k], rtol, f"energy of {where}")
        _require_close(alone.forces, plain.forces[:, ends[k] - count : ends[k]], rtol, f"forces of {where}")
        _require_close(alone.stress[:, 0], plain.stress[:, k], rtol, f"stress of {where}")
    longer = potential.energy_forces_stress(batch, neighbour_edges(batch, potential.cutoff + BEYOND))
    _compare(longer, plain, rtol, "a neighbour list longer than the cutoff")
    edges = neighbour_edges(batch, potential.cutoff)
    kept = potential.energy_forces_stress(batch, edges, potential.layout(batch, edges), mean_forces=True)
    _require_close(kept.energy, plain.energy, rtol, "energy with a layout")
    _require_close(kept.forces.mean(0), plain.forces.mean(0), rtol, "mean forces")
    _require_close(kept.stress.mean(0), plain.stress.mean(0), rtol, "mean stress")


def _compare(actual: Prediction, expected: Prediction, rtol: float, what: str) -> None:
    """Raise `AssertionError` unless energy, forces and stress of two predictions agree."""
    for name in ("energy", "forces", "stress"):
        _require_close(getattr(actual, name), getattr(expected, name), rtol, f"{what}, {name}")


def _check_symmetries(potential: Potential, batch: CrystalBatch, plain: Prediction, rtol: float, rng: np.random.Generator) -> None:
    """Check translation, rotation, inversion, permutation and supercells."""
    n, n_atoms = len(batch), len(batch.numbers)
    dtype = plain.forces.dtype

    def ask(positions: Tensor, cells: Tensor, numbers: Tensor = batch.numbers) -> Prediction:
        return potential.energy_forces_stress(CrystalBatch(positions, cells, numbers, batch.structure))

    # Every structure is translated, and every atom is moved by another lattice vector in addition.
    moves = torch.as_tensor(rng.normal(size=(n, 3)) * 3).index_select(0, batch.structure)
    images = torch.as_tensor(rng.integers(-1, 2, size=(n_atoms, 1, 3)), dtype=torch.float64)
    images = (images @ batch.cells.index_select(0, batch.structure)).squeeze(1)
    _compare(ask(batch.positions + moves + images, batch.cells), plain, rtol, "translation")

    turn, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    turn = turn * np.sign(np.diag(upper))
    turn[:, 0] *= np.linalg.det(turn)
    for name, matrix in (("rotation", torch.as_tensor(turn)), ("inversion", -torch.eye(3, dtype=torch.float64))):
        m = matrix.to(dtype)
        expected = Prediction(plain.energy, plain.forces @ m, m.T @ plain.stress @ m)
        _compare(ask(batch.positions @ matrix, batch.cells @ matrix), expected, rtol, name)

    order = torch.as_tensor(np.concatenate([rng.permutation(np.flatnonzero(batch.structure.numpy() == k)) for k in range(n)]))
    expected = Prediction(plain.energy, plain.forces[:, order], plain.stress)
    _compare(ask(batch.positions[order], batch.cells, batch.numbers[order]), expected, rtol, "permutation")

    doubled = CrystalBatch.from_atoms([atoms.repeat((2, 1, 1)) for atoms in batch.to_atoms()])
    # `Atoms.repeat` lists the second copy of all atoms after the first.
    first = [np.flatnonzero(batch.structure.numpy() == k) for k in range(n)]
    source = torch.as_tensor(np.concatenate([np.concatenate([atoms, atoms]) for atoms in first]))
    expected = Prediction(2 * plain.energy, plain.forces[:, source], plain.stress)
    _compare(potential.energy_forces_stress(doubled), expected, rtol, "supercell")


def _check_differences(potential: Potential, atoms: Atoms, rtol: float, step: float, where: str) -> None:
    """Check forces and stress against central finite differences."""
    one = CrystalBatch.from_atoms([atoms])
    plain = potential.energy_forces_stress(one)
    n = len(atoms)
    # All displaced copies, + and - for each coordinate of each atom, are evaluated in one batch.
    shifts = torch.eye(3 * n, dtype=torch.float64).view(3 * n, n, 3) * step
    shifts = torch.cat([shifts, -shifts]).reshape(-1, 3)
    copies = CrystalBatch.concatenate([one] * (6 * n))
    moved = CrystalBatch(copies.positions + shifts, copies.cells, copies.numbers, copies.structure)
    energy = potential.energy_forces_stress(moved).energy.double()
    slope = (energy[:, : 3 * n] - energy[:, 3 * n :]) / (2 * step)
    _require_close(plain.forces, -slope.view(-1, n, 3), rtol, f"{where}: forces against finite differences")

    directions = torch.zeros(9, 3, 3, dtype=torch.float64)
    for k in range(9):
        directions[k, k // 3, k % 3] += 0.5
        directions[k, k % 3, k // 3] += 0.5
    identity = torch.eye(3, dtype=torch.float64)
    strains = torch.cat([identity + step * directions, identity - step * directions])
    strained = deform(CrystalBatch.concatenate([one] * 18), strains)
    energy = potential.energy_forces_stress(strained).energy.double()
    slope = (energy[:, :9] - energy[:, 9:]) / (2 * step * one.volumes[0])
    # The stress is multiplied by the volume per atom, so that the tolerance is comparable with that of forces.
    volume = float(one.volumes[0]) / n
    _require_close(
        plain.stress[:, 0] * volume,
        slope.view(-1, 3, 3) * volume,
        rtol,
        f"{where}: stress against finite differences",
    )


def _check_unknown_element(potential: Potential, atoms: Atoms) -> None:
    """Check that an unsupported element raises `BadInput`."""
    unknown = next((z for z in range(1, 119) if z not in potential.species), None)
    if unknown is None:
        return
    strange = atoms.copy()
    strange.numbers[0] = unknown
    try:
        potential.energy_forces_stress(CrystalBatch.from_atoms([strange]))
    except BadInput:
        return
    raise AssertionError("unknown element: no BadInput raised")
