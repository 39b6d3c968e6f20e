"""Self-consistent GPAW calculations from a given density or potential.

The density is set before the first wavefunctions are created, so that the atomic orbitals are diagonalised in its potential.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.electrons.data.ground_state import gpaw_parameters
from nucleate.electrons.settings import GroundStateSettings
from nucleate.electrons.species import check_apart
from nucleate.errors import BadInput
from nucleate.gpaw.errors import gpaw_errors
from nucleate.units import BOHR, HARTREE


@dataclass(frozen=True)
class Converged:
    """Converged self-consistent calculation.

    Attributes:
        iterations: Number of self-consistent iterations.
        cpu_seconds: CPU time in seconds, including the initialisation.
        free_energy: Free energy in eV.
        density: (n_1, n_2, n_3) density in 1/Å³.
        potential: Effective potential on the same grid in eV.
        dft: GPAW object.
    """

    iterations: int
    cpu_seconds: float
    free_energy: float
    density: np.ndarray
    potential: np.ndarray
    dft: Any


def _builder(atoms: Atoms, settings: GroundStateSettings, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    keywords = {**gpaw_parameters(atoms, settings), **options}
    check_apart(atoms, "gpaw")
    from gpaw.dft import Parameters
    from gpaw.new.logger import Logger

    keywords.pop("txt")
    parameters = Parameters(**keywords)
    log = Logger(None, None)
    return parameters, log, parameters.dft_component_builder(atoms, log=log, comm=log.comm)


def grid_shape(atoms: Atoms, settings: GroundStateSettings) -> tuple[int, int, int]:
    """Return the shape of GPAW's density grid for this structure."""
    n1, n2, n3 = (int(n) for n in _builder(atoms, settings, {})[2].grid.size_c)
    return n1, n2, n3


def superposition(atoms: Atoms, settings: GroundStateSettings, shape: tuple[int, int, int]) -> np.ndarray:
    """Return GPAW's density of superposed atoms in 1/Å³ on a grid of this shape, scaled to the exact charge."""
    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    # Without GPAW, this says how to install it.
    keywords = gpaw_parameters(plain, settings)
    check_apart(plain, "gpaw")
    from nucleate.gpaw.continued import superposed

    return superposed(plain, keywords, shape)[0] / BOHR**3


def converge(
    atoms: Atoms,
    settings: GroundStateSettings,
    density: np.ndarray | None = None,
    potential: np.ndarray | None = None,
    fixed_steps: int = 0,
    options: dict[str, Any] | None = None,
) -> Converged:
    """Run one self-consistent calculation from superposed atoms, a density, or a potential.

    Args:
        atoms: Periodic structure.
        settings: Cutoff, k-points, temperature.
        density: Starting density in 1/Å³ on GPAW's grid.
        potential: Effective potential in eV on the same grid for the first wavefunctions, which determine the first density.
        fixed_steps: Number of eigensolver steps before the first density update; useful only for a nearly exact density.
        options: Additional GPAW keywords, such as the mixer.

    Raises:
        BadInput: The density or potential is on another grid.
        ReferenceFailed: The calculation did not converge.
    """
    atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    started = time.process_time()
    parameters, log, builder = _builder(atoms, settings, options or {})
    from gpaw.new.calculation import DFT

    basis = builder.create_basis_set()
    loop, calculator = builder.create_scf_loop(), builder.create_potential_calculator()
    guess = builder.density_from_superposition(basis)
    guess.normalize(calculator.charge)
    for given in (density, potential):
        if given is not None and given.shape != guess.nt_sR.data.shape[1:]:
            raise BadInput(f"the start has a grid of {given.shape}, but GPAW uses {guess.nt_sR.data.shape[1:]}")
    if density is not None:
        guess.nt_sR.data[0] = density * BOHR**3
        guess.normalize(calculator.charge)
    field, energies, _ = calculator.calculate_without_orbitals(guess, kpt_band_comm=builder.communicators["D"])
    if potential is not None:
        field.vt_sR.data[0] = potential / HARTREE
    waves = builder.create_ibz_wave_functions(basis, field)
    electrons = guess.nvalence - guess.charge + calculator.charge
    waves.calculate_occs(loop.occ_calc, electrons)
    for _ in range(fixed_steps):
        loop.eigensolver.iterate(waves, guess, field, loop.hamiltonian, calculator, energies)
        waves.calculate_occs(loop.occ_calc, electrons)
    if potential is not None:
        guess.update(waves)
        field, energies, _ = calculator.calculate(guess, waves, field.vHt_x)
    dft = DFT.from_components(atoms, waves, guess, field, builder.setups, loop, calculator, log, parameters, energies, converge=False)
    steps = 0
    with gpaw_errors():
        for _ in dft.iconverge():
            steps += 1
    return Converged(
        iterations=steps,
        cpu_seconds=time.process_time() - started,
        free_energy=float(dft.energies.total_free) * HARTREE,
        density=dft.density.nt_sR.data[0] / BOHR**3,
        potential=dft.potential.vt_sR.data[0] * HARTREE,
        dft=dft,
    )
