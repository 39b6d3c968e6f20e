"""GPAW with plane waves and PAW: the reference nucleate is measured on.

J. J. Mortensen et al., J. Chem. Phys. 160, 092503 (2024), doi 10.1063/5.0182685. The presets come from the convergence
study in benchmarks/convergence.md.
"""

from __future__ import annotations

import os
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.errors import MissingDependency, ReferenceFailed
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
SYMMETRY_TOLERANCE = 1e-4
"""Å; a symmetrised crystal is exact to some 1e-6 Å, and at GPAW's own tolerance (1e-7) its operations need not form a group."""


def _setups() -> str:
    """Where GPAW's PAW functions come from: its data package's version, and the user's own path before it."""
    try:
        packaged = version("gpaw-data")
    except PackageNotFoundError:
        packaged = ""
    return ":".join(part for part in (os.environ.get("GPAW_SETUP_PATH", ""), packaged) if part)


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
        if find_spec("gpaw") is None:
            raise MissingDependency(
                "GPAW is not installed; run: make .venv/.installed (or: apt-get install libopenblas-dev libxc-dev libfftw3-dev, then "
                "pip install 'nucleate[dft]')"
            )
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
            "setups": _setups(),
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
            if failure.kind == "symmetry":
                label, iterations, moments = self._run(asked.atoms, asked.grid, point_group=False)
            elif failure.kind == "unconverged":
                label, iterations, moments = self._run(asked.atoms, asked.grid, gentle=True)
                iterations += self._settings.max_iterations
            else:
                raise
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
        try:
            with warnings.catch_warnings():
                # GPAW tells of every symmetrised grid; that is no news to a search.
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
                    "gap": _gap(atoms.calc),
                }
        except Exception as error:  # GPAW reports trouble with exceptions of many kinds.
            text = " ".join(str(error).split())[:300] or type(error).__name__
            kinds = {"KohnShamConvergenceError": "unconverged", "ConvergenceError": "unconverged"}
            if point_group and "symmetry" not in s.parameters:
                kinds["SymmetryAnalysisBug"] = "symmetry"
            raise ReferenceFailed(f"GPAW: {text}", kind=kinds.get(type(error).__name__, "failed")) from error
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise ReferenceFailed("GPAW: a result is not a finite number")
        return (energy, forces, stress), iterations, moments


def _gpaw_points(grid: KGrid) -> Any:
    """The grid as GPAW and ASE read it."""
    if not grid.on_own_vectors:
        return grid.points().tolist()
    # gamma=False would shift the odd axes as well; without the word it is Monkhorst and Pack's grid.
    return {"size": grid.size} if any(grid.shift) else {"size": grid.size, "gamma": True}


def _gap(calculator: Any) -> float | None:
    """Lowest empty less highest occupied level over all k-points and spins, eV; zero where a band crosses the Fermi level.

    None where it cannot be told: no single Fermi level, or no empty band. A gap that is not known must not cost a label.
    """
    try:
        fermi = float(calculator.get_fermi_level())
    except (TypeError, ValueError):
        return None
    spins, points = calculator.get_number_of_spins(), len(calculator.get_ibz_k_points())
    levels = np.array([calculator.get_eigenvalues(kpt=k, spin=s) for s in range(spins) for k in range(points)])
    # Bands that cross the Fermi level anywhere close the gap.
    counts = (levels < fermi).sum(axis=1).reshape(spins, points)
    if (counts != counts[:, :1]).any():
        return 0.0
    if counts.min() == 0 or counts.max() == levels.shape[1]:
        return None
    return float(levels[levels >= fermi].min() - levels[levels < fermi].max())
