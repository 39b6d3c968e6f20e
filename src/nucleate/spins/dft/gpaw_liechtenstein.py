"""Liechtenstein couplings from GPAW plane-wave calculations with PAW spheres as magnetic sites.

The sites are defined as in F. L. Durhuus et al., J. Phys.: Condens. Matter 35, 105802 (2023), doi 10.1088/1361-648X/acab4b; GPAW contains
their sum over states for one wave vector at a time and the local density approximation. See `paw_states` and `liechtenstein`.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, ReferenceFailed
from nucleate.fingerprints.matching import idealised
from nucleate.gpaw.errors import gpaw_errors
from nucleate.persist.files import write_whole
from nucleate.progress import Progress, Stage, silent
from nucleate.reference.base import refuse_overlap, start_moments
from nucleate.reference.gpaw import GPAWReference
from nucleate.reference.kpoints import plain_grid
from nucleate.reference.settings import ReferenceSettings
from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.dft.cones import cone_couplings
from nucleate.spins.dft.liechtenstein import (
    DIRECTIONS,
    free_energy,
    full_tensors,
    isotropic_couplings,
    local_stiffness,
    transverse_couplings,
)
from nucleate.spins.dft.paw_states import PAWStates
from nucleate.spins.dft.response_settings import LiechtensteinSettings, cone_mesh_for, mesh_for
from nucleate.spins.dft.waves import MeshOrder, between_cells, mesh_order, on_waves, static_response
from nucleate.spins.geometry import magnetic_sites, pairs_within
from nucleate.spins.symmetry import TOLERANCE, inside, symmetrised

DIRECT = 1500
"""Largest number of plane waves for direct diagonalisation; larger Hamiltonians use GPAW's iterative solver."""
BEYOND = 6
"""Number of levels diagonalised beyond the used bands, to detect degenerate sets at the boundary."""
SPARE = 1.15
"""Number of additional bands in the iterative solver, because the highest bands do not converge."""
SYMMETRY = 1e-6
"""Symmetry tolerance in Å; GPAW rejects less exact operations when it maps states between k-points."""
OURS = ("mode", "occupations", "xc", "txt")
"""GPAW keywords set by this method."""
UNCONVERGED = "raise [reference] max_iterations or smearing, or give a mixer in its parameters"
WITHOUT_EFFECT = ("timeout", "workers", "command", "calculator", "pseudopotentials", "pseudo_dir")


@dataclass(frozen=True)
class LiechtensteinResult:
    """Liechtenstein couplings with diagnostics.

    Attributes:
        couplings: Couplings of the magnetic atoms, averaged over the space group of the magnetic state; `errors` are the spread.
        moments: (n,) signed moments of the PAW spheres in Bohr magnetons.
        mesh: k-point mesh.
        balance: (n,) ratio of the summed couplings of a site to the value required by its own exchange field; one if the spheres
            contained the entire exchange field.
        order: Ordering temperatures and spin stiffness from all couplings on the mesh.
        anisotropy: (3,) energies of moments along x, y and z above the lowest of the three in meV per cell, by the force theorem
            with spin-orbit coupling; None without it.
    """

    couplings: Couplings
    moments: np.ndarray
    mesh: tuple[int, int, int]
    balance: np.ndarray
    order: MeshOrder
    anisotropy: np.ndarray | None = None


def liechtenstein_couplings(
    atoms: Atoms,
    settings: LiechtensteinSettings,
    reference: ReferenceSettings,
    folder: Path,
    progress: Progress = silent,
) -> LiechtensteinResult:
    """Compute couplings of a self-consistent state; results in the folder from the same input are reused.

    The state is ferromagnetic unless the atoms have signed initial moments.

    Raises:
        BadInput: There is no magnetic atom or no pair within the cutoff, the mesh is too small, or the engine is not GPAW.
        ReferenceFailed: GPAW did not converge, or the moments differ from those requested.
    """
    if reference.engine != "gpaw":
        raise BadInput(f"method liechtenstein requires engine gpaw, not {reference.engine}")
    engine = GPAWReference(reference)
    _check_reference(reference, engine)
    # GPAW wraps atoms into the cell; pair displacements must refer to these positions.
    atoms = inside(atoms)
    atoms.pbc = True
    sites = magnetic_sites(atoms, settings.moments)
    first, second, shifts = pairs_within(atoms, sites, settings.cutoff, across_films=False)
    mesh = mesh_for(atoms, settings)
    waves = None if settings.cone_angle is None else cone_mesh_for(atoms, sites, mesh, settings)
    refuse_overlap(atoms, engine.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: the folder cannot be created: {error.strerror}") from None
    start_moments(atoms, {**reference.magnetic_moments, **settings.moments})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calculator, moments = _ground_state(_exact(atoms), settings, engine, folder, sites, progress)
        progress(Stage(f"bands on {mesh[0]} x {mesh[1]} x {mesh[2]} k-points"))
        with gpaw_errors("bands", UNCONVERGED):
            calculator, bands = _on_mesh(calculator, mesh, settings.bands)
        progress(Stage("couplings"))
        with gpaw_errors("couplings", UNCONVERGED):
            states = PAWStates(calculator, bands, sites, mesh)
            collinear = states.collinear(states.fields())
            cells = isotropic_couplings(collinear, engine.smearing)
            balance = cells.sum(axis=(0, 1, 2, 4)) / local_stiffness(collinear, engine.smearing)
            if settings.renormalised:
                cells = between_cells(static_response(on_waves(cells)))
            elif waves is not None and settings.cone_angle is not None:

                def tell(done: int, total: int) -> None:
                    progress(Stage(f"spiral {done} of {total}"))

                cells = between_cells(cone_couplings(collinear, engine.smearing, settings.cone_angle, waves, atoms, tell))
            response = _response(states, cells, engine.smearing, np.sign(moments), settings.spin_orbit, (first, second, shifts))
    found = Couplings.from_atoms(atoms, sites, moments, first=first, second=second, shifts=shifts, tensors=response.tensors)
    found = symmetrised(found, atoms, sites, np.sign(moments)).in_order()
    anisotropy = None
    if response.energies is not None:
        found = replace(found, anisotropy=_onsite(found, np.sign(moments), response.energies))
        anisotropy = response.energies - response.energies.min()
    return LiechtensteinResult(found, moments, mesh, balance, mesh_order(on_waves(cells), moments, atoms.cell.array), anisotropy)


def _exact(atoms: Atoms) -> Atoms:
    """Return the crystal with its symmetry made exact: GPAW rejects operations that hold to the digits of a file or of a relaxation."""
    refined = idealised(atoms, TOLERANCE, always=True)
    if (refined.numbers != atoms.numbers).any() or np.abs(refined.positions - atoms.positions).max() > 10 * TOLERANCE:
        return atoms
    refined.set_initial_magnetic_moments(atoms.get_initial_magnetic_moments())
    return refined


def _check_reference(reference: ReferenceSettings, engine: GPAWReference) -> None:
    """Reject unsupported reference settings and settings without effect before any calculation."""
    from gpaw.xc import XC

    idle = [name for name in WITHOUT_EFFECT if name in reference.model_fields_set]
    if idle:
        raise BadInput(f"[reference] {', '.join(idle)}: these settings have no effect on method liechtenstein")
    fixed = [name for name in OURS if name in reference.parameters]
    if fixed:
        raise BadInput(f"[reference] parameters: {', '.join(fixed)}: method liechtenstein sets these keywords itself")
    if reference.hubbard_u:
        raise BadInput("[reference] hubbard_u: method liechtenstein does not contain the exchange splitting of U; use the method pairs")
    if not engine.smearing > 0:
        raise BadInput("[reference] smearing: method liechtenstein requires a positive width, for example 0.1 eV")
    try:
        functional = XC(reference.xc)
    except NameError:
        raise BadInput(f"[reference] xc: unknown functional {reference.xc} in GPAW") from None
    if type(functional).__name__ not in ("LDA", "GGA"):
        raise BadInput(
            f"[reference] xc: {reference.xc}: method liechtenstein supports local and gradient-corrected functionals only (LDA, PBE)"
        )


def _ground_state(
    atoms: Atoms, settings: LiechtensteinSettings, engine: GPAWReference, folder: Path, sites: np.ndarray, progress: Progress
) -> tuple[Any, np.ndarray]:
    """Return the converged calculator, read from the folder if possible, and the moments of the sites."""
    from gpaw import GPAW

    starts = np.asarray(atoms.get_initial_magnetic_moments())
    asked = starts[sites]
    crystal = [atoms.cell.array.tolist(), atoms.positions.tolist(), atoms.numbers.tolist(), starts.tolist()]
    options = engine.options(atoms, plain_grid(atoms, engine.k_spacing(atoms)))
    if "symmetry" not in engine.settings()["parameters"]:
        options["symmetry"] = {"tolerance": SYMMETRY}
    key = hashlib.sha256(json.dumps([crystal, engine.settings(), options["kpts"]], sort_keys=True, default=str).encode()).hexdigest()
    state, mark = folder / "state.gpw", folder / "state.done"
    calculator = _read_state(state) if mark.exists() and mark.read_text(errors="replace") == key else None
    if calculator is None:
        progress(Stage("self-consistent state"))
        with gpaw_errors("state", UNCONVERGED):
            mark.unlink(missing_ok=True)
            calculator = GPAW(**options)
            atoms = atoms.copy()
            atoms.calc = calculator
            atoms.get_potential_energy()
            calculator.write(str(state))
            # Reload the state, so that this run and later ones use the same data: GPAW's file is less complete than memory.
            calculator = GPAW(str(state), txt=None)
        write_whole(mark, key)
    moments = np.asarray(calculator.get_magnetic_moments())[sites]
    fallen = (np.sign(moments) != np.sign(asked)) | (np.abs(moments) < settings.kept * np.abs(asked))
    if fallen.any():
        symbols = atoms.get_chemical_symbols()
        n = int(np.flatnonzero(fallen)[0])
        raise ReferenceFailed(
            f"state: {symbols[sites[n]]} (atom {sites[n]}) ended with {moments[n]:+.2f} Bohr magnetons, started with {asked[n]:+.2f}",
            kind="state",
        )
    return calculator, moments


def _read_state(path: Path) -> Any:
    """Read the calculator; return None if the file is missing or damaged, so that the state is recomputed."""
    from gpaw import GPAW

    try:
        return GPAW(str(path), txt=None)
    except Exception:  # A damaged file raises various exceptions.
        return None


def _on_mesh(calculator: Any, mesh: tuple[int, int, int], share: float) -> tuple[Any, int]:
    """Compute states on a mesh in the same potential; return the calculator and the number of converged bands at every point."""
    density = calculator.dft.density
    wanted = int(np.ceil(share * (density.nvalence - density.charge)))
    kpts = {"size": mesh, "gamma": True}
    (waves,) = calculator.dft.ibzwfs.get_max_shape()
    if waves > DIRECT:
        wide = min(int(np.ceil(SPARE * wanted)) + 2, waves)
        return calculator.fixed_density(kpts=kpts, nbands=wide, convergence={"bands": wanted}, maxiter=1000, txt=None), wanted
    few = calculator.fixed_density(kpts=kpts, convergence={"bands": "occupied", "eigenstates": 1.0}, txt=None)
    most = min(wave.psit_nX.desc.shape[0] for wave in few.dft.ibzwfs)
    wanted = min(wanted, most)
    few.diagonalize_full_hamiltonian(nbands=min(wanted + BEYOND, most))
    return few, wanted


@dataclass(frozen=True)
class _Response:
    """Coupling tensors (p, 3, 3) in meV, and the energies (3,) in meV of moments along x, y and z with spin-orbit coupling, or None."""

    tensors: np.ndarray
    energies: np.ndarray | None = None


def _response(
    states: PAWStates,
    cells: np.ndarray,
    width: float,
    signs: np.ndarray,
    spin_orbit: bool,
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> _Response:
    """Return the tensors of pairs; isotropic ones from the couplings between displaced cells (mesh..., n, n) in eV."""
    first, second, shifts = pairs
    parallel = 1e3 * signs[first] * signs[second]
    if not spin_orbit:
        return _Response(tensor(parallel * cells[(*np.mod(shifts, cells.shape[:3]).T, first, second)]))
    fields = states.fields()
    across, energies = [], []
    for direction in DIRECTIONS:
        bands = states.spinors(fields, direction)
        across.append(transverse_couplings(bands, width, *pairs))
        energies.append(1e3 * free_energy(bands.energies, bands.electrons, width))
    z, x, y = energies
    return _Response(parallel[:, None, None] * full_tensors(np.array(across)), np.array([x, y, z]))


def _onsite(found: Couplings, signs: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Return equal on-site tensors (n, 3, 3) in meV with which the couplings have the energies (3,) of moments along x, y and z.

    The energy of a collinear state along n is -n . (sum_<ij> s_i s_j J_ij + sum_i K_i) . n.
    """
    parallel = signs[found.first] * signs[found.second]
    pairs = np.einsum("p,paa->a", parallel, found.tensors)
    total = -energies - pairs
    return np.tile(np.diag(total - total.mean()) / len(signs), (len(signs), 1, 1))
