"""Harmonic and quasi-harmonic free energies of polymorphs on a surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from nucleate.polymorphs.stability.free_energy import FEWEST, VOLUMES, FreeEnergy, vibrational_energy, volume_minimum
from nucleate.polymorphs.stability.phonons import Displacements, Frequencies, Phonons
from nucleate.polymorphs.stability.prepared import Prepared, relax_each, relaxation
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.surface import Surface
from nucleate.progress import Progress, silent
from nucleate.relax.batched import Relaxed

PURPOSE = "phonons at other volumes"
POINTS = 101
"""Number of temperatures."""
IMAGINARY = "imaginary modes"
BETWEEN = "imaginary modes between the q points that fit into the supercell; a larger --length may remove them"


def temperatures(highest: float) -> np.ndarray:
    """Return the temperatures of the curves, K."""
    return np.linspace(0.0, highest, POINTS)


def harmonic(prepared: Prepared, mesh: tuple[np.ndarray, Frequencies], imaginary: bool, settings: CheckSettings) -> FreeEnergy:
    """Return the harmonic free energy of a polymorph.

    Args:
        prepared: the polymorph.
        mesh: weights and frequencies of a mesh of q points.
        imaginary: whether modes at commensurate q points are imaginary.
        settings: settings of the check.
    """
    axis = temperatures(settings.temperature)
    count = len(prepared.atoms)
    weights, found = mesh
    mean = vibrational_energy(found.mean, weights, axis) / count
    members = vibrational_energy(found.members, weights, axis) / count
    missing = (IMAGINARY if imaginary else BETWEEN) if not np.isfinite(mean).all() else ""
    return FreeEnergy(
        axis, prepared.energy.mean() + mean, prepared.energy[:, None] + members, float(mean[0]),
        np.full(len(axis), prepared.atoms.get_volume() / count), False, missing,
    )  # fmt: skip


def quasi_harmonic(
    prepared: Sequence[Prepared],
    phonons: Sequence[Phonons],
    surface: Surface,
    settings: CheckSettings,
    pressure: float,
    progress: Progress = silent,
) -> list[FreeEnergy]:
    """Return the quasi-harmonic free energies of polymorphs.

    The cell is scaled without a change of its shape, and the ions are relaxed at each volume.

    Args:
        prepared: the polymorphs.
        phonons: their phonons, whose supercells are used at all volumes.
        surface: surface of the check.
        settings: settings of the check.
        pressure: external pressure, GPa.
        progress: called with a `Step` as the calculation advances.
    """
    scaled = [_scaled(each.atoms, ratio) for each in prepared for ratio in VOLUMES]
    ends = relax_each(scaled, surface, relaxation(settings, 0.0, variable_cell=False), PURPOSE, progress)
    cells = [end.atoms if isinstance(end, Relaxed) and end.usable else None for end in ends]
    known = [k for k, cell in enumerate(cells) if cell is not None]
    displacements = {
        k: Displacements(cell, phonons[k // len(VOLUMES)].matrix, settings.displacement) for k, cell in enumerate(cells) if cell is not None
    }
    like = [prepared[k // len(VOLUMES)].atoms for k in known]
    energy = surface.evaluate([cell for cell in cells if cell is not None], PURPOSE, like=like).energy
    lists = [displacements[k].structures for k in known]
    evaluated = surface.evaluate([atoms for each in lists for atoms in each], PURPOSE, progress).split([len(each) for each in lists])
    axis = temperatures(settings.temperature)
    m = len(energy)
    # (polymorphs, volumes, 1 + m, temperatures): the mean first, then the members.
    curves = np.full((len(prepared) * len(VOLUMES), 1 + m, len(axis)), np.nan)
    for j, k in enumerate(known):
        weights, found = displacements[k].phonons(evaluated[j]).mesh()
        curves[k, 0] = energy[:, j].mean() + vibrational_energy(found.mean, weights, axis)
        curves[k, 1:] = energy[:, j, None] + vibrational_energy(found.members, weights, axis)
    parts = np.split(curves, len(prepared))
    return [_curve(each, part, axis, pressure) for each, part in zip(prepared, parts, strict=True)]


def _curve(prepared: Prepared, curves: np.ndarray, axis: np.ndarray, pressure: float) -> FreeEnergy:
    """Return the free energy of one polymorph from (volumes, 1 + m, temperatures) energies of the cell, eV."""
    count = len(prepared.atoms)
    volumes = VOLUMES * prepared.atoms.get_volume()
    flat = curves.reshape(len(volumes), -1)
    best, at = (each.reshape(curves.shape[1:]) / count for each in volume_minimum(volumes, flat, pressure))
    static = prepared.energy.mean()
    missing = ""
    if not np.isfinite(best[0]).all():
        stable = int(np.isfinite(curves[:, 0, 0]).sum())
        first = axis[~np.isfinite(best[0])][0]
        missing = (
            f"{IMAGINARY} at {len(volumes) - stable} of {len(volumes)} volumes"
            if stable < FEWEST
            else f"no minimum between {VOLUMES[0]:g} and {VOLUMES[-1]:g} of the volume from {first:.0f} K"
        )
    return FreeEnergy(axis, best[0], best[1:], float(best[0, 0] - static), at[0], True, missing)


def _scaled(atoms: Atoms, ratio: float) -> Atoms:
    """Return a copy with `ratio` times the volume."""
    copy: Atoms = atoms.copy()
    copy.set_cell(atoms.cell.array * ratio ** (1 / 3), scale_atoms=True)
    return copy
