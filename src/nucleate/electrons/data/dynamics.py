"""Molecular dynamics with ASE to sample structures of a crystal or its melt."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import bulk, find_optimal_cell_shape, make_supercell
from ase.calculators.emt import EMT
from ase.calculators.emt import parameters as emt_parameters
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from pydantic import BaseModel, ConfigDict, Field

from nucleate.crystals.checks import refuse_constraints, refuse_moments
from nucleate.crystals.io import read_structure
from nucleate.errors import BadInput
from nucleate.pretrained import NAMES, PRETRAINED, canonical_name
from nucleate.progress import Progress, Step, silent
from nucleate.time_series import autocorrelation_time

log = logging.getLogger(__name__)

MELTING = 3.0
"""Melting temperature relative to the requested temperature; the minimum is 2,500 K."""
MOST_DRIFT = 4.0
"""Largest drift of the potential energy of a dynamics that counts as equilibrated, in standard errors."""
NO_SPIN = "a sampling starts every calculation from magnetic_moments in [ground_state]"


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


@dataclass(frozen=True)
class Statistics:
    """What the dynamics shows about equilibration and independence of its structures.

    Attributes:
        temperature: mean kinetic temperature after the equilibration, K.
        potential_energy: mean potential energy after the equilibration, eV/atom.
        drift: slope of a straight line through the potential energies, in units of its standard error.
        correlation_time: integrated autocorrelation time of the potential energy, fs.
        interval: time between structures, fs.
    """

    temperature: float
    potential_energy: float
    drift: float
    correlation_time: float
    interval: float

    def as_dict(self) -> dict[str, float]:
        """Return a dictionary for serialisation."""
        return asdict(self)

    @property
    def warning(self) -> str:
        """What is wrong with the dynamics, or an empty string."""
        if abs(self.drift) > MOST_DRIFT:
            return f"the potential energy still changes ({self.drift:+.1f} standard errors); increase equilibration"
        if self.interval < 2 * self.correlation_time:
            return (
                f"the structures are correlated (interval {self.interval:.0f} fs, correlation time {self.correlation_time:.0f} fs); "
                "increase interval"
            )
        return ""


def statistics(energies: np.ndarray, temperatures: np.ndarray, step: float, interval: float) -> Statistics:
    """Return the statistics of a trajectory after its equilibration.

    Args:
        energies: (n_steps,) potential energies, eV/atom.
        temperatures: (n_steps,) kinetic temperatures, K.
        step: time step, fs.
        interval: time between structures, fs.
    """
    times = np.arange(len(energies)) - (len(energies) - 1) / 2
    slope = float(times @ energies / max(1.0, float(times @ times)))
    # A drift would count as correlation.
    noise = energies - energies.mean() - slope * times
    steps = autocorrelation_time(noise)
    # Every 2 tau steps are independent.
    error = math.sqrt(float(noise.var()) * 2 * steps / max(1.0, float(times @ times)))
    drift = slope / error if error > 0 else 0.0
    return Statistics(float(temperatures.mean()), float(energies.mean()), drift, steps * step, interval)


@dataclass(frozen=True)
class Trajectory:
    """Structures of a molecular dynamics, and its statistics, or None if there is a single structure."""

    structures: list[Atoms]
    statistics: Statistics | None


def run_dynamics(settings: DynamicsSettings, progress: Progress = silent) -> Trajectory:
    """Sample snapshots of Langevin dynamics at constant volume, one per interval.

    A dynamics that is not equilibrated, or whose structures are correlated, is named in a warning.

    Args:
        settings: Settings of the dynamics.
        progress: Called with a `Step` after each time step.
    """
    rng = np.random.default_rng(settings.seed)
    atoms = starting_cell(settings)
    atoms.calc = make_potential(settings.potential, atoms)
    # The thermostat's own option for a fixed centre of mass gives small cells another distribution.
    atoms.set_constraint(FixCom())
    done, total = 0, settings.equilibration * (2 if settings.phase == "liquid" else 1) + settings.interval * (settings.snapshots - 1)
    energies: list[float] = []
    temperatures: list[float] = []

    def run(steps: int, temperature: float, recorded: bool = False) -> None:
        nonlocal done
        dynamics = Langevin(
            atoms, settings.step * units.fs, temperature_K=temperature, friction=settings.friction / units.fs, fixcm=False, rng=rng,
            logfile=None,
        )  # fmt: skip
        for _ in dynamics.irun(steps):
            progress(Step("dynamics", min(done + dynamics.nsteps, total), total))
            if recorded and dynamics.nsteps:
                energies.append(atoms.get_potential_energy() / len(atoms))
                temperatures.append(atoms.get_temperature())
        done += steps

    start = max(MELTING * settings.temperature, 2500.0) if settings.phase == "liquid" else settings.temperature
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * start, rng=rng)
    if settings.phase == "liquid":
        run(settings.equilibration, start)
    run(settings.equilibration, settings.temperature)
    drawn = []
    for number in range(settings.snapshots):
        if number:
            run(settings.interval, settings.temperature, recorded=True)
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        if settings.strain:
            strain = rng.uniform(-settings.strain, settings.strain, (3, 3))
            copy.set_cell(copy.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        copy.wrap()
        drawn.append(copy)
    found = None
    if energies:
        found = statistics(np.array(energies), np.array(temperatures), settings.step, settings.interval * settings.step)
        if found.warning:
            log.warning("%s at %g K: %s", settings.material, settings.temperature, found.warning)
    return Trajectory(drawn, found)


def write_structures(path: Path, structures: list[Atoms]) -> None:
    """Write structures as extended XYZ atomically."""
    part = path.with_name(path.name + ".part")
    ase.io.write(part, structures, format="extxyz")
    part.replace(path)
