"""Electronic ground states from GPAW and the local density of states from their wavefunctions.

d(E, r) = sum_(n, k, spin) w_k |psi_nk(r)|² g(E - e_nk) with a Gaussian g of width sigma. With plane waves and norm-conserving
pseudopotentials (setups hgh), sum f |psi|² is exactly the density. GPAW: J. J. Mortensen et al., J. Chem. Phys. 160, 092503 (2024), doi
10.1063/5.0182685.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from scipy.special import erf

from nucleate.electrons.levels.zero import zero_of_energy
from nucleate.electrons.settings import GroundStateSettings
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput, ReferenceFailed
from nucleate.gpaw.errors import gpaw_errors
from nucleate.gpaw.keywords import SYMMETRY_TOLERANCE, monkhorst_pack
from nucleate.gpaw.pulay import pulay_stress
from nucleate.gpaw.session import require_gpaw
from nucleate.reference.base import refuse_overlap
from nucleate.reference.kpoints import plain_grid
from nucleate.units import BOHR, BOLTZMANN, HARTREE

log = logging.getLogger(__name__)

MARGIN = 2.5
"""Default upper end of the energy window above the Fermi level in eV."""
INSULATING = 10.0
"""Smallest band gap of an insulator in kT."""
CONVERGED = 1.0
"""Energy range above the first empty level in eV in which levels are converged."""
TAIL = 3.0
"""Levels up to this many widths above the energy window contribute to it."""
SLACK = 0.2
"""Difference of two calculations in the energy of the first empty level, eV, at most."""
MORE_BANDS = 1.2
"""Bands relative to those of free electrons; the number of levels below an energy differs between k-points."""


@dataclass(frozen=True)
class Snapshot:
    """Structure with its electronic ground state.

    Attributes:
        atoms: Structure.
        energies: (n_energies,) evenly spaced energies in eV; zero is the average electrostatic potential of electrons and Gaussian ions.
        ldos: (n_1, n_2, n_3, n_energies) local density of states in 1/(eV Å³), float32.
        density: (n_1, n_2, n_3) electron density in 1/Å³; None if not available.
        sigma: Gaussian width of the local density of states in eV.
        temperature: Electronic temperature in K.
        fermi_level: Fermi level in eV.
        terms: Energy terms of the engine in eV: band, kinetic, coulomb, zero, xc, entropy (-TS), free.
        ions: Pseudopotential ions by symbol.
        engine: Settings that determine the result: name, version, functional, pseudopotentials.
        details: Number of iterations, CPU-seconds and similar data.
        spin_ldos: Local density of states of spin up minus that of spin down, like `ldos`; None if spin-paired.
        spin_density: (n_1, n_2, n_3) density of spin up minus that of spin down in 1/Å³; None if spin-paired.
        occupied_ldos: Local density of states with each level weighted by its occupation, like `ldos`, for insulators; None for others.
        band_edges: Highest level that is more than half filled and lowest one that is less, in eV; None if unknown.
        forces: (n_atoms, 3) forces of the engine in eV/Å, derivatives of the free energy; None if not available.
        stress: (3, 3) stress in eV/Å³, at a fixed cutoff (`gpaw.pulay`); None if not available.
    """

    atoms: Atoms
    energies: np.ndarray
    ldos: np.ndarray
    density: np.ndarray | None
    sigma: float
    temperature: float
    fermi_level: float | None
    terms: dict[str, float]
    ions: dict[str, Ion]
    engine: dict[str, Any]
    details: dict[str, Any]
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    spin_ldos: np.ndarray | None = None
    spin_density: np.ndarray | None = None
    occupied_ldos: np.ndarray | None = None
    band_edges: tuple[float, float] | None = None

    @property
    def insulating(self) -> bool:
        """Whether the snapshot is spin-paired and the electrons do not reach across its band gap."""
        if self.band_edges is None or self.spin_density is not None:
            return False
        return self.band_edges[1] - self.band_edges[0] > INSULATING * BOLTZMANN * self.temperature

    @property
    def electrons(self) -> float:
        """Number of valence electrons."""
        return sum(self.ions[symbol].charge for symbol in self.atoms.get_chemical_symbols())

    @property
    def dos(self) -> np.ndarray:
        """Density of states of the cell in 1/eV, (n_energies,)."""
        voxel = self.atoms.get_volume() / math.prod(self.ldos.shape[:3])
        return self.ldos.sum((0, 1, 2), dtype=np.float64) * voxel


ENGINE_KEYS = ("engine", "functional", "pseudopotential", "cutoff", "spin")
"""Engine settings that must agree between snapshots."""


def check_engine(where: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise `BadInput` with the prefix `where` if the engine settings differ; another version of the engine is named in a warning."""
    for key in ENGINE_KEYS:
        if found.get(key) != wanted.get(key):
            raise BadInput(f"{where} {key} is {found.get(key)} instead of {wanted.get(key)}")
    if found.get("version") != wanted.get("version"):
        log.warning("%s version of %s is %s instead of %s", where, found.get("engine"), found.get("version"), wanted.get("version"))


def engine_settings(atoms: Atoms, settings: GroundStateSettings) -> dict[str, Any]:
    """Return the settings that determine a ground state besides structure, energies and temperature, with the k-point mesh."""
    grid = plain_grid(atoms, settings.k_spacing)
    return {
        "engine": "gpaw",
        "version": version("gpaw"),
        "functional": "LDA",
        "pseudopotential": settings.pseudopotential,
        "cutoff": settings.cutoff,
        "k_spacing": settings.k_spacing,
        "mesh": list(grid.size),
        "mesh_shift": [bool(one) for one in grid.shift],
        # Earlier versions had no such key.
        **({"spin": "polarised"} if settings.spin else {}),
    }


def gpaw_parameters(atoms: Atoms, settings: GroundStateSettings) -> dict[str, Any]:
    """Return the keywords of a GPAW calculation.

    Raises:
        MissingDependency: GPAW is not installed.
    """
    require_gpaw()
    from gpaw import PW, FermiDirac

    grid = plain_grid(atoms, settings.k_spacing)
    return {
        # With the Gamma point only, GPAW would use real wavefunctions.
        "mode": PW(settings.cutoff, force_complex_dtype=True),
        "xc": "LDA",
        "setups": settings.pseudopotential,
        "kpts": monkhorst_pack(grid.size, grid.shift),
        "occupations": FermiDirac(BOLTZMANN * settings.electronic_temperature),
        "symmetry": {"tolerance": SYMMETRY_TOLERANCE},
        "maxiter": settings.max_iterations,
        "convergence": {"density": settings.density_tolerance, "energy": 1e-6, "eigenstates": 1e-7},
        "txt": None,
    }


def ions_of_setups(setups: Any) -> dict[str, Ion]:
    """Return the ions of GPAW's norm-conserving setups."""
    found = {}
    for setup in setups:
        data = setup.data
        radius, charge = data.hghdata.rloc, data.Nv
        # GPAW subtracts the self-energy of the Gaussian evaluated on its radial grid.
        constant = charge**2 / (2 * math.sqrt(math.pi) * radius) - data.Eh_compcharge
        symbol = data.symbol.split(".")[0]
        found[symbol] = Ion(symbol, float(charge), radius * BOHR, constant * HARTREE)
    return found


def ground_state(
    atoms: Atoms,
    settings: GroundStateSettings,
    window: tuple[float, float] | None = None,
    symmetry: bool = True,
    reach: float = CONVERGED,
) -> Snapshot:
    """Run one self-consistent calculation and compute the local density of states on GPAW's real-space grid.

    Levels more than 1 eV (or 12 kT, if larger) above the first empty level are not converged. If the bands of any k-point end within the
    window of energies, the calculation is repeated with all levels converged up to its end.

    Args:
        atoms: Periodic structure.
        settings: Cutoff, k-points, temperature, smearing.
        window: Lowest and highest energy in eV; default: those of the settings, or derived from the levels.
        symmetry: Whether to use the crystal symmetry to reduce k-points.
        reach: Energy in eV above the first empty level up to which levels are converged, if more than that.

    Raises:
        ReferenceFailed: The calculation did not converge, or GPAW raised an error.
        MissingDependency: GPAW is not installed.
    """
    started = time.process_time()
    atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    calculator = self_consistent(atoms, settings, symmetry, reach)
    dft = calculator.dft
    # The occupation at this energy is exp(-12).
    hot = 12 * BOLTZMANN * settings.electronic_temperature
    fermi = float(dft.ibzwfs.fermi_level * HARTREE)
    lowest = min(float(wfs.eig_n[0]) for wfs in dft.ibzwfs) * HARTREE
    low, high = window or (
        settings.low if settings.low is not None else lowest - 1.0 - 6 * settings.sigma,
        settings.high if settings.high is not None else fermi + max(MARGIN, hot),
    )
    energies = low + settings.spacing * np.arange(round((high - low) / settings.spacing) + 1)
    edges = band_edges(dft)
    # Bands end at another energy at each k-point; up to this one, no level is missing.
    complete_to = min(float(wfs.eig_n[-1]) for wfs in dft.ibzwfs) * HARTREE
    end = float(energies[-1]) + TAIL * settings.sigma
    if complete_to < end and reach < (needed := end + SLACK - edges[1]):
        snapshot = ground_state(atoms, settings, (float(energies[0]), float(energies[-1])), symmetry, needed)
        snapshot.details["cpu_seconds"] = time.process_time() - started
        return snapshot
    insulating = not settings.spin and edges[1] - edges[0] > INSULATING * BOLTZMANN * settings.electronic_temperature
    density = dft.density.nt_sR.data / BOHR**3
    names = ("band", "coulomb", "zero", "xc", "entropy")
    terms = {name: float(dft.energies._energies[name]) * HARTREE for name in names}
    pulay = pulay_stress(calculator)
    terms |= {"kinetic": float(dft.energies.kinetic) * HARTREE, "free": float(dft.energies.total_free) * HARTREE}
    return Snapshot(
        atoms=atoms,
        energies=energies,
        **local_density_of_states(dft, energies, settings.sigma, insulating),
        density=density.sum(0),
        sigma=settings.sigma,
        temperature=settings.electronic_temperature,
        fermi_level=fermi,
        terms=terms,
        ions=ions_of_setups(dft.setups),
        engine=engine_settings(atoms, settings),
        details={
            "cpu_seconds": time.process_time() - started,
            "iterations": calculator.get_number_of_iterations(),
            "k_points": len(dft.ibzwfs.ibz),
            "bands": dft.ibzwfs.nbands,
            "missing_charge": missing_charge(dft, energies, settings.sigma),
            "pulay_stress": pulay,
            "complete_to": complete_to,
            "reach": reach,
        },
        forces=np.array(calculator.get_forces(atoms), dtype=float),
        stress=voigt_6_to_full_3x3_stress(calculator.get_stress(atoms)) + pulay * np.eye(3),
        band_edges=edges,
        spin_density=density[0] - density[1] if settings.spin else None,
    )


def self_consistent(atoms: Atoms, settings: GroundStateSettings, symmetry: bool = True, reach: float = CONVERGED) -> Any:
    """Run one self-consistent calculation with the empty levels that an energy window needs; return GPAW's calculator.

    Args:
        atoms: Periodic structure.
        settings: Cutoff, k-points, temperature.
        symmetry: Whether to use the crystal symmetry to reduce k-points.
        reach: Energy in eV above the first empty level up to which levels are converged; 12 kT if that is more.

    Raises:
        ReferenceFailed: The calculation did not converge, or GPAW raised an error.
        MissingDependency: GPAW is not installed.
    """
    require_gpaw()
    from gpaw import GPAW

    refuse_overlap(atoms, "gpaw")
    if settings.spin:
        atoms.set_initial_magnetic_moments([settings.magnetic_moments.get(symbol, 0.0) for symbol in atoms.get_chemical_symbols()])
    parameters = gpaw_parameters(atoms, settings)
    if not symmetry:
        parameters["symmetry"] = {"point_group": False}
    # Empty levels near the Fermi level must be converged as well.
    reach = max(reach, 12 * BOLTZMANN * settings.electronic_temperature)
    parameters["convergence"]["bands"] = f"CBM+{reach}"
    # GPAW notices that there are too few bands only after the largest number of iterations.
    first = max(1.25, MORE_BANDS * free_electron_bands(atoms, reach))
    for more in (first, 1.4 * first, 2 * first):
        calculator = GPAW(**parameters, nbands=f"{100 * more + 400 / len(atoms):.0f}%")
        try:
            with gpaw_errors():
                calculator.get_potential_energy(atoms)
            return calculator
        except ReferenceFailed as failure:
            if failure.kind != "bands":
                raise
    raise ReferenceFailed(
        f"GPAW: {2 * first:.1f} times the occupied bands do not reach the empty levels that are needed, {reach:.1f} eV above the "
        "occupied ones; lower the electronic temperature or the end of the energy window (high)",
        kind="unconverged",
    )


def free_electron_bands(atoms: Atoms, reach: float) -> float:
    """Return the number of levels of free electrons below an energy, relative to the occupied ones.

    Args:
        atoms: Periodic structure, whose valence electrons are those of the pseudopotentials.
        reach: Energy above the Fermi level in eV.
    """
    from gpaw.hgh import setups

    symbols = atoms.get_chemical_symbols()
    if not set(symbols) <= set(setups):
        # GPAW names the element.
        return 1.0
    level = zero_of_energy("free electrons", sum(setups[symbol].Nv for symbol in symbols), torch.tensor(atoms.get_volume()))
    return float((1 + reach / level) ** 1.5)


def missing_charge(dft: Any, energies: np.ndarray, sigma: float) -> float:
    """Return the number of electrons whose Gaussians lie outside the energy window."""
    missing = 0.0
    for wfs in dft.ibzwfs:
        levels = np.asarray(wfs.eig_n) * HARTREE
        inside = (erf((energies[-1] - levels) / (2**0.5 * sigma)) - erf((energies[0] - levels) / (2**0.5 * sigma))) / 2
        missing += wfs.weight * wfs.spin_degeneracy * float(np.sum((1 - inside) * np.asarray(wfs.occ_n)))
    return float(missing)


def band_edges(dft: Any) -> tuple[float, float]:
    """Return the highest level that is more than half filled and the lowest one that is less, eV."""
    levels = np.concatenate([np.asarray(wfs.eig_n) for wfs in dft.ibzwfs]) * HARTREE
    filled = np.concatenate([np.asarray(wfs.occ_n) for wfs in dft.ibzwfs]) > 0.5
    return float(levels[filled].max()), float(levels[~filled].min())


def local_density_of_states(dft: Any, energies: np.ndarray, sigma: float, insulating: bool = False) -> dict[str, np.ndarray]:
    """Return d(E, r) on GPAW's grid, (n_1, n_2, n_3, n_energies) in 1/(eV Å³), float32, by the names of `Snapshot`.

    Only irreducible k-points are computed; their images are included by summing over the symmetry operations of the crystal.

    Args:
        dft: Converged calculation of GPAW.
        energies: (n_energies,) energies in eV.
        sigma: Width of the Gaussians in eV.
        insulating: Whether to return the part of the occupied levels as well.
    """
    grid = dft.density.nt_sR.desc
    shape = tuple(grid.size_c)
    of_spin = np.zeros((dft.density.ncomponents, len(energies), math.prod(shape)))
    occupied = np.zeros_like(of_spin[0]) if insulating else None
    for wfs in dft.ibzwfs:
        levels = np.asarray(wfs.eig_n) * HARTREE
        weights = np.exp(-((energies[:, None] - levels) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
        seen = weights.max(axis=0) > 1e-14 / sigma
        squares = np.stack([np.abs(psi.ifft(grid=grid.new(dtype=complex), periodic=True).data.ravel()) ** 2 for psi in wfs.psit_nX])
        weights *= wfs.weight * wfs.spin_degeneracy
        of_spin[wfs.spin] += weights[:, seen] @ squares[seen]
        if occupied is not None:
            occupied += (weights * np.asarray(wfs.occ_n))[:, seen] @ squares[seen]
    found = {"ldos": of_spin.sum(0)}
    if len(of_spin) == 2:
        found["spin_ldos"] = of_spin[0] - of_spin[1]
    if occupied is not None:
        found["occupied_ldos"] = occupied
    symmetries = dft.ibzwfs.ibz.symmetries
    if len(symmetries.rotation_scc) > 1:
        drawn = grid.new(dtype=float).empty(len(energies))
        for total in found.values():
            drawn.data[:] = total.reshape(len(energies), *shape)
            drawn.symmetrize(symmetries.rotation_scc, symmetries.translation_sc)
            total[:] = drawn.data.reshape(len(energies), -1)
    return {
        name: np.ascontiguousarray((total / BOHR**3).T.reshape(*shape, len(energies)), dtype=np.float32) for name, total in found.items()
    }
