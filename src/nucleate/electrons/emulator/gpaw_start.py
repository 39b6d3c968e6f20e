"""Self-consistent calculations of GPAW that start from a density or a potential of our own.

The density is put in place before the first wavefunctions are made: the atomic orbitals are then diagonalised in the good potential.
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
    """A finished self-consistent calculation.

    Attributes:
        iterations: of the self-consistent loop.
        cpu_seconds: from the structure to the end, the start included.
        free_energy: eV.
        density: (n_1, n_2, n_3), 1/Å³.
        potential: effective potential on the same grid, eV.
        dft: GPAW's own object.
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
    """The grid on which GPAW will hold the density of this structure."""
    n1, n2, n3 = (int(n) for n in _builder(atoms, settings, {})[2].grid.size_c)
    return n1, n2, n3


def superposition(atoms: Atoms, settings: GroundStateSettings, shape: tuple[int, int, int]) -> np.ndarray:
    """GPAW's density of superposed atoms, 1/Å³, its charge made exact.

    Raises:
        BadInput: GPAW would use another grid.
    """
    atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    # One k-point: the atoms' density knows of none, and tables for each are left out.
    _, _, builder = _builder(atoms, settings, {"kpts": (1, 1, 1), "symmetry": "off"})
    density = builder.density_from_superposition(builder.create_basis_set())
    density.normalize(0.0)
    values: np.ndarray = density.nt_sR.data[0] / BOHR**3
    if values.shape != shape:
        raise BadInput(f"GPAW holds this density on a grid of {values.shape}, not {shape}; give the calculation's own grid")
    return values


def converge(
    atoms: Atoms,
    settings: GroundStateSettings,
    density: np.ndarray | None = None,
    potential: np.ndarray | None = None,
    fixed_steps: int = 0,
    options: dict[str, Any] | None = None,
) -> Converged:
    """One self-consistent calculation from superposed atoms, a density, or a potential.

    Args:
        atoms: periodic structure.
        settings: cutoff, k-points, temperature.
        density: start, 1/Å³, on GPAW's grid.
        potential: effective potential for the first wavefunctions, eV, on the same grid; the first density is then theirs.
        fixed_steps: steps of the eigensolver before the density first moves; pays for a nearly exact density alone.
        options: further keywords of GPAW, such as the mixer.

    Raises:
        BadInput: a density or potential on another grid.
        ReferenceFailed: it did not converge.
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
            raise BadInput(f"the start has a grid of {given.shape}; GPAW uses {guess.nt_sR.data.shape[1:]} here")
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
