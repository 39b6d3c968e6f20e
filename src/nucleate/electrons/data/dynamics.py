"""Molecular dynamics with ASE to sample structures of a crystal or its melt."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import bulk, find_optimal_cell_shape, make_supercell
from ase.calculators.emt import EMT
from ase.calculators.emt import parameters as emt_parameters
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from pydantic import BaseModel, ConfigDict, Field

from nucleate.crystals.checks import refuse_constraints, refuse_moments
from nucleate.crystals.io import read_structure
from nucleate.errors import BadInput
from nucleate.pretrained import NAMES, PRETRAINED, canonical_name
from nucleate.progress import Progress, Step, silent

MELTING = 3.0
"""Melting temperature relative to the requested temperature; the minimum is 2,500 K."""
NO_SPIN = "electronic structure is calculated without spin polarisation"


class DynamicsSettings(BaseModel):
    """Settings of molecular dynamics."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    material: str = Field(description="Element (its crystal is built) or structure file.")
    atoms: int = Field(32, ge=1, description="Approximate number of atoms in the cell.")
    temperature: float = Field(298.0, gt=0, description="Ionic temperature in K.")
    phase: Literal["solid", "liquid"] = Field("solid", description="Phase; a liquid is melted first and cooled to the temperature.")
    volume: float | None = Field(None, gt=0, description="Volume per atom in Å³; default: that of the crystal.")
    strain: float = Field(0.0, ge=0, lt=0.2, description="Maximum random strain of each snapshot's cell.")
    snapshots: int = Field(10, ge=1, description="Number of structures.")
    potential: str = Field("emt", description=f"Potential: emt, {NAMES}, mace:FILE, or a nucleate model file.")
    step: float = Field(2.0, gt=0, description="Time step in fs.")
    equilibration: int = Field(1000, ge=0, description="Number of steps before the first structure.")
    interval: int = Field(200, ge=1, description="Number of steps between structures.")
    friction: float = Field(0.02, gt=0, description="Friction of the Langevin thermostat in 1/fs.")
    seed: int = Field(0, ge=0, description="Random seed of velocities, noise and strain.")


def starting_cell(settings: DynamicsSettings) -> Atoms:
    """Return the crystal at the requested volume, repeated to a nearly cubic cell of about the requested number of atoms.

    Raises:
        BadInput: The element or file does not exist.
    """
    if Path(settings.material).is_file():
        unit = read_structure(settings.material)
        refuse_constraints(unit, settings.material)
        refuse_moments(unit, settings.material, NO_SPIN)
    else:
        try:
            unit = bulk(settings.material)
        except (ValueError, KeyError, RuntimeError, NotImplementedError):
            raise BadInput(
                f"material {settings.material!r}: neither an element with a simple crystal structure nor a file; give a structure file"
            ) from None
    copies = max(1, round(settings.atoms / len(unit)))
    cell = make_supercell(unit, find_optimal_cell_shape(unit.cell, copies, "sc", verbose=False)) if copies > 1 else unit
    cell.pbc = True
    if len(cell) < 2:
        raise BadInput("molecular dynamics requires more than one atom; give --atoms 2 or more")
    if settings.volume is not None:
        factor = (settings.volume * len(cell) / cell.get_volume()) ** (1 / 3)
        cell.set_cell(cell.cell * factor, scale_atoms=True)
    return cell


def make_potential(name: str, atoms: Atoms) -> Any:
    """Return an ASE calculator for the dynamics.

    Raises:
        BadInput: The potential is unknown or does not support an element.
    """
    if name == "emt":
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(emt_parameters))
        if unknown:
            raise BadInput(f"emt does not support {', '.join(unknown)}; use --potential 7net-0, chgnet, or a trained model")
        return EMT()
    from nucleate.potentials.calculator import NucleateCalculator
    from nucleate.potentials.prior import pretrained_potential

    known = canonical_name(name) in PRETRAINED or name.lower().startswith("mace:")
    return NucleateCalculator(pretrained_potential(name, atoms.numbers, role="potential") if known else name)


def draw_structures(settings: DynamicsSettings, progress: Progress = silent) -> list[Atoms]:
    """Sample snapshots of Langevin dynamics at constant volume, one per interval.

    Args:
        settings: Settings of the dynamics.
        progress: Called with a `Step` after each time step.
    """
    rng = np.random.default_rng(settings.seed)
    atoms = starting_cell(settings)
    atoms.calc = make_potential(settings.potential, atoms)
    done, total = 0, settings.equilibration * (2 if settings.phase == "liquid" else 1) + settings.interval * (settings.snapshots - 1)

    def run(steps: int, temperature: float) -> None:
        nonlocal done
        dynamics = Langevin(
            atoms, settings.step * units.fs, temperature_K=temperature, friction=settings.friction / units.fs, rng=rng, logfile=None
        )
        for _ in dynamics.irun(steps):
            progress(Step("dynamics", min(done + dynamics.nsteps, total), total))
        done += steps

    start = max(MELTING * settings.temperature, 2500.0) if settings.phase == "liquid" else settings.temperature
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * start, rng=rng)
    if settings.phase == "liquid":
        run(settings.equilibration, start)
    run(settings.equilibration, settings.temperature)
    drawn = []
    for number in range(settings.snapshots):
        if number:
            run(settings.interval, settings.temperature)
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        if settings.strain:
            strain = rng.uniform(-settings.strain, settings.strain, (3, 3))
            copy.set_cell(copy.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        copy.wrap()
        drawn.append(copy)
    return drawn


def write_structures(path: Path, structures: list[Atoms]) -> None:
    """Write structures as extended XYZ atomically."""
    part = path.with_name(path.name + ".part")
    ase.io.write(part, structures, format="extxyz")
    part.replace(path)
