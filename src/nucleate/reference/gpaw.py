"""GPAW with plane waves and PAW as a reference.

J. J. Mortensen et al., J. Chem. Phys. 160, 092503 (2024), doi 10.1063/5.0182685. The presets come from the convergence
study in benchmarks/reference/convergence/README.md.
"""

from __future__ import annotations

import time
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.errors import ReferenceFailed
from nucleate.gpaw.errors import gpaw_errors
from nucleate.gpaw.keywords import SYMMETRY_TOLERANCE, monkhorst_pack
from nucleate.gpaw.levels import band_gap
from nucleate.gpaw.session import require_gpaw, setups_source
from nucleate.reference.base import Label, asked_of_engine, refuse_overlap, start_moments
from nucleate.reference.kpoints import SPACINGS, KGrid, bonding, k_grid
from nucleate.reference.settings import ReferenceSettings

HARD = frozenset(["H", "B", "C", "N", "O", "F", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn"])
"""Elements whose PAW functions need a higher cutoff before the stress can be used."""
PRESETS: dict[str, dict[str, float]] = {
    "fast": {"soft": 300.0, "hard": 450.0, "smearing": 0.1},
    "standard": {"soft": 350.0, "hard": 700.0, "smearing": 0.1},
    "accurate": {"soft": 600.0, "hard": 1000.0, "smearing": 0.05},
}
"""eV."""


CONVERGENCE = {"density": 1e-4, "forces": 0.01}
"""Forces (eV/Å) decide where a relaxation ends, so they must settle too."""


class GPAWReference:
    """GPAW plane-wave calculations of energy, forces and stress.

    Energies are extrapolated to zero smearing.

    Args:
        settings: preset, cutoff, k-spacing, smearing, functional.

    Raises:
        MissingDependency: GPAW is not installed.
    """

    name = "gpaw"
    surrogate = False

    def __init__(self, settings: ReferenceSettings):
        require_gpaw()
        self._settings = settings
        self._version = version("gpaw")

    def cutoff(self, atoms: Atoms) -> float:
        """Plane-wave cutoff for these elements, eV."""
        if self._settings.cutoff is not None:
            return self._settings.cutoff
        hard = bool(HARD & set(atoms.get_chemical_symbols()))
        return PRESETS[self._settings.preset]["hard" if hard else "soft"]

    def k_spacing(self, atoms: Atoms) -> float:
        """Spacing of k-points for these elements, 1/Å."""
        if self._settings.k_spacing is not None:
            return self._settings.k_spacing
        return SPACINGS[self._settings.preset][bonding(atoms)]

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """The grid for this lattice; None where the user's own `kpts` decide."""
        return None if "kpts" in self._settings.parameters else k_grid(atoms, self.k_spacing(atoms))

    @property
    def smearing(self) -> float:
        """Width of the Fermi-Dirac distribution, eV."""
        given = self._settings.smearing
        return PRESETS[self._settings.preset]["smearing"] if given is None else given

    def settings(self) -> dict[str, Any]:
        """What decides the result; cutoff and k-spacing follow from the elements where they are not given."""
        preset = PRESETS[self._settings.preset]
        return {
            "engine": "gpaw",
            "version": self._version,
            "setups": setups_source(),
            "convergence": CONVERGENCE,
            "cutoff": self._settings.cutoff or [preset["soft"], preset["hard"]],
            "k_spacing": self._settings.k_spacing or SPACINGS[self._settings.preset],
            "smearing": self.smearing,
            "xc": self._settings.xc,
            "magnetic_moments": self._settings.magnetic_moments,
            "max_iterations": self._settings.max_iterations,
            "parameters": self._settings.parameters,
        }

    def options(self, atoms: Atoms, grid: KGrid | None) -> dict[str, Any]:
        """Keywords of GPAW's calculator for these atoms and k-points; those that the user passes on come last."""
        from gpaw import PW
        from gpaw.occupations import FermiDirac

        return {
            "mode": PW(self.cutoff(atoms)),
            "xc": self._settings.xc,
            "kpts": None if grid is None else _gpaw_points(grid),
            "occupations": FermiDirac(self.smearing),
            "maxiter": self._settings.max_iterations,
            "symmetry": {"tolerance": SYMMETRY_TOLERANCE},
            "txt": None,
            "convergence": CONVERGENCE,
            **self._settings.parameters,
        }

    def label(self, atoms: Atoms) -> Label:
        """One self-consistent calculation; one more with gentler mixing if it does not converge, or without GPAW's point group."""
        asked = asked_of_engine(atoms, self)
        refuse_overlap(asked.atoms, self.name)
        started = time.process_time()
        details: dict[str, Any] = {}
        try:
            label, iterations, moments = self._run(asked.atoms, asked.grid)
        except ReferenceFailed as failure:
            details["first_try"] = failure.reason
            if failure.kind == "symmetry" and "symmetry" not in self._settings.parameters:
                label, iterations, moments = self._run(asked.atoms, asked.grid, point_group=False)
            elif failure.kind == "unconverged":
                label, iterations, moments = self._run(asked.atoms, asked.grid, gentle=True)
                iterations += self._settings.max_iterations
            else:
                # The ledger's statuses do not depend on the engine.
                raise ReferenceFailed(failure.reason) from failure
        energy, forces, stress = label
        details.update(moments)
        return asked.label(Label(energy, forces, stress, iterations, time.process_time() - started, details))

    def _run(
        self, atoms: Atoms, grid: KGrid | None, gentle: bool = False, point_group: bool = True
    ) -> tuple[tuple[float, np.ndarray, np.ndarray], int, dict[str, Any]]:
        from gpaw import GPAW, Mixer

        options = self.options(atoms, grid)
        if not point_group:
            options["symmetry"] = {"point_group": False}
        if gentle:
            options.setdefault("mixer", Mixer(0.02, 5, 100.0))
        s = self._settings
        spins = start_moments(atoms, s.magnetic_moments)
        with gpaw_errors():
            with warnings.catch_warnings():
                # GPAW warns of every grid that it symmetrises, which is of no interest to a search.
                warnings.simplefilter("ignore")
                atoms.calc = GPAW(**options)
                energy = float(atoms.get_potential_energy())
                forces = atoms.get_forces()
                stress = atoms.get_stress()
            iterations = int(atoms.calc.get_number_of_iterations())
            moments: dict[str, Any] = {}
            if spins:
                moments = {
                    "moments": [float(m) for m in atoms.get_magnetic_moments()],
                    "total_moment": float(atoms.get_magnetic_moment()),
                    "gap": band_gap(atoms.calc),
                }
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise ReferenceFailed("GPAW: a result is not a finite number")
        return (energy, forces, stress), iterations, moments


def _gpaw_points(grid: KGrid) -> Any:
    """The grid as GPAW and ASE read it."""
    return monkhorst_pack(grid.size, grid.shift) if grid.on_own_vectors else grid.points().tolist()
