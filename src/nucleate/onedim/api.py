"""The verbs of `nucleate onedim` as Python functions, in Hartree atomic units.

from nucleate.onedim import api

result = api.invert(api.atoms_well("1@-1 1@1"), electrons=2)
motion = api.propagate(api.atoms_well("2@0"), electrons=2, amplitude=0.02)
print(result.ionisation, result.xc, motion.dipole)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleate.errors import BadInput, NucleateError
from nucleate.onedim.exact import LEAK, check_walls, ground_state
from nucleate.onedim.inversion import VISIBLE, one_orbital_potential
from nucleate.onedim.inversion import invert as _invert
from nucleate.onedim.kohn_sham import exchange_energy, exchange_potential, self_consistent
from nucleate.onedim.propagation import Functional, Motion, Pulse, propagate_orbitals, propagate_pair
from nucleate.onedim.wells import Well, atoms_well, read_well
from nucleate.progress import Progress, silent

__all__ = ["Inverted", "Propagated", "atoms_well", "functional_of", "invert", "propagate", "read_well"]

MOST_ELECTRONS = 20
COUNT_ERROR = 1e-3
"""Largest deviation of the integral of a given density from the number of electrons."""
MOST_STEPS = 1_000_000
MOST_VALUES = 50_000_000
"""Largest number of values of the density that a propagation keeps."""
MOST_PAIR_POINTS = 601
"""Largest grid on which two electrons are propagated; a step needs some 50 n^2 operations."""


@dataclass(frozen=True)
class Inverted:
    """Kohn-Sham potential of a density; arrays are (n,) and in Hartree atomic units.

    Attributes:
        x: Positions in bohr.
        density: Density in 1/bohr.
        external, hartree, xc, kohn_sham: Potentials in hartree.
        orbital_energies: (m,) occupied Kohn-Sham energies in hartree.
        ionisation: Ionisation energy in hartree.
        energy: Exact total energy in hartree, or None for a given density.
        error: Largest error of the density of the Kohn-Sham potential, in 1/bohr.
        iterations: Number of Newton steps.
        analytic_difference: Largest difference in hartree from the analytic potential of one orbital where n > 1e-6 /bohr, else None.
    """

    x: np.ndarray
    density: np.ndarray
    external: np.ndarray
    hartree: np.ndarray
    xc: np.ndarray
    kohn_sham: np.ndarray
    orbital_energies: list[float]
    ionisation: float
    energy: float | None
    error: float
    iterations: int
    analytic_difference: float | None


def invert(well: Well, electrons: int = 2, ionisation: float | None = None) -> Inverted:
    """Compute the exchange-correlation potential of the exact density of a well, or of the density that the well gives.

    Args:
        well: External potential, from `atoms_well` or `read_well`.
        electrons: Number of electrons; without a density at most two.
        ionisation: Ionisation energy in hartree, which fixes the constant of the potential; required with a given density.

    Raises:
        BadInput: The potential does not bind the electrons, the density has another number of electrons or does not vanish at the walls, or
            the ionisation energy is missing, not positive, or given although it is computed.
        NucleateError: The inversion did not converge.
    """
    if not 1 <= electrons <= MOST_ELECTRONS:
        raise BadInput(f"electrons {electrons}: give 1 to {MOST_ELECTRONS}")
    energy = None
    if well.density is None:
        if ionisation is not None:
            raise BadInput("ionisation: the exact state gives the ionisation energy; leave it out, or give a density as third column")
        state = ground_state(well, electrons)
        density, energy, ionisation = state.density, state.energy, state.ionisation
    else:
        density = _given_density(well, electrons)
        if ionisation is None:
            raise BadInput(f"{well.name}: gives a density; give its ionisation energy in hartree as well, which fixes the constant of v_xc")
        if not (np.isfinite(ionisation) and ionisation > 0):
            raise BadInput(
                f"{well.name}: does not bind its {electrons} electrons with the ionisation energy {ionisation:g} Ha; it must be positive"
            )
    found = _invert(well, density, electrons, ionisation)
    difference = None
    if electrons <= 2:
        analytic = one_orbital_potential(well.grid, density) + float(found.energies[-1])
        difference = float(np.abs(analytic - found.kohn_sham)[density > VISIBLE].max())
    return Inverted(
        well.grid.x, density, well.potential, found.hartree, found.xc, found.kohn_sham, found.energies.tolist(), ionisation, energy,
        found.error, found.iterations, difference,
    )  # fmt: skip


def _given_density(well: Well, electrons: int) -> np.ndarray:
    assert well.density is not None
    count = float(well.grid.integral(well.density))
    if abs(count - electrons) > COUNT_ERROR * electrons:
        raise BadInput(f"{well.name}: the integral of the density is {count:.4f}, but {electrons} electrons are given")
    check_walls(well, well.density)
    return np.asarray(well.density * (electrons / count))


@dataclass(frozen=True)
class Propagated:
    """Electrons in a pulse, and what moved them.

    Attributes:
        theory: `exact`, or the name of the adiabatic functional.
        electrons: Number of electrons.
        pulse: Laser pulse.
        time_step: Time step in atomic units.
        x: (n,) positions in bohr.
        motion: Times, field, dipole, norm, energy and densities.
        leak: Largest density at a wall at any recorded time, in 1/bohr; motion with a larger one than 1e-6 feels the walls.
    """

    theory: str
    electrons: int
    pulse: Pulse
    time_step: float
    x: np.ndarray
    motion: Motion
    leak: float

    @property
    def walls_felt(self) -> bool:
        """Whether the density has reached the walls."""
        return self.leak > LEAK


def functional_of(well: Well, electrons: int) -> Functional:
    """Return the exchange functional: exact for at most two electrons, where it cancels the self-interaction, else local.

    One or two electrons in one orbital have E_x = -E_H / N, v_x = -v_H / N.
    """
    grid = well.grid
    if electrons <= 2:
        return Functional(
            "exact exchange",
            lambda n: -grid.hartree(n) / electrons,
            lambda n: -0.5 * float(grid.integral(grid.hartree(n) * n)) / electrons,
        )
    a = grid.softening
    return Functional("local exchange", lambda n: exchange_potential(n, a), lambda n: float(grid.integral(exchange_energy(n, a))))


def propagate(
    well: Well,
    electrons: int = 2,
    *,
    theory: str = "exact",
    amplitude: float = 0.02,
    frequency: float = 0.15,
    cycles: float = 4.0,
    time: float | None = None,
    time_step: float = 0.05,
    every: int = 20,
    progress: Progress = silent,
) -> Propagated:
    """Propagate electrons from their ground state in a laser pulse.

    Args:
        well: External potential.
        electrons: Number of electrons.
        theory: `exact` for one or two electrons, or `kohn-sham` with adiabatic exchange: exact for one orbital, else local.
        amplitude: Largest field in atomic units.
        frequency: Frequency in hartree.
        cycles: Number of periods of the pulse.
        time: Length of the simulation in atomic units; None: that of the pulse.
        time_step: Time step in atomic units.
        every: Number of steps between two records.
        progress: Called with the steps.

    Raises:
        BadInput: A value is out of its range, or the potential does not bind the electrons.
        NucleateError: The ground state did not converge.
    """
    if theory not in ("exact", "kohn-sham"):
        raise BadInput(f"theory '{theory}': give exact or kohn-sham")
    if not 1 <= electrons <= (2 if theory == "exact" else MOST_ELECTRONS):
        raise BadInput(f"electrons {electrons}: exact propagation handles 1 or 2, kohn-sham 1 to {MOST_ELECTRONS}")
    if not (np.isfinite([amplitude, frequency, cycles, time_step]).all() and min(frequency, cycles, time_step) > 0):
        raise BadInput("pulse: give a finite amplitude and a positive frequency, number of cycles and time step")
    pulse = Pulse(amplitude, frequency, cycles)
    length = pulse.duration if time is None else time
    steps = round(length / time_step) if np.isfinite(length) else 0
    if every < 1 or not 1 <= steps <= MOST_STEPS:
        raise BadInput(f"time {length:g} with steps of {time_step:g}: give 1 to {MOST_STEPS} steps, and a record after one or more of them")
    if steps // every * len(well.grid) > MOST_VALUES:
        raise BadInput(f"time {length:g}: {steps // every} records of {len(well.grid)} points are too many; record after more steps")
    if theory == "exact":
        if electrons == 2 and len(well.grid) > MOST_PAIR_POINTS:
            raise BadInput(f"{well.name}: two electrons are propagated on at most {MOST_PAIR_POINTS} points; give a coarser grid")
        state = ground_state(well, electrons)
        name = "exact"
        if electrons == 2:
            motion = propagate_pair(well, state.wave, pulse, time_step, steps, every, progress)
        else:
            free = functional_of(well, 1)
            motion = propagate_orbitals(well, state.wave[:, None], 1, free, pulse, time_step, steps, every, progress)
    else:
        functional = functional_of(well, electrons)
        name = functional.name
        start = self_consistent(well, electrons, functional.potential)
        if not start.converged:
            raise NucleateError(f"{well.name}: the Kohn-Sham ground state did not converge; change the grid or the number of electrons")
        highest = float(start.orbitals.energies[-1])
        if highest >= well.vacuum:
            raise BadInput(
                f"{well.name}: does not bind its {electrons} electrons with {name}: the ionisation energy is {well.vacuum - highest:.4f} Ha"
            )
        check_walls(well, start.orbitals.density)
        motion = propagate_orbitals(well, start, electrons, functional, pulse, time_step, steps, every, progress)
    return Propagated(name, electrons, pulse, time_step, well.grid.x, motion, float(motion.densities[:, [0, -1]].max()))
