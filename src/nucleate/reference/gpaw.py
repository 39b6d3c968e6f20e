"""GPAW with plane waves and PAW as a reference.

J. J. Mortensen et al., J. Chem. Phys. 160, 092503 (2024), doi 10.1063/5.0182685. The presets come from the convergence
study in benchmarks/reference/convergence/README.md.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

from nucleate.crystals.dimensions import is_layer
from nucleate.errors import BadInput, ReferenceFailed
from nucleate.gpaw.errors import gpaw_errors
from nucleate.gpaw.functionals import functional, on_pbe, refuse_nonlocal
from nucleate.gpaw.keywords import SYMMETRY_TOLERANCE, monkhorst_pack
from nucleate.gpaw.levels import band_gap
from nucleate.gpaw.pulay import pulay_stress
from nucleate.gpaw.session import require_gpaw, setups_source
from nucleate.reference.base import FLATTEST, Asked, Label, asked_of_engine, refuse_overlap, start_moments
from nucleate.reference.hubbard import gpaw_setups
from nucleate.reference.kpoints import SPACINGS, KGrid, bonding, k_grid
from nucleate.reference.settings import ReferenceSettings

SOFT = frozenset(["Li", "Be", "Na", "Al", "Si", "P", "S", "Cl", "Ga", "Ge", "As", "Se", "Te"])
"""Elements whose PAW data sets give a stress, without the Pulay stress, within 0.5 GPa of the converged one at 350 eV
(benchmarks/reference/cutoffs)."""
PRESETS: dict[str, dict[str, float]] = {
    "fast": {"soft": 300.0, "hard": 450.0, "smearing": 0.1},
    "standard": {"soft": 350.0, "hard": 700.0, "smearing": 0.1},
    "accurate": {"soft": 600.0, "hard": 1000.0, "smearing": 0.05},
}
"""Plane-wave cutoff for structures of `SOFT` elements and for others, and smearing width, of each preset, eV."""


CONVERGENCE = {"density": 1e-4, "forces": 0.01}
"""Convergence criteria of GPAW. The criterion for forces (eV/Å) is added, because forces determine when a relaxation has converged."""


class GPAWReference:
    """GPAW plane-wave calculations of energy, forces and stress.

    Energies are extrapolated to zero smearing. The stress is that at a fixed cutoff, with the Pulay stress of `gpaw.pulay`.

    Args:
        settings: settings of the reference with engine `gpaw`.

    Raises:
        MissingDependency: GPAW is not installed.
        BadInput: the functional has no stress, or a setting and `parameters` both choose PAW data sets or the Poisson solver.
    """

    name = "gpaw"
    surrogate = False

    def __init__(self, settings: ReferenceSettings):
        require_gpaw()
        refuse_nonlocal(settings.xc)
        if settings.hubbard_u and "setups" in settings.parameters:
            raise BadInput(
                "reference.hubbard_u and reference.parameters.setups both choose PAW data sets; write the U into setups, such as ':d,4.0'"
            )
        if settings.dipole_correction and "poissonsolver" in settings.parameters:
            raise BadInput(
                "reference.dipole_correction and reference.parameters.poissonsolver both choose the Poisson solver; leave one out"
            )
        self._settings = settings
        self._version = version("gpaw")

    def cutoff(self, atoms: Atoms) -> float:
        """Return the plane-wave cutoff for the elements of a structure, eV."""
        if self._settings.cutoff is not None:
            return self._settings.cutoff
        return PRESETS[self._settings.preset]["soft" if set(atoms.get_chemical_symbols()) <= SOFT else "hard"]

    def k_spacing(self, atoms: Atoms) -> float:
        """Return the largest spacing of k-points for the elements of a structure, 1/Å."""
        if self._settings.k_spacing is not None:
            return self._settings.k_spacing
        return SPACINGS[self._settings.preset][bonding(atoms)]

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """Return the k-point grid for a structure; None if `parameters` contain `kpts`."""
        return None if "kpts" in self._settings.parameters else k_grid(atoms, self.k_spacing(atoms))

    @property
    def smearing(self) -> float:
        """Width of the Fermi-Dirac distribution, eV."""
        given = self._settings.smearing
        return PRESETS[self._settings.preset]["smearing"] if given is None else given

    def settings(self) -> dict[str, Any]:
        """Return the settings that determine the result; unset cutoffs and k-spacings are those of the preset for all elements."""
        preset = PRESETS[self._settings.preset]
        return {
            "engine": "gpaw",
            "version": self._version,
            "setups": setups_source(),
            "convergence": CONVERGENCE,
            "cutoff": self._settings.cutoff or [preset["soft"], preset["hard"]],
            "soft_elements": None if self._settings.cutoff else sorted(SOFT),
            "k_spacing": self._settings.k_spacing or SPACINGS[self._settings.preset],
            "smearing": self.smearing,
            "stress": "fixed cutoff",
            "xc": self._settings.xc,
            "magnetic_moments": self._settings.magnetic_moments,
            "max_iterations": self._settings.max_iterations,
            "parameters": self._settings.parameters,
            # Only where they apply, so that ledgers without them keep their hashes.
            **({"paw": "PBE"} if on_pbe(self._settings.xc) else {}),
            **({"hubbard_u": self._settings.hubbard_u} if self._settings.hubbard_u else {}),
            **({"dipole_correction": True} if self._settings.dipole_correction else {}),
        }

    def options(self, atoms: Atoms, grid: KGrid | None) -> dict[str, Any]:
        """Return the keywords of GPAW's calculator for a structure and its k-points; `parameters` override them."""
        from gpaw import PW
        from gpaw.occupations import FermiDirac

        return {
            "mode": PW(self.cutoff(atoms)),
            "xc": functional(self._settings.xc),
            "kpts": None if grid is None else _gpaw_points(grid),
            "occupations": FermiDirac(self.smearing),
            "maxiter": self._settings.max_iterations,
            "symmetry": {"tolerance": SYMMETRY_TOLERANCE},
            "txt": None,
            "convergence": CONVERGENCE,
            **({"setups": gpaw_setups(self._settings.hubbard_u)} if self._settings.hubbard_u else {}),
            **self._settings.parameters,
        }

    def label(self, atoms: Atoms) -> Label:
        """Run one self-consistent calculation.

        A calculation that does not converge is repeated with slower density mixing; one whose symmetry analysis fails is repeated without
        point-group symmetry.

        Args:
            atoms: the structure, which is not changed.

        Returns:
            Energy (eV), forces (n_atoms, 3) in eV/Å, stress (6,) in eV/Å³. The details have the `pulay_stress` that the diagonal of the
            stress contains, eV/Å³, and with `dipole_correction` the `dipole` of a layer along the third lattice vector, e Å.

        Raises:
            ReferenceFailed: the calculation failed; kind `unconverged` if self-consistency did not converge.
        """
        request = _in_usual_cell(asked_of_engine(atoms, self), atoms.pbc)
        if self._settings.dipole_correction and is_layer(atoms):
            _open_along(request.atoms, atoms.cell.array[2])
        refuse_overlap(request.atoms, self.name)
        started = time.process_time()
        details: dict[str, Any] = {}
        try:
            label, iterations, found = self._run(request.atoms, request.grid)
        except ReferenceFailed as failure:
            details["first_try"] = failure.reason
            if failure.kind == "symmetry" and "symmetry" not in self._settings.parameters:
                label, iterations, found = self._run(request.atoms, request.grid, point_group=False)
            elif failure.kind == "unconverged":
                label, iterations, found = self._run(request.atoms, request.grid, gentle=True)
                iterations += self._settings.max_iterations
            else:
                # The ledger's statuses do not depend on the engine.
                raise ReferenceFailed(failure.reason) from failure
        energy, forces, stress = label
        if "dipole" in found:
            # Along the layer it depends on the choice of the cell.
            normal = atoms.cell.array[2] / np.linalg.norm(atoms.cell.array[2])
            found["dipole"] = float(found["dipole"] @ normal) * len(atoms) / len(request.atoms)
        details.update(found)
        return request.label(Label(energy, forces, stress, iterations, time.process_time() - started, details))

    def _run(
        self, atoms: Atoms, grid: KGrid | None, gentle: bool = False, point_group: bool = True
    ) -> tuple[tuple[float, np.ndarray, np.ndarray], int, dict[str, Any]]:
        """Run GPAW once; return (energy, forces, stress), the number of iterations, and the details.

        Args:
            atoms: the structure in the cell of the calculation.
            grid: its k-point grid; None if `parameters` contain `kpts`.
            gentle: whether to mix the density slowly.
            point_group: whether to use point-group symmetry.
        """
        from gpaw import GPAW, Mixer

        options = self.options(atoms, grid)
        if not atoms.pbc.all():
            options["poissonsolver"] = {"dipolelayer": "".join(axis for axis, periodic in zip("xyz", atoms.pbc, strict=True) if periodic)}
        if not point_group:
            options["symmetry"] = {"point_group": False}
        if gentle:
            options.setdefault("mixer", Mixer(0.02, 5, 100.0))
        s = self._settings
        spins = start_moments(atoms, s.magnetic_moments)
        going_on = bool(s.continuation) and not gentle
        with gpaw_errors():
            with warnings.catch_warnings():
                # GPAW warns about every k-point grid that it symmetrises.
                warnings.simplefilter("ignore")
                plain = GPAW(**options)
                continued = _going_on_from(atoms, options, plain) if going_on else None
                atoms.calc = continued or plain
                energy = float(atoms.get_potential_energy())
                forces = atoms.get_forces()
                stress = atoms.get_stress()
                pulay = pulay_stress(atoms.calc)
                stress[:3] += pulay
            iterations = int(atoms.calc.get_number_of_iterations())
            details: dict[str, Any] = {"pulay_stress": pulay}
            if not atoms.pbc.all():
                details["dipole"] = atoms.get_dipole_moment()
            if spins:
                details |= {
                    "moments": [float(m) for m in atoms.get_magnetic_moments()],
                    "total_moment": float(atoms.get_magnetic_moment()),
                    "gap": band_gap(atoms.calc),
                }
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise ReferenceFailed("GPAW: a result is not a finite number")
        if continued is not None:
            if continued.start != "atoms":
                details["start"] = continued.start
            continued.keep()
        return (energy, forces, stress), iterations, details


def _going_on_from(atoms: Atoms, options: dict[str, Any], plain: Any) -> Any:
    """Return a calculator that goes on from a structure close to this one where there is one; None if this GPAW has none for the options.

    Args:
        atoms: the structure.
        options: keywords of GPAW's calculator.
        plain: GPAW's own calculator with these options.
    """
    try:
        from nucleate.gpaw.continued import calculator
    except ImportError:
        # Versions of GPAW with other internals.
        return None
    return calculator(atoms, options, type(plain))


def _gpaw_points(grid: KGrid) -> Any:
    """Return the grid in the form of GPAW's keyword `kpts`."""
    return monkhorst_pack(grid.size, grid.shift) if grid.on_own_vectors else grid.points().tolist()


def _in_usual_cell(request: Asked, periodic: np.ndarray) -> Asked:
    """Return the request in a cell that GPAW accepts, with the same k-points.

    GPAW fails for flat cells, which are described by the shortest vectors of their lattice, and for orthogonal cells whose vectors point
    along negative axes, when it draws the atoms.
    """
    cell = request.atoms.cell.array
    angles = request.atoms.cell.angles()
    flat = angles.min() < FLATTEST or angles.max() > 180 - FLATTEST
    usual = minkowski_reduce(cell, pbc=periodic)[0] if flat and request.grid is not None else cell
    if np.array_equal(usual, np.diag(np.diag(usual))):
        usual = np.abs(usual)
    if np.array_equal(usual, cell):
        return request
    atoms = request.atoms.copy()
    atoms.set_cell(usual, scale_atoms=False)
    if request.grid is None:
        return request._replace(atoms=atoms)
    a, b, c = ((int(x), int(y), int(z)) for x, y, z in np.rint(cell @ np.linalg.inv(usual)))
    return request._replace(atoms=atoms, grid=replace(request.grid, basis=(a, b, c)))


def _open_along(atoms: Atoms, normal: np.ndarray) -> None:
    """Make the cell of a layer open along its normal, and move the layer to the middle of the cell, where the correction needs it."""
    cosines = atoms.cell.array @ normal / np.linalg.norm(atoms.cell.array, axis=1) / np.linalg.norm(normal)
    axis = int(np.abs(cosines).argmax())
    atoms.pbc = np.arange(3) != axis
    scaled = atoms.get_scaled_positions(wrap=False)
    order = np.sort(scaled[:, axis] % 1.0)
    start = order[(int(np.argmax(np.diff(order, append=order[0] + 1.0))) + 1) % len(order)]
    # An atom at the start may lie below it by rounding.
    above = (scaled[:, axis] - start + 1e-9) % 1.0
    scaled[:, axis] = above + (1.0 - above.max()) / 2
    atoms.set_scaled_positions(scaled)
