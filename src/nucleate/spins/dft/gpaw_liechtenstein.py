"""Liechtenstein couplings from GPAW plane-wave calculations with PAW spheres as magnetic sites.

The sites are defined as in F. L. Durhuus et al., J. Phys.: Condens. Matter 35, 105802 (2023), doi 10.1088/1361-648X/acab4b; GPAW contains
their sum over states for one wave vector at a time and the local density approximation. See `paw_states` and `liechtenstein`.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from nucleate.crystals.images import plane_distances
from nucleate.errors import BadInput, ReferenceFailed
from nucleate.gpaw.errors import gpaw_errors
from nucleate.persist.files import write_whole
from nucleate.progress import Progress, Stage, silent
from nucleate.reference.base import refuse_overlap, start_moments
from nucleate.reference.gpaw import GPAWReference
from nucleate.reference.kpoints import plain_grid
from nucleate.reference.settings import ReferenceSettings
from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.dft.liechtenstein import (
    DIRECTIONS,
    full_tensors,
    isotropic_couplings,
    local_stiffness,
    summed_couplings,
    transverse_couplings,
)
from nucleate.spins.dft.paw_states import PAWStates
from nucleate.spins.geometry import magnetic_sites, pairs_within
from nucleate.spins.symmetry import inside, symmetrised

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


class LiechtensteinSettings(BaseModel):
    """Settings of couplings from one self-consistent state."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    moments: dict[str, float] = Field(description="Initial moment of each magnetic element in Bohr magnetons.")
    cutoff: float = Field(8.0, gt=0, description="Largest pair distance in Å.")
    length: float = Field(
        28.0, gt=0, description="Minimum side length in Å of the supercell that corresponds to the k-point mesh; at least twice the cutoff."
    )
    mesh: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None, description="k-point mesh of the couplings; default: from length."
    )
    bands: float = Field(3.0, gt=0.6, description="Number of bands per valence electron.")
    kept: float = Field(0.5, gt=0, lt=1, description="Minimum final moment of a site as a fraction of its initial moment.")
    spin_orbit: bool = Field(False, description="Compute tensors with Dzyaloshinskii-Moriya vectors; more than three times the cost.")


@dataclass(frozen=True)
class LiechtensteinResult:
    """Liechtenstein couplings with diagnostics.

    Attributes:
        couplings: Couplings of the magnetic atoms, averaged over the space group of the magnetic state; `errors` are the spread.
        moments: (n,) signed moments of the PAW spheres in Bohr magnetons.
        mesh: k-point mesh.
        balance: (n,) ratio of the summed couplings of a site to the value required by its own exchange field; one if the spheres
            contained the entire exchange field.
    """

    couplings: Couplings
    moments: np.ndarray
    mesh: tuple[int, int, int]
    balance: np.ndarray


def mesh_for(atoms: Atoms, settings: LiechtensteinSettings) -> tuple[int, int, int]:
    """Return a k-point mesh whose supercell distinguishes all pairs within the cutoff.

    Raises:
        BadInput: The given mesh does not distinguish them.
    """
    heights = plane_distances(atoms.cell.array)
    if settings.mesh is None:
        a, b, c = (int(np.ceil(max(settings.length, 2.001 * settings.cutoff) / h)) for h in heights)
        return a, b, c
    reach = float((np.array(settings.mesh) * heights).min() / 2)
    # Include a margin: pairs on the boundary of the supercell would coincide with their images.
    if reach < settings.cutoff + 2e-3:
        shown = " x ".join(map(str, settings.mesh))
        raise BadInput(f"a mesh of {shown} k-points distinguishes pairs up to {reach:.2f} Å only; use a denser mesh or a smaller cutoff")
    return settings.mesh


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
    first, second, shifts = pairs_within(atoms, sites, settings.cutoff)
    mesh = mesh_for(atoms, settings)
    refuse_overlap(atoms, engine.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: the folder cannot be created: {error.strerror}") from None
    start_moments(atoms, {**reference.magnetic_moments, **settings.moments})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calculator, moments = _ground_state(atoms, settings, engine, folder, sites, progress)
        progress(Stage(f"bands on {mesh[0]} x {mesh[1]} x {mesh[2]} k-points"))
        with gpaw_errors("bands", UNCONVERGED):
            calculator, bands = _on_mesh(calculator, mesh, settings.bands)
        progress(Stage("couplings"))
        with gpaw_errors("couplings", UNCONVERGED):
            states = PAWStates(calculator, bands, sites, mesh)
            tensors, balance = _tensors(states, engine.smearing, np.sign(moments), settings.spin_orbit, (first, second, shifts))
    found = Couplings.from_atoms(atoms, sites, moments, first=first, second=second, shifts=shifts, tensors=tensors)
    return LiechtensteinResult(symmetrised(found, atoms, sites, np.sign(moments)).in_order(), moments, mesh, balance)


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


def _tensors(
    states: PAWStates, width: float, signs: np.ndarray, spin_orbit: bool, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return coupling tensors (p, 3, 3) in meV and the balance of each site."""
    fields = states.fields()
    bands = states.collinear(fields)
    balance = summed_couplings(bands, width).sum(axis=1) / local_stiffness(bands, width)
    first, second, _ = pairs
    parallel = 1e3 * signs[first] * signs[second]
    if not spin_orbit:
        return tensor(parallel * isotropic_couplings(bands, width, *pairs)), balance
    across = [transverse_couplings(states.spinors(fields, direction), width, *pairs) for direction in DIRECTIONS]
    return parallel[:, None, None] * full_tensors(np.array(across)), balance
