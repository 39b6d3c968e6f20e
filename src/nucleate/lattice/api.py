"""The verbs of `nucleate lattice` as Python functions.

from nucleate.lattice import api

data = api.enumerate_lattice("lic2.vasp", ["Li=Li,X"], max_cells=6, mesh=(12, 12, 1))
data = api.compute(data, "lattice.toml", out="li-graphene")
model = api.fit(data, cutoffs=[5.0, 4.3], dipoles=True)
rows, last = api.simulate(model, (24, 24, 1), [400.0, 300.0], composition={"Li": 0.1})
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from nucleate.crystals.io import read_structures
from nucleate.errors import BadInput, MissingDependency, quoted
from nucleate.lattice.compute import FoldedReference, LatticeSettings, check_mesh, label_all
from nucleate.lattice.correlations import design_matrix
from nucleate.lattice.dipoles import DipoleTerm, check_plane, plain_charges
from nucleate.lattice.enumeration import Arrangement, canonical_key, enumerate_arrangements, is_bare
from nucleate.lattice.expansion import ClusterExpansion, read_expansion
from nucleate.lattice.figures import find_orbits
from nucleate.lattice.fit import METHODS, Method
from nucleate.lattice.fit import fit as fit_interactions
from nucleate.lattice.hull import Hull, lower_hull
from nucleate.lattice.labels import Labelled, LatticeData, read_data, write_data
from nucleate.lattice.mapping import assign
from nucleate.lattice.parent import Parent, make_parent, read_sites
from nucleate.persist.toml import read_settings, validated
from nucleate.processes.limits import available_cores
from nucleate.progress import Progress, silent
from nucleate.reference.base import Reference
from nucleate.reference.build import make_reference
from nucleate.reference.cluster.given import GivenExecutor, blocks_in, check_place, read_executor
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import ledger_file
from nucleate.reference.settings import ReferenceSettings
from nucleate.reference.shared.opened import owner_of, shared_ledger
from nucleate.training.data import read_data as read_labelled

if TYPE_CHECKING:
    from nucleate.lattice.coexistence import Coexistence
    from nucleate.lattice.simulation import Averages

AnyPath = str | PathLike[str]
MOST_CELLS = 40
LABELS = "labels.json"
"""File of the arrangements with their energies in the folder of `compute`."""


def enumerate_lattice(
    structure: AnyPath | Atoms,
    sites: Sequence[str],
    max_cells: int,
    *,
    min_cells: int = 1,
    mesh: tuple[int, int, int] | None = None,
) -> LatticeData:
    """Enumerate the distinct arrangements of atoms on the sites of a structure.

    Args:
        structure: Primitive cell with all sites filled: a crystal, or a layer with pbc T, T, F.
        sites: Species of each element's sites, for example ["Li=Li,X"]; X is a vacancy.
        max_cells: Largest number of primitive cells of an arrangement.
        min_cells: Smallest number of primitive cells.
        mesh: k-point mesh of the primitive cell; supercells to which it does not fold are left out.

    Raises:
        BadInput: The structure, the sites or the numbers cannot be used.
    """
    if not 1 <= min_cells <= max_cells <= MOST_CELLS:
        raise BadInput(f"cells {min_cells} to {max_cells}: give numbers between 1 and {MOST_CELLS}, the smaller one first")
    parent = _parent(structure, sites)
    labelled = [Labelled(found) for found in enumerate_arrangements(parent, max_cells, min_cells, mesh) if not is_bare(found)]
    data = LatticeData(parent, labelled, mesh=mesh)
    check_mesh(data, mesh)
    if not labelled:
        raise BadInput(f"no supercell of {min_cells} to {max_cells} cells folds the mesh; choose a mesh that has more divisors")
    return data


def compute(
    data: LatticeData | AnyPath,
    settings: AnyPath | dict[str, Any] | None = None,
    *,
    out: AnyPath,
    reference: Reference | None = None,
    workers: int | None = None,
    executor: GivenExecutor = None,
    ledger: AnyPath | None = None,
    progress: Progress = silent,
) -> LatticeData:
    """Calculate the energies of arrangements; the same call resumes an interrupted calculation.

    Args:
        data: Arrangements, or their file.
        settings: TOML file or dictionary with the tables `reference` and `lattice`.
        out: Folder of the ledger and of `labels.json`.
        reference: A reference in place of the one that the settings describe.
        workers: Number of simultaneous calculations; 0: in this process.
        executor: Executor of the calculations, or its file, in place of local processes; blocks are recorded in `out`.
        ledger: Ledger that other calculations share, see docs/shared-ledger.md; None: that of the settings.
        progress: Called with an `ArrangementDone` after each arrangement.

    Raises:
        BadInput: The file, a setting or the mesh cannot be used.
    """
    given = data if isinstance(data, LatticeData) else read_data(Path(data))
    tables = (
        {}
        if settings is None
        else dict(settings)
        if isinstance(settings, dict)
        else read_settings(settings, "write [reference], [lattice]")
    )
    where = "settings" if settings is None or isinstance(settings, dict) else str(settings)
    unknown = set(tables) - {"reference", "lattice"}
    if unknown:
        raise BadInput(f"{where}: unknown table {quoted(', '.join(sorted(unknown)), 60)}; it reads reference and lattice")
    how = validated(LatticeSettings, {"mesh": given.mesh, **tables.get("lattice", {})}, where)
    shared_by = {} if ledger is None else {"ledger": str(ledger)}
    engine = validated(ReferenceSettings, {**tables.get("reference", {}), **shared_by}, where)
    inner = reference or make_reference(engine)
    if inner.surrogate and how.mesh is not None:
        raise BadInput(f"{where}: {inner.name} has no k-points; leave out the mesh")
    check_mesh(given, how.mesh)
    folder = Path(out)
    read_executor(executor)
    check_place(executor, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be created: {error.strerror}") from None
    count = engine.workers if workers is None else workers
    if count is None:
        count = 0 if inner.surrogate else min(available_cores(), len(given.labelled))
    with (
        ledger_file(folder / "ledger.db") as own,
        shared_ledger(engine, owner_of(folder / "ledger.db")) as shared,
        blocks_in(folder, executor, engine.engine, own.collect) as running,
        Dispatcher(FoldedReference(inner), own, workers=count, executor=running, timeout=engine.timeout, shared=shared) as dispatcher,
    ):
        labelled = label_all(given, how, dispatcher, progress)
    result = replace(given, labelled=labelled, reference={**inner.settings(), "lattice": how.model_dump()}, mesh=how.mesh)
    write_data(folder / LABELS, result)
    return result


def collect(structure: AnyPath | Atoms, sites: Sequence[str], source: AnyPath) -> tuple[LatticeData, list[str]]:
    """Assign structures with energies, such as those of a search, to the sites of a parent lattice; of equal ones the lowest is kept.

    Args:
        structure: Primitive cell of the parent.
        sites: Species of each element's sites.
        source: Folder of a search, or file of structures with energies (extended XYZ, ASE database), relaxed or not, in any orientation.

    Returns:
        The arrangements with their energies, and one line for each structure that was left out.

    Raises:
        BadInput: The source has no energies, or none of its structures is an arrangement on the parent.
    """
    parent = _parent(structure, sites)
    structures = read_labelled(Path(source))
    lowest: dict[bytes, Labelled] = {}
    left = []
    for entry in structures:
        try:
            found = Labelled(assign(parent, entry.atoms), entry.energy)
        except BadInput as error:
            left.append(f"{entry.where}: {error}")
            continue
        key = canonical_key(found.arrangement)
        if key not in lowest or _per_cell(found) < _per_cell(lowest[key]):
            lowest[key] = found
    if not lowest:
        raise BadInput(f"none of {len(structures)} structures is an arrangement on the parent lattice; {left[0]}")
    return LatticeData(parent, list(lowest.values()), {"source": str(source)}), left


def _per_cell(entry: Labelled) -> float:
    assert entry.energy is not None
    return entry.energy / entry.arrangement.supercell.count


def _parent(structure: AnyPath | Atoms, sites: Sequence[str]) -> Parent:
    if isinstance(structure, Atoms):
        return make_parent(structure, read_sites(list(sites)))
    frames = read_structures(Path(structure), open_directions=True)
    if len(frames) > 1:
        raise BadInput(f"{structure}: contains {len(frames)} structures; give a file with one")
    return make_parent(frames[0], read_sites(list(sites)))


def fit(
    data: LatticeData | AnyPath,
    cutoffs: Sequence[float],
    *,
    method: str = "least-squares",
    dipoles: bool = False,
    beyond: float | None = None,
    per_atom: bool = False,
    folds: int = 10,
    seed: int = 0,
) -> ClusterExpansion:
    """Fit interactions to the energies of arrangements.

    Args:
        data: Arrangements with energies, or their file.
        cutoffs: Largest distance of two points of pairs, triplets, ... in Å.
        method: `least-squares`, `ridge` or `ard`.
        dipoles: Whether to fit the repulsion of parallel dipoles beyond `beyond`, for layers.
        beyond: Distance in Å up to which pairs are figures alone; None: the cutoff of pairs.
        per_atom: Whether to fit energies per atom of the first species, relative to the lattice without it, for adsorbed layers and dilute
            phases: all arrangements have equal weight per atom, and the constant is the energy of the empty lattice.
        folds: Number of folds of nested cross-validation.
        seed: Seed of the folds.

    Returns:
        The cluster expansion; its `facts` hold the errors in eV per primitive cell (per atom of the first species with `per_atom`) and the
        calculated and fitted energies per primitive cell.

    Raises:
        BadInput: A value cannot be used, or the arrangements do not determine the interactions.
    """
    given = data if isinstance(data, LatticeData) else read_data(Path(data))
    if method not in METHODS:
        raise BadInput(f"method {quoted(method, 40)}: choose from {', '.join(METHODS)}")
    if folds < 2:
        raise BadInput(f"folds {folds}: give at least 2")
    if beyond is not None and not (dipoles and 0 < beyond < 1e3):
        raise BadInput("beyond: is a positive distance in Å, together with the dipole term")
    used = given.on_lattice
    if not used:
        raise BadInput("no arrangement has an energy; calculate them with: nucleate lattice compute")
    parent = given.parent
    orbits = find_orbits(parent, list(cutoffs))
    term = None
    if dipoles:
        check_plane(parent)
        term = DipoleTerm(max(cutoffs, default=0.0) if beyond is None else beyond, plain_charges(parent))
    arrangements = [entry.arrangement for entry in used]
    design = design_matrix(arrangements, orbits, term)
    energies = LatticeData(parent, used).energies()
    chosen: Method = "ridge" if method == "ridge" else "ard" if method == "ard" else "least-squares"
    coefficients = np.zeros(design.shape[1])
    here, columns, values = np.ones(len(used), dtype=bool), slice(0, None), energies
    if per_atom:
        atoms = _first_species(arrangements)
        here, columns = atoms > 0, slice(1, None)
        coefficients[0] = _empty_energy(atoms, energies)
        design, values = design / np.where(here, atoms, 1.0)[:, None], (energies - coefficients[0]) / np.where(here, atoms, 1.0)
    result = fit_interactions(design[here][:, columns], values[here], chosen, folds, seed)
    coefficients[columns] = result.coefficients
    errors = np.concatenate([np.zeros(int(per_atom)), result.errors])
    fitted = design_matrix(arrangements, orbits, term) @ coefficients
    scale = np.where(here, _first_species(arrangements), 1.0) if per_atom else np.ones(len(used))
    each = np.zeros(len(used))
    each[here] = result.loo_each
    facts: dict[str, Any] = {
        "method": method, "arrangements": len(used), "left_out": len(given.labelled) - len(used), "parameters": len(result.coefficients),
        "per_atom": per_atom,
        "rmse": result.rmse, "loo": result.loo, "nested": result.nested, "strength": result.strength,
        "errors": [None if np.isnan(e) else float(e) for e in errors],
        "calculated": energies.tolist(), "fitted": fitted.tolist(), "loo_each": (each * scale).tolist(),
        "shares": [list(a.fractions().values()) for a in arrangements], "reference": given.reference,
    }  # fmt: skip
    count = len(orbits)
    strength = 0.0 if term is None else float(coefficients[count])
    return ClusterExpansion(parent, tuple(float(c) for c in cutoffs), coefficients[:count], term, strength, facts)


def _first_species(arrangements: Sequence[Arrangement]) -> np.ndarray:
    """Return the (n,) numbers of atoms of the first species per primitive cell."""
    parent = arrangements[0].supercell.parent
    if len(parent.names) != 2 or len(set(parent.allowed)) > 1:
        raise BadInput("energies per atom need sites of two species, the second of which is the empty lattice, such as Li=Li,X")
    return shares(arrangements)[:, 0] * len(parent.active)


def _empty_energy(atoms: np.ndarray, energies: np.ndarray) -> float:
    """Return the energy of the lattice without atoms of the first species, eV per primitive cell."""
    empty = np.flatnonzero(atoms == 0)
    if not empty.size:
        raise BadInput("energies per atom need the energy of the empty lattice; add the arrangement without atoms of the first species")
    return float(energies[empty].min())


@dataclass(frozen=True)
class GroundStates:
    """Ground states of a cluster expansion among the arrangements of up to some number of cells.

    Attributes:
        arrangements: All distinct arrangements.
        energies: (n,) predicted energies, eV per primitive cell.
        hull: Hull of the predicted energies.
    """

    arrangements: list[Arrangement]
    energies: np.ndarray
    hull: Hull


def hull(model: ClusterExpansion | AnyPath, max_cells: int) -> GroundStates:
    """Find the ground states among all arrangements of up to `max_cells` primitive cells.

    Raises:
        BadInput: The number cannot be used, or there are too many arrangements.
    """
    given = model if isinstance(model, ClusterExpansion) else read_expansion(Path(model))
    if not 1 <= max_cells <= MOST_CELLS:
        raise BadInput(f"max-cells {max_cells}: give a number between 1 and {MOST_CELLS}")
    arrangements = list(enumerate_arrangements(given.parent, max_cells))
    energies = given.predict(arrangements)
    return GroundStates(arrangements, energies, lower_hull(shares(arrangements), energies))


def shares(arrangements: Sequence[Arrangement]) -> np.ndarray:
    """Return the (n, species) shares of the active sites that hold each species."""
    result: np.ndarray = np.array([list(arrangement.fractions().values()) for arrangement in arrangements])
    return result


def lowest_at(model: ClusterExpansion, share: float, max_cells: int) -> Arrangement:
    """Return the arrangement of lowest energy in which a share of the sites holds the first species.

    Raises:
        BadInput: No arrangement of up to `max_cells` cells has this share.
    """
    found = hull(model, max_cells)
    matching = np.flatnonzero(np.abs(shares(found.arrangements)[:, 0] - share) < 1e-6)
    if not matching.size:
        raise BadInput(f"share {share:g}: no arrangement of up to {max_cells} cells has it; raise --max-cells")
    return found.arrangements[int(matching[np.argmin(found.energies[matching])])]


def simulate(
    model: ClusterExpansion | AnyPath,
    cells: tuple[int, int, int],
    temperatures: Sequence[float],
    *,
    composition: dict[str, float] | None = None,
    potentials: dict[str, float] | None = None,
    sweeps: int = 5000,
    burn: int = 1000,
    seed: int = 0,
    record: AnyPath | None = None,
    progress: Progress = silent,
) -> tuple[list[Averages], np.ndarray]:
    """Simulate a lattice by Monte Carlo; see `nucleate.lattice.simulation.simulate`.

    Raises:
        BadInput: A value cannot be used.
        MissingDependency: numba is not installed.
        RunFolderError: The record belongs to another simulation.
    """
    _require_numba()
    from nucleate.lattice.simulation import simulate as run

    given = model if isinstance(model, ClusterExpansion) else read_expansion(Path(model))
    return run(
        given, cells, list(temperatures), composition=composition, potentials=potentials, sweeps=sweeps, burn=burn, seed=seed,
        record=None if record is None else Path(record), progress=progress,
    )  # fmt: skip


def coexist(
    model: ClusterExpansion | AnyPath,
    cells: tuple[int, int, int],
    temperatures: Sequence[float],
    *,
    share: float = 1.0,
    max_cells: int = 6,
    sweeps: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Coexistence]:
    """Find the equilibrium of a dilute and an ordered phase; see `nucleate.lattice.coexistence.coexist`.

    Args:
        model: Cluster expansion, or its file.
        cells: Numbers of primitive cells.
        temperatures: Temperatures, K.
        share: Share of the sites that the first species fills in the ordered phase, whose arrangement is the lowest of this share.
        max_cells: Largest number of primitive cells of that arrangement.
        sweeps: Number of sweeps at each chemical potential.
        seed: Seed.
        progress: Called with a `CoexistenceDone` after each temperature.

    Raises:
        BadInput: A value cannot be used.
        MissingDependency: numba is not installed.
    """
    _require_numba()
    from nucleate.lattice.coexistence import coexist as run

    given = model if isinstance(model, ClusterExpansion) else read_expansion(Path(model))
    return run(given, lowest_at(given, share, max_cells), cells, list(temperatures), sweeps=sweeps, seed=seed, progress=progress)


def _require_numba() -> None:
    if find_spec("numba") is None:
        raise MissingDependency("Monte Carlo on a lattice needs numba: pip install 'nucleate[lattice]'")
