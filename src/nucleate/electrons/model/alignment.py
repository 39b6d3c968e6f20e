"""Snapshots at energies relative to a zero that moves with the volume, interpolated by cubic splines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.special import expit

from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.levels.zero import Zero, zero_of_energy
from nucleate.electrons.model.header import Channel
from nucleate.errors import BadInput
from nucleate.units import BOLTZMANN

COARSEST = 0.75
"""Largest spacing of energies, in widths of the Gaussians, at which the local density of states is interpolated."""
CUT = 1e-4
"""Largest number of electrons, per electron, outside the energies relative to the zero."""


def zero_of_snapshot(zero: Zero, snapshot: Snapshot) -> float:
    """Return the zero of a snapshot in eV."""
    return float(zero_of_energy(zero, snapshot.electrons, torch.tensor(snapshot.atoms.get_volume(), dtype=torch.float64)))


def resolve_zero(zero: Zero | None, snapshot: Snapshot) -> Zero:
    """Return the zero of energy of a training; None: free electrons, or the average potential if the energies are too far apart.

    Raises:
        BadInput: Free electrons were chosen, but the energies are too far apart to be interpolated.
    """
    spacing = float(snapshot.energies[1] - snapshot.energies[0])
    fine = spacing <= COARSEST * snapshot.sigma * (1 + 1e-6)
    if zero == "free electrons" and not fine:
        raise BadInput(
            f"zero = 'free electrons': the energies are {spacing:g} eV apart, too far for Gaussians {snapshot.sigma:g} eV wide to be "
            "interpolated; sample with a smaller spacing, or set zero = 'potential'"
        )
    return zero or ("free electrons" if fine else "potential")


def common_energies(zero: Zero, snapshots: Sequence[Snapshot]) -> np.ndarray:
    """Return the energies (eV, relative to the zero) that the windows of all snapshots contain.

    Args:
        zero: Zero of energy.
        snapshots: Snapshots with the same energies.

    Raises:
        BadInput: The windows have less than ten energies in common.
    """
    energies = snapshots[0].energies
    if zero == "potential":
        return energies
    spacing = float(energies[1] - energies[0])
    zeros = [zero_of_snapshot(zero, snapshot) for snapshot in snapshots]
    low, high = float(energies[0]) - min(zeros), float(energies[-1]) - max(zeros)
    number = int((high - low) / spacing + 1e-6) + 1
    if number < 10:
        raise BadInput(
            f"relative to the Fermi level of free electrons, the energy windows of the snapshots have {max(0, number)} energies in common; "
            "sample with a lower low and a higher high, or set zero = 'potential'"
        )
    found: np.ndarray = low + spacing * np.arange(number)
    return found


def aligned(snapshot: Snapshot, zero: Zero, energies: np.ndarray, where: str, partly: bool = False) -> Snapshot:
    """Return a snapshot whose local density of states is given at energies relative to a zero, interpolated by cubic splines.

    Args:
        snapshot: Snapshot with energies relative to the average electrostatic potential.
        zero: Zero of energy.
        energies: (n_energies,) energies relative to the zero, eV.
        where: Prefix of errors.
        partly: Whether energies outside the window of the snapshot are left out instead of refused.

    Raises:
        BadInput: The energies are outside the window of the snapshot, or cut off occupied states.
    """
    if zero == "potential":
        return snapshot
    own, shift = snapshot.energies, zero_of_snapshot(zero, snapshot)
    if partly:
        energies = energies[(energies + shift > own[0] - 1e-6) & (energies + shift < own[-1] + 1e-6)]
    wanted = energies + shift
    if not len(wanted) or wanted[0] < own[0] - 1e-6 or wanted[-1] > own[-1] + 1e-6:
        raise BadInput(
            f"{where}: the model needs other energies at this volume than those of the snapshot, {own[0]:g} to {own[-1]:g} eV; sample with "
            "a wider window"
        )
    matrix = _spline(tuple(own), tuple(np.clip(wanted, own[0], own[-1])))
    shape = snapshot.ldos.shape
    flat = snapshot.ldos.reshape(-1, shape[3])
    states = flat.mean(axis=0, dtype=np.float64) * snapshot.atoms.get_volume()
    occupied = own < wanted[0]
    if snapshot.fermi_level is not None and not partly:
        reduced = (own - snapshot.fermi_level) / (BOLTZMANN * snapshot.temperature)
        occupied = occupied + (own > wanted[-1]) * expit(-reduced)
    lost = float((states * occupied).sum() * (own[1] - own[0]))
    if lost > CUT * snapshot.electrons:
        raise BadInput(
            f"{where}: {lost:.2g} electrons are outside the energies that all snapshots have in common relative to the Fermi level of free "
            "electrons; sample with a lower low and a higher high, or set zero = 'potential'"
        )

    def moved(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray((values.reshape(-1, shape[3]) @ matrix.T).reshape(*shape[:3], -1))

    spin, occupied = (None if part is None else moved(part) for part in (snapshot.spin_ldos, snapshot.occupied_ldos))
    return replace(snapshot, energies=energies, ldos=moved(snapshot.ldos), spin_ldos=spin, occupied_ldos=occupied)


def targets(snapshot: Snapshot, channels: Sequence[Channel]) -> np.ndarray:
    """Return the local density of states of each point, (points, channels * n_energies).

    Args:
        snapshot: Snapshot that contains all of them.
        channels: See `model.py`.
    """
    names = {"total": "ldos", "spin": "spin_ldos", "occupied": "occupied_ldos"}
    parts = [getattr(snapshot, names[channel]).reshape(-1, len(snapshot.energies)) for channel in channels]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


@lru_cache(maxsize=64)
def _spline(own: tuple[float, ...], wanted: tuple[float, ...]) -> np.ndarray:
    """Return the (n_wanted, n_own) matrix of cubic interpolation, float32."""
    matrix: np.ndarray = CubicSpline(own, np.eye(len(own)))(wanted).astype(np.float32)
    return matrix
