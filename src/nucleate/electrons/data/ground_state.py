"""The ground state of the electrons from GPAW, and the local density of states from its wavefunctions.

d(E, r) = sum_(n, k) 2 w_k |psi_nk(r)|² g(E - e_nk), g a Gaussian of width sigma. Plane waves with norm-conserving pseudopotentials
(setups hgh) make sum f |psi|² the density exactly. GPAW: J. J. Mortensen et al., J. Chem. Phys. 160, 092503 (2024), doi 10.1063/5.0182685.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms
from scipy.special import erf

from nucleate.electrons.settings import GroundStateSettings
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput, ReferenceFailed
from nucleate.gpaw.errors import gpaw_errors
from nucleate.gpaw.keywords import SYMMETRY_TOLERANCE, monkhorst_pack
from nucleate.gpaw.session import require_gpaw
from nucleate.reference.base import refuse_overlap
from nucleate.reference.kpoints import plain_grid
from nucleate.units import BOHR, BOLTZMANN, HARTREE

MARGIN = 2.5
"""eV above the Fermi level that the window of energies reaches if it is not given."""
CONVERGED = 1.0
"""eV above the first empty level up to which levels are converged."""


@dataclass(frozen=True)
class Snapshot:
    """A structure with its electrons.

    Attributes:
        atoms: the structure.
        energies: (n_energies,), evenly spaced, eV; zero is the average electrostatic potential of electrons and Gaussian ions.
        ldos: (n_1, n_2, n_3, n_energies), 1/(eV Å³), float32.
        density: (n_1, n_2, n_3), 1/Å³; None where it was not computed.
        sigma: width of the Gaussians in it, eV.
        temperature: of the electrons, K.
        fermi_level: eV.
        terms: the engine's own energies, eV: band, kinetic, coulomb, zero, xc, entropy (-TS), free.
        ions: the pseudopotentials, by symbol.
        engine: what decides the result: name, version, functional, pseudopotentials.
        details: iterations, CPU-seconds and the like.
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

    @property
    def electrons(self) -> float:
        """Valence electrons."""
        return sum(self.ions[symbol].charge for symbol in self.atoms.get_chemical_symbols())


ENGINE_KEYS = ("engine", "functional", "pseudopotential", "cutoff")
"""What must be the same for electrons to be compared."""


def check_engine(where: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise `BadInput`, beginning with `where`, if electrons were computed in another way."""
    for key in ENGINE_KEYS:
        if found.get(key) != wanted.get(key):
            raise BadInput(f"{where} {key} is {found.get(key)}, not {wanted.get(key)}")


def engine_settings(settings: GroundStateSettings) -> dict[str, Any]:
    """What decides the result of a ground state but the structure, the energies and the temperature."""
    return {
        "engine": "gpaw",
        "version": version("gpaw"),
        "functional": "LDA",
        "pseudopotential": settings.pseudopotential,
        "cutoff": settings.cutoff,
        "k_spacing": settings.k_spacing,
    }


def gpaw_parameters(atoms: Atoms, settings: GroundStateSettings) -> dict[str, Any]:
    """Keywords of a GPAW calculation.

    Raises:
        MissingDependency: GPAW is not installed.
    """
    require_gpaw()
    from gpaw import PW, FermiDirac

    grid = plain_grid(atoms, settings.k_spacing)
    return {
        # At the Gamma point alone GPAW would take real wavefunctions.
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
    """The ions behind GPAW's norm-conserving setups."""
    found = {}
    for setup in setups:
        data = setup.data
        radius, charge = data.hghdata.rloc, data.Nv
        # GPAW takes the self-energy of the Gaussian off with the value of its radial grid.
        constant = charge**2 / (2 * math.sqrt(math.pi) * radius) - data.Eh_compcharge
        symbol = data.symbol.split(".")[0]
        found[symbol] = Ion(symbol, float(charge), radius * BOHR, constant * HARTREE)
    return found


def ground_state(atoms: Atoms, settings: GroundStateSettings, window: tuple[float, float] | None = None, symmetry: bool = True) -> Snapshot:
    """One self-consistent calculation, spins paired, and the local density of states on GPAW's real-space grid.

    Levels further than 1 eV (or 12 kT, if that is more) above the first empty one are not converged.

    Args:
        atoms: periodic structure.
        settings: cutoff, k-points, temperature, smearing.
        window: first and last energy, eV; unset: those of the settings, or from the levels.
        symmetry: compute k-points that the crystal's symmetry makes equal once.

    Raises:
        ReferenceFailed: it did not converge, or GPAW refused it.
        MissingDependency: GPAW is not installed.
    """
    require_gpaw()
    from gpaw import GPAW

    refuse_overlap(atoms, "gpaw")
    started = time.process_time()
    atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    parameters = gpaw_parameters(atoms, settings)
    # exp(-12) of what lies there is occupied.
    hot = 12 * BOLTZMANN * settings.electronic_temperature
    if not symmetry:
        parameters["symmetry"] = {"point_group": False}
    # Empty levels near the Fermi level must be right as well.
    parameters["convergence"]["bands"] = f"CBM+{max(CONVERGED, hot)}"
    calculator = None
    for more in (1.25, 1.6, 2.5):
        calculator = GPAW(**parameters, nbands=f"{100 * more + 400 / len(atoms):.0f}%")
        try:
            with gpaw_errors():
                calculator.get_potential_energy(atoms)
            break
        except ReferenceFailed as failure:
            if failure.kind != "bands":
                raise
            if more > 2:
                raise ReferenceFailed(
                    "GPAW: two and a half times the occupied bands do not reach the empty levels that are needed; lower the electronic "
                    "temperature or the end of the energy window",
                    kind="unconverged",
                ) from failure
    assert calculator is not None
    dft = calculator.dft
    fermi = float(dft.ibzwfs.fermi_level * HARTREE)
    lowest = min(float(wfs.eig_n[0]) for wfs in dft.ibzwfs) * HARTREE
    low, high = window or (
        settings.low if settings.low is not None else lowest - 1.0 - 6 * settings.sigma,
        settings.high if settings.high is not None else fermi + max(MARGIN, hot),
    )
    energies = low + settings.spacing * np.arange(round((high - low) / settings.spacing) + 1)
    ldos = local_density_of_states(dft, energies, settings.sigma)
    names = ("band", "coulomb", "zero", "xc", "entropy")
    terms = {name: float(dft.energies._energies[name]) * HARTREE for name in names}
    terms |= {"kinetic": float(dft.energies.kinetic) * HARTREE, "free": float(dft.energies.total_free) * HARTREE}
    return Snapshot(
        atoms=atoms,
        energies=energies,
        ldos=ldos,
        density=dft.density.nt_sR.data[0] / BOHR**3,
        sigma=settings.sigma,
        temperature=settings.electronic_temperature,
        fermi_level=fermi,
        terms=terms,
        ions=ions_of_setups(dft.setups),
        engine=engine_settings(settings),
        details={
            "cpu_seconds": time.process_time() - started,
            "iterations": calculator.get_number_of_iterations(),
            "k_points": len(dft.ibzwfs.ibz),
            "bands": dft.ibzwfs.nbands,
            "missing_charge": missing_charge(dft, energies, settings.sigma),
        },
    )


def missing_charge(dft: Any, energies: np.ndarray, sigma: float) -> float:
    """Electrons in occupied levels whose Gaussians lie outside the window of energies."""
    missing = 0.0
    for wfs in dft.ibzwfs:
        levels = np.asarray(wfs.eig_n) * HARTREE
        inside = (erf((energies[-1] - levels) / (2**0.5 * sigma)) - erf((energies[0] - levels) / (2**0.5 * sigma))) / 2
        missing += wfs.weight * wfs.spin_degeneracy * float(np.sum((1 - inside) * np.asarray(wfs.occ_n)))
    return float(missing)


def local_density_of_states(dft: Any, energies: np.ndarray, sigma: float) -> np.ndarray:
    """d(E, r) on GPAW's grid: (n_1, n_2, n_3, n_energies), 1/(eV Å³), float32.

    Only the irreducible k-points are computed; the sum over their images is a sum over the crystal's symmetry operations.
    """
    grid = dft.density.nt_sR.desc
    shape = tuple(grid.size_c)
    total = np.zeros((len(energies), math.prod(shape)))
    for wfs in dft.ibzwfs:
        levels = np.asarray(wfs.eig_n) * HARTREE
        weights = np.exp(-((energies[:, None] - levels) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
        seen = weights.max(axis=0) > 1e-14 / sigma
        squares = np.stack([np.abs(psi.ifft(grid=grid.new(dtype=complex), periodic=True).data.ravel()) ** 2 for psi in wfs.psit_nX])
        total += wfs.weight * wfs.spin_degeneracy * (weights[:, seen] @ squares[seen])
    symmetries = dft.ibzwfs.ibz.symmetries
    if len(symmetries.rotation_scc) > 1:
        drawn = grid.new(dtype=float).empty(len(energies))
        drawn.data[:] = total.reshape(len(energies), *shape)
        drawn.symmetrize(symmetries.rotation_scc, symmetries.translation_sc)
        total = drawn.data.reshape(len(energies), -1)
    return np.ascontiguousarray((total / BOHR**3).T.reshape(*shape, len(energies)), dtype=np.float32)
