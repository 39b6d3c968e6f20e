"""The verbs of `nucleate spins` as Python functions.

from nucleate.spins import api

couplings = api.couple("fe.cif", "fe", {"Fe": 2.2}, method="liechtenstein").couplings
result = api.simulate(couplings, temperatures=[600, 800, 1000, 1200], sizes=[6, 8])
print(api.estimate(couplings).rpa, result.crossings)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from nucleate.crystals.io import read_structure
from nucleate.errors import BadInput, NucleateError, quoted
from nucleate.persist.files import write_whole
from nucleate.persist.toml import read_settings, resolved, validated
from nucleate.pretrained import PRETRAINED
from nucleate.progress import Progress, silent
from nucleate.reference import Dispatcher, ReferenceSettings, make_reference
from nucleate.reference.build import without_effect
from nucleate.reference.ledger import ledger_file
from nucleate.spins.couplings import Couplings
from nucleate.spins.dft.espresso_tb2j import WannierSettings, wannier_couplings
from nucleate.spins.dft.gpaw_liechtenstein import liechtenstein_couplings
from nucleate.spins.dft.mapping import MappingSettings, map_couplings
from nucleate.spins.dft.response_settings import LiechtensteinSettings
from nucleate.spins.files.foreign import read_foreign
from nucleate.spins.files.reading import read_couplings
from nucleate.spins.files.spirit import spirit_text
from nucleate.spins.files.table import read_table, table_text
from nucleate.spins.files.tb2j import tb2j_text
from nucleate.spins.models.active import choose
from nucleate.spins.models.crystal import CrystalCouplings
from nucleate.spins.models.crystal import predict_crystal as _predict_crystal
from nucleate.spins.models.data import Pairs, read_pairs, write_pairs
from nucleate.spins.models.kernel import PairGaussianProcess
from nucleate.spins.models.training import PairModel, PairTraining, Predicted, Scores, cross_validate, load_pairs_model, train_pairs
from nucleate.spins.order.binder import Crossing, crossing
from nucleate.spins.order.curie import leading_order, rpa
from nucleate.spins.shells import on_shells
from nucleate.spins.waves.spectrum import (
    density_of_states,
    gap,
    long_waves,
    mean_stiffness,
    path_energies,
    wave_path,
    without_long_pairs,
)
from nucleate.spins.waves.state import State, ordered_state

if TYPE_CHECKING:
    from nucleate.spins.simulate.dynamic_structure import DynamicStructure
    from nucleate.spins.simulate.lattice import SpinLattice
    from nucleate.spins.simulate.settings import SimulationSettings
    from nucleate.spins.simulate.simulation import Row
    from nucleate.spins.textures.films import FilmTexture

AnyPath = str | PathLike[str]
Structure = Atoms | AnyPath
"""A structure, or the path of a file that holds one."""
METHODS = ("collinear", "four-state", "liechtenstein", "tb2j")
FORMATS = (".csv", ".out", ".cfg")
FIELDS = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
"""Default fields of textures in T."""
FEW_DECIMALS = 0.02
"""meV; TB2J's format has four decimals, which leave two digits of a coupling of this size."""


# -- couplings ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coupled:
    """Exchange couplings of a crystal.

    Attributes:
        couplings: The couplings, as written to `couplings.csv` of the folder.
        path: This file.
        facts: What the method reports beside them, as printed by `nucleate spins couple --json`.
        states: Number of spin states that entered (collinear, four-state); 0: none.
    """

    couplings: Couplings
    path: Path
    facts: dict[str, Any]
    states: int = 0


def couple(
    structure: Structure,
    out: AnyPath,
    moments: Mapping[str, float],
    *,
    method: str | None = None,
    cutoff: float | None = None,
    insulator: bool | None = None,
    spin_orbit: bool | None = None,
    renormalised: bool | None = None,
    cone_angle: float | None = None,
    settings: AnyPath | dict[str, Any] | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> Coupled:
    """Compute the exchange couplings of a crystal from total energies of spin states or by Liechtenstein's formula.

    Args:
        structure: Crystal with magnetic atoms, or its file.
        out: Folder for calculations and couplings; the same call resumes an interrupted run there.
        moments: Initial moment of each magnetic element in Bohr magnetons.
        method: `collinear` (None), `four-state`, `liechtenstein`, or `tb2j` (Quantum ESPRESSO and Wannier90).
        cutoff: Largest pair distance in Å; None: that of the method.
        insulator: Whether metallic states are rejected (collinear, four-state).
        spin_orbit: Whether to compute coupling tensors with Dzyaloshinskii-Moriya vectors (liechtenstein).
        renormalised: Whether to compute couplings of the directions of moments instead of exchange fields (liechtenstein).
        cone_angle: Angle in degrees of conical spirals whose energies determine the couplings (liechtenstein, one magnetic site).
        settings: TOML file or dictionary with the tables `reference` and `mapping` or `liechtenstein`, or with `tb2j`.
        workers: Number of parallel calculations; 0: in this process; None: 1 (collinear, four-state).
        progress: Called with a `StateDone` after each spin state, or a `nucleate.progress.Stage` at the start of each stage.

    Raises:
        BadInput: The structure or a setting cannot be used, or the folder belongs to another crystal.
        NucleateError: Too many states failed or converged to other states; the message lists them.
        ReferenceFailed: A calculation failed.
    """
    folder = Path(out)
    if method not in (None, *METHODS):
        raise BadInput(f"method {quoted(method, 40)}: unknown method; choose from {', '.join(METHODS)}")
    given = _tables(settings, method)
    if method in ("tb2j", "liechtenstein") and (insulator or workers is not None):
        raise BadInput(f"insulator and workers have no effect on method {method}")
    own_options = {"spin-orbit coupling": spin_orbit, "renormalised": renormalised, "cone angle": cone_angle}
    for name, value in own_options.items():
        if value is not None and value is not False and method != "liechtenstein":
            raise BadInput(f"{name} requires method liechtenstein")
    atoms = _atoms(structure)
    _refuse_other_crystal(folder, atoms, moments)
    own = dict(moments)
    if method == "tb2j":
        return _wannier(atoms, folder, {**given.get("tb2j", {}), **_set(moments=own, cutoff_pairs=cutoff)}, progress)
    where = "settings" if isinstance(settings, dict) else str(settings) if settings else "options"
    reference = given.get("reference", {})
    if method == "liechtenstein":
        options = _set(moments=own, cutoff=cutoff, spin_orbit=spin_orbit, renormalised=renormalised, cone_angle=cone_angle)
        return _liechtenstein(atoms, folder, {**given.get("liechtenstein", {}), **options}, reference, where, progress)
    options = _set(moments=own, method=method, insulator=insulator, cutoff=cutoff)
    return _energies(atoms, folder, {**given.get("mapping", {}), **options}, reference, where, 1 if workers is None else workers, progress)


def _set(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _tables(settings: AnyPath | dict[str, Any] | None, method: str | None) -> dict[str, Any]:
    if settings is None:
        return {}
    hint = "write one with [reference] and [mapping], [liechtenstein] or [tb2j]"
    given = dict(settings) if isinstance(settings, dict) else read_settings(settings, hint)
    source = "settings" if isinstance(settings, dict) else settings
    tables = {"tb2j": ("tb2j",), "liechtenstein": ("reference", "liechtenstein")}.get(str(method), ("reference", "mapping"))
    unknown = set(given) - set(tables)
    if unknown:
        raise BadInput(
            f"{source}: unknown table {quoted(', '.join(sorted(unknown)), 60)}; method {method or 'collinear'} reads {', '.join(tables)}"
        )
    odd = [name for name, table in given.items() if not isinstance(table, dict)]
    if odd:
        raise BadInput(f"{source}: {odd[0]} must be a table, as in [{odd[0]}]")
    return given


def _refuse_other_crystal(out: Path, atoms: Atoms, moments: Mapping[str, float]) -> None:
    """Raise `BadInput` if the folder holds couplings of another crystal, so that they are not overwritten."""
    path = out / "couplings.csv"
    if not path.exists():
        return
    if not path.is_file():
        raise BadInput(f"{out}: couplings.csv in this folder is not a file; choose another folder")
    try:
        there = read_table(path)
    except NucleateError:
        # A damaged table is overwritten.
        return
    here = atoms[[k for k, symbol in enumerate(atoms.get_chemical_symbols()) if moments.get(symbol)]]
    same = there.symbols == tuple(here.get_chemical_symbols()) and np.allclose(there.cell, atoms.cell.array, atol=1e-6)
    away = (there.positions - here.positions) @ np.linalg.inv(there.cell) if same else np.ones(3)
    if not same or np.abs(away - np.rint(away)).max() > 1e-6:
        raise BadInput(f"{out}: couplings.csv in this folder belongs to another crystal; choose another folder")


def _energies(
    atoms: Atoms, out: Path, mapping: dict[str, Any], reference: dict[str, Any], where: str, workers: int, progress: Progress
) -> Coupled:
    how = validated(MappingSettings, mapping, "options")
    engine = validated(ReferenceSettings, reference, where)
    if engine.engine in PRETRAINED:
        raise BadInput(
            f"{where}: energies of engine {engine.engine} do not depend on magnetic moments; choose an engine that supports spin states"
        )
    if "smearing" not in {*reference, *without_effect(engine.engine)}:
        # All states use the same smearing width, whatever the preset; engines with their own smearing parameters keep them.
        engine = validated(ReferenceSettings, {"smearing": 0.1, **reference}, where)
    _make_folder(out)
    with (
        ledger_file(out / "ledger.db") as ledger,
        Dispatcher(make_reference(engine), ledger, workers=workers, timeout=engine.timeout) as dispatcher,
    ):
        mapped = map_couplings(atoms, how, dispatcher, progress)
    misfit = None if np.isnan(mapped.misfit) else mapped.misfit
    facts = {"misfit": misfit, "failures": mapped.failures, "notes": mapped.notes}
    return Coupled(mapped.couplings, _written(out, mapped.couplings), facts, len(mapped.states))


def _liechtenstein(atoms: Atoms, out: Path, how: dict[str, Any], reference: dict[str, Any], where: str, progress: Progress) -> Coupled:
    settings = validated(LiechtensteinSettings, how, "options and [liechtenstein]")
    engine = validated(ReferenceSettings, {"smearing": 0.1, **reference}, where)
    result = liechtenstein_couplings(atoms, settings, engine, out, progress)
    order = asdict(result.order)
    order["stiffness"] = None if order["stiffness"] is None else order["stiffness"].tolist()
    facts = {"moments": result.moments.tolist(), "mesh": result.mesh, "balance": result.balance.tolist(), "order": order}
    if result.anisotropy is not None:
        facts["anisotropy"] = result.anisotropy.tolist()
    return Coupled(result.couplings, _written(out, result.couplings), facts)


def _wannier(atoms: Atoms, out: Path, how: dict[str, Any], progress: Progress) -> Coupled:
    result = wannier_couplings(atoms, validated(WannierSettings, how, "[tb2j]"), out, progress)
    facts = {name: value for name, value in asdict(result).items() if name != "couplings"}
    return Coupled(result.couplings, _written(out, result.couplings), facts)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out}: the folder cannot be created: {error.strerror}") from None


def _written(out: Path, couplings: Couplings) -> Path:
    path = out / "couplings.csv"
    write_whole(path, table_text(couplings))
    return path


def assign_shells(structure: Structure, moments: Mapping[str, float], strengths: Sequence[float]) -> Couplings:
    """Assign couplings to a crystal, shell by shell; see `nucleate.spins.shells.on_shells`.

    Args:
        structure: Crystal with magnetic atoms, or its file.
        moments: Moment of each magnetic element in Bohr magnetons.
        strengths: Couplings in meV, nearest shell first.
    """
    return on_shells(_atoms(structure), dict(moments), strengths)


def convert(couplings: Couplings | AnyPath, out: AnyPath, cells: tuple[int, int, int] = (10, 10, 10)) -> list[str]:
    """Write couplings to a file; its suffix selects the format: .csv (table), .out (TB2J) or .cfg (Spirit).

    Args:
        couplings: Couplings, or their file.
        out: Output file.
        cells: Number of cells along each lattice vector (Spirit).

    Returns:
        What the format cannot store.

    Raises:
        BadInput: The suffix is unknown, the folder does not exist, or the couplings cannot be read.
    """
    path = Path(out)
    if not path.parent.is_dir():
        raise BadInput(f"{path}: the folder does not exist; create it first")
    if min(cells) < 1:
        raise BadInput(f"cells {cells[0]} {cells[1]} {cells[2]}: give at least one cell along each lattice vector")
    if path.suffix not in FORMATS:
        raise BadInput(f"{path}: unknown file format; use .csv (table), .out (TB2J) or .cfg (Spirit)")
    known = _couplings(couplings)
    if path.suffix == ".csv":
        write_whole(path, table_text(known))
        return []
    lost = ["error bars"] if np.isfinite(known.errors).any() else []
    if path.suffix == ".cfg":
        write_whole(path, spirit_text(known, cells))
        return [*lost, "elements"]
    write_whole(path, tb2j_text(known))
    few = len(known.tensors) and np.abs(known.tensors).max() < FEW_DECIMALS
    return [*lost, "all digits (the format has four decimals of a meV)"] if few else lost


# -- order and simulations ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OrderEstimate:
    """Leading magnetic order and its transition temperature without a simulation.

    Attributes:
        wave_vector: (3,) wave vector in units of reciprocal vectors.
        sublattices: Sign of each site if the signs define the order, otherwise None.
        mean_field: Mean-field transition temperature in K.
        rpa: Transition temperature in the random-phase approximation in K; None: it failed.
        rpa_failure: Reason of the failure, or None.
    """

    wave_vector: list[float]
    sublattices: list[int] | None
    mean_field: float
    rpa: float | None
    rpa_failure: str | None


def estimate(couplings: Couplings | AnyPath) -> OrderEstimate:
    """Determine the magnetic order and estimate its transition temperature; see `nucleate.spins.order.curie`.

    Raises:
        BadInput: The couplings cannot be read.
        NucleateError: The couplings do not determine an order.
    """
    known = _couplings(couplings)
    order = leading_order(known)
    weights, signs = order.weights, None
    if weights.ndim == 1 and np.abs(weights.imag).max() < 1e-6 and np.abs(weights.real).min() > 1e-6:
        signs = [int(sign) for sign in np.sign(weights.real)]
    temperature, failure = None, None
    try:
        temperature = rpa(known, order)
    except NucleateError as error:
        failure = str(error)
    return OrderEstimate(order.wave_vector.tolist(), signs, order.mean_field, temperature, failure)


@dataclass(frozen=True)
class Simulation:
    """Result of a spin simulation.

    Attributes:
        rows: Means and errors by increasing size and temperature.
        crossings: Crossings of the Binder cumulants of successive sizes, which locate the transition temperature.
        lost: Reasons for which other crossings could not be determined.
        lattice: Spin lattice of the largest size.
        coldest: (N, 3) final spins of this lattice at the lowest temperature.
    """

    rows: list[Row]
    crossings: list[Crossing]
    lost: list[str]
    lattice: SpinLattice
    coldest: np.ndarray


def simulate(
    couplings: Couplings | AnyPath,
    out: AnyPath | None = None,
    *,
    settings: SimulationSettings | AnyPath | dict[str, Any] | None = None,
    threads: int = 1,
    progress: Progress = silent,
    **options: Any,
) -> Simulation:
    """Simulate magnetisation, susceptibility, specific heat and Binder cumulant as functions of temperature.

    Args:
        couplings: Couplings, or their file.
        out: Folder for the table and checkpoints, where the same call resumes; None: nothing is stored.
        settings: TOML file, dictionary or settings.
        threads: Number of temperatures simulated in parallel.
        progress: Called with a `nucleate.progress.Step` after each block of measurements, and with `nucleate.progress.Note`.
        options: Single settings, such as `temperatures=[300, 400]` (K); None leaves a setting as it is.

    Raises:
        BadInput: A setting has an invalid value, or the couplings cannot be read.
        NucleateError: The couplings do not determine an order.
        RunFolderError: The folder contains another simulation, or another process uses it.
    """
    # Simulations require numba; the other functions of this module do not.
    from nucleate.spins.simulate.settings import SimulationSettings
    from nucleate.spins.simulate.simulation import simulate as run

    chosen = resolved(SimulationSettings, settings, **options)
    done = run(_couplings(couplings), chosen, None if out is None else Path(out), threads, progress)
    crossings, lost = [], []
    for small, large in zip(chosen.sizes, chosen.sizes[1:], strict=False):
        try:
            crossings.append(crossing(done.rows, small, large))
        except NucleateError as failure:
            lost.append(str(failure))
    return Simulation(done.rows, crossings, lost, done.lattice, done.coldest)


def spectrum(
    couplings: Couplings | AnyPath,
    temperature: float,
    size: int = 12,
    path: str | None = None,
    *,
    resolution: float = 2.0,
    windows: int = 8,
    field: tuple[float, float, float] = (0.0, 0.0, 0.0),
    seed: int = 0,
    progress: Progress = silent,
) -> DynamicStructure:
    """Simulate the dynamical structure factor S(q, E) of classical spins; see `nucleate.spins.simulate.dynamic_structure`.

    Args:
        couplings: Couplings, or their file.
        temperature: Temperature in K.
        size: Cells along each coupled lattice vector; only wave vectors of this supercell are resolved.
        path: Special points of the path, such as GXMG; None: ASE's standard path of the lattice.
        resolution: Full width at half maximum of a sharp mode in meV.
        windows: Number of independent runs.
        field: Magnetic field in tesla.
        seed: Random seed.
        progress: Called with a `nucleate.progress.Step` after each run.

    Raises:
        BadInput: The couplings cannot be read, a number is out of range, or no wave vector of the supercell is on the path.
        NucleateError: The couplings have no ordered state, whose magnons determine the time step.
    """
    from nucleate.spins.simulate.dynamic_structure import dynamic_structure

    return dynamic_structure(
        _couplings(couplings), temperature, size, path, resolution=resolution, windows=windows, field=field, seed=seed, progress=progress
    )  # fmt: skip


def textures(
    couplings: Couplings | AnyPath,
    size: tuple[int, int] = (36, 36),
    fields: Sequence[float] | None = None,
    *,
    dipoles: bool = True,
    barriers: bool = True,
    progress: Progress = silent,
) -> list[FilmTexture]:
    """Find the lowest state of a film and its skyrmions in fields along its normal.

    Args:
        couplings: Couplings of a film, or their file; the third lattice vector crosses the vacuum.
        size: Number of cells along the first two lattice vectors, with periodic boundaries.
        fields: Fields along the normal in tesla; None: 0, 2, ... 10.
        dipoles: Whether to include the dipole-dipole interaction.
        barriers: Whether to compute the energy barriers of the collapse of skyrmions.
        progress: Called with a `nucleate.progress.Stage` at the start of each stage.

    Raises:
        BadInput: The couplings cannot be read or are not those of a film, or the size or a field is not valid.
    """
    # numba takes a second to import.
    from nucleate.spins.textures.films import film_textures

    chosen = FIELDS if fields is None or len(fields) == 0 else tuple(fields)
    if not np.isfinite(chosen).all():
        raise BadInput("fields: give numbers in tesla")
    return film_textures(_couplings(couplings), size, chosen, dipoles, barriers, progress)


@dataclass(frozen=True)
class LongWaves:
    """Long-wave limit of the lowest branch of magnons.

    Attributes:
        tensor: (3, 3) stiffness in meV Å^2 of a state with a net moment, or squared velocity in meV^2 Å^2; zero along directions without
            couplings.
        mean: Mean stiffness in meV Å^2, or root of the mean squared velocity in meV Å, over the directions of the couplings.
        shorter_mean: The same without the longest pairs; None: it is not defined.
        shorter_distance: Largest distance in Å of the pairs kept for it, or None.
    """

    tensor: list[list[float]]
    mean: float
    shorter_mean: float | None
    shorter_distance: float | None


@dataclass(frozen=True)
class Magnons:
    """Magnon spectrum of an ordered state.

    Attributes:
        kind: ferromagnet, ferrimagnet, antiferromagnet, spiral or non-collinear.
        wave_vector: (3,) wave vector of the rotating frame in units of reciprocal vectors; zero without one.
        axis: (3,) axis of the rotation, or None. With a rotation, the component of a mode along the axis has the wave vector of the path;
            the components across it are displaced by plus and minus the wave vector of the rotation.
        cells: (3,) cells of the magnetic supercell; its bands are folded.
        moment: Net moment per cell in Bohr magnetons.
        wave_vectors: (m, 3) wave vectors of the path in units of reciprocal vectors.
        distances: (m,) length along the path in 1/Å.
        labels: (m,) names of special points, or empty strings.
        energies: (m, bands) energies in meV.
        gap: Smallest energy in meV.
        gap_at: (3,) its wave vector.
        stiffness: Long-wave limit of a state with a net moment, or None.
        velocity: Long-wave limit of a state without one, or None.
        dos_energies, dos: (b,) energies in meV and density of states per meV and cell.
        state: The state.
    """

    kind: str
    wave_vector: list[float]
    axis: list[float] | None
    cells: list[int]
    moment: float
    wave_vectors: np.ndarray
    distances: np.ndarray
    labels: list[str]
    energies: np.ndarray
    gap: float
    gap_at: list[float]
    stiffness: LongWaves | None
    velocity: LongWaves | None
    dos_energies: np.ndarray
    dos: np.ndarray
    state: State


def magnons(
    couplings: Couplings | AnyPath,
    path: str | None = None,
    *,
    points: int = 200,
    field: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Magnons:
    """Compute the magnon spectrum of the ordered state of lowest energy; see `nucleate.spins.waves`.

    Args:
        couplings: Couplings, or their file.
        path: Special points of the path, such as GXMG; None: ASE's standard path of the lattice.
        points: Number of wave vectors on the path.
        field: Magnetic field in tesla.

    Raises:
        BadInput: The couplings cannot be read or do not connect cells, or the path or the number of points is not valid.
        NucleateError: The order is unstable, or it can be described neither in a rotating frame nor in a supercell.
    """
    if not np.isfinite(field).all():
        raise BadInput("field: give three finite values in tesla")
    known = _couplings(couplings)
    if not len(known.first):
        raise BadInput("magnons: there are no couplings between the sites")
    line = wave_path(known, path, points)
    state = ordered_state(known, field)
    energies = path_energies(state, line)
    smallest, where = gap(state, known)
    axis = state.frame.axis
    limit = _long_waves(state, known)
    return Magnons(
        state.kind, state.frame.wave_vector.tolist(), None if axis is None else axis.tolist(), list(state.frame.size), state.moment,
        line.wave_vectors, line.distances, line.labels, energies, smallest, where.tolist(), limit if _magnetised(state) else None,
        None if _magnetised(state) else limit, *density_of_states(state, known, float(energies.max())), state,
    )  # fmt: skip


def _magnetised(state: State) -> bool:
    return state.kind in ("ferromagnet", "ferrimagnet")


def _long_waves(state: State, couplings: Couplings) -> LongWaves | None:
    if state.kind == "non-collinear":
        return None
    power = 1 if _magnetised(state) else 2
    found = long_waves(state, couplings, power)
    if found is None:
        return None
    mean = float(np.sign(m := mean_stiffness(found, couplings)) * abs(m) ** (1 / power))
    shorter = without_long_pairs(state, couplings)
    reduced = None if shorter is None else long_waves(shorter[0], shorter[1], power)
    if shorter is None or reduced is None:
        return LongWaves(found.tolist(), mean, None, None)
    m = mean_stiffness(reduced, shorter[1])
    return LongWaves(found.tolist(), mean, float(np.sign(m) * abs(m) ** (1 / power)), shorter[2])


# -- models of pairs ------------------------------------------------------------------------------------------


def import_pairs(table: AnyPath, out: AnyPath, columns: Mapping[str, str], *, unit: str, pairs: str, sign: str) -> tuple[Pairs, int]:
    """Convert a table of couplings between pairs of elements to a CSV file for `train` and `evaluate`.

    Args:
        table: Table in any column layout.
        out: CSV file to write.
        columns: Name of each column: `element_a`, `element_b`, `J` and optionally `distance` (Å).
        unit: Unit of J: meV, eV, mRy or K.
        pairs: Number of times the source Hamiltonian counts each pair: `once` or `twice`.
        sign: `minus` for H = -sum J e.e, `plus` for H = +sum J e.e, with unit vectors e.

    Returns:
        The pairs, and the number of rows without a coupling, which are skipped.

    Raises:
        BadInput: The table cannot be read, or the output file exists or cannot be written.
    """
    source, target = Path(table), Path(out)
    if not source.is_file():
        raise BadInput(f"{source}: the file does not exist; give a table of couplings")
    if target.suffix != ".csv" or not target.parent.is_dir():
        raise BadInput(f"{target}: give a .csv file in an existing folder")
    if target.exists():
        raise BadInput(f"{target}: the file exists already; choose another name")
    read, skipped = read_foreign(source, dict(columns), unit, pairs, sign)
    write_pairs(target, read)
    return read, skipped


def train(
    data: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    settings: PairTraining | AnyPath | dict[str, Any] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> PairModel:
    """Train a model of couplings on pairs.

    Args:
        data: Files of pairs with couplings: extended XYZ, or CSV of element pairs.
        out: Folder of the model.
        settings: TOML file, dictionary or settings.
        progress: Called with a `nucleate.progress.Step` after each optimiser step of a network.
        options: Single settings, such as `model="kernel"`; None leaves a setting as it is.

    Raises:
        BadInput: A file or setting cannot be used.
        RunFolderError: The folder contains a model already.
    """
    return train_pairs(_pairs(data), Path(out), resolved(PairTraining, settings, **options), progress)


def evaluate(
    data: AnyPath | Sequence[AnyPath],
    *,
    folds: int = 10,
    grouping: str = "elements",
    settings: PairTraining | AnyPath | dict[str, Any] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> tuple[Pairs, Scores]:
    """Cross-validate a model of couplings.

    Args:
        data: Files of pairs with couplings: extended XYZ, or CSV of element pairs.
        folds: Number of folds.
        grouping: `elements` keeps a-b and b-a in one fold; `ungrouped` may split them, and the score is then not valid for new pairs.
        settings: TOML file, dictionary or settings.
        progress: Called with a `nucleate.progress.Step` after each fold.
        options: Single settings, such as `model="kernel"`; None leaves a setting as it is.

    Returns:
        The pairs, and the errors of their predictions.

    Raises:
        BadInput: A file or setting cannot be used.
    """
    pairs = _pairs(data)
    return pairs, cross_validate(pairs, resolved(PairTraining, settings, **options), folds, grouping, progress)


@dataclass(frozen=True)
class PairPrediction:
    """Predicted couplings.

    Attributes:
        pairs: The pairs; their couplings are those of the file, NaN where it has none.
        predicted: Predicted couplings and errors in meV.
        unseen: Elements outside the training set, for which the prediction is an extrapolation.
    """

    pairs: Pairs
    predicted: Predicted
    unseen: list[str]


def predict(model: PairModel | AnyPath, pairs: AnyPath) -> PairPrediction:
    """Predict the couplings of pairs.

    Args:
        model: Model, or its folder.
        pairs: File of pairs: extended XYZ, or CSV of element pairs.

    Raises:
        BadInput: The model or file cannot be read, or the pairs are of another kind than the training pairs.
    """
    known, asked = _pair_model(model), read_pairs(Path(pairs), labelled=False)
    return PairPrediction(asked, known.predict(asked), known.unseen(asked))


def predict_crystal(model: PairModel | AnyPath, structure: Structure, *, cutoff: float | None = None) -> CrystalCouplings:
    """Predict the couplings between the magnetic atoms of a crystal, which are those of elements in the training pairs.

    Args:
        model: Model, or its folder.
        structure: Crystal or its file.
        cutoff: Largest distance in Å; None: that of the training pairs, or 6 Å if the model has no distances.

    Raises:
        BadInput: The model or structure cannot be read, or the model does not support the structure or the cutoff.
    """
    return _predict_crystal(_pair_model(model), _atoms(structure), cutoff)


@dataclass(frozen=True)
class Suggestion:
    """A pair whose calculation is informative.

    Attributes:
        row: Row of the pair in the pool, from 0.
        elements: Its elements.
        error: Predicted error of its coupling in meV.
    """

    row: int
    elements: tuple[str, str]
    error: float


def suggest(model: PairModel | AnyPath, pool: AnyPath, *, count: int = 5, strategy: str = "variance") -> list[Suggestion]:
    """Suggest the pairs whose calculation is most informative for a kernel model.

    Args:
        model: Kernel model, or its folder.
        pool: File of candidate pairs: extended XYZ, or CSV of element pairs.
        count: Number of pairs.
        strategy: `variance` or `diversity`.

    Raises:
        BadInput: The strategy is unknown, the model is not a kernel model, or a file cannot be read.
    """
    if strategy not in ("variance", "diversity"):
        raise BadInput(f"strategy {quoted(strategy, 40)}: unknown strategy; choose variance or diversity")
    known, asked = _pair_model(model), read_pairs(Path(pool), labelled=False)
    if not isinstance(known.model, PairGaussianProcess):
        raise BadInput(f"{'the model' if isinstance(model, PairModel) else model}: suggestions require a kernel model")
    first = len(known.pairs)
    both = Pairs.joined([known.pairs, asked])
    rows = choose(both, list(range(first)), list(range(first, len(both))), count, known.model, strategy, np.random.default_rng(0))
    errors = known.model.predict(both.take(rows))[1]
    return [Suggestion(row - first, both.elements[row], float(error)) for row, error in zip(rows, errors, strict=True)]


def _atoms(structure: Structure) -> Atoms:
    return structure if isinstance(structure, Atoms) else read_structure(Path(structure))


def _couplings(couplings: Couplings | AnyPath) -> Couplings:
    return couplings if isinstance(couplings, Couplings) else read_couplings(Path(couplings))


def _pairs(data: AnyPath | Sequence[AnyPath]) -> Pairs:
    return Pairs.joined([read_pairs(Path(path)) for path in ([data] if isinstance(data, str | PathLike) else data)])


def _pair_model(model: PairModel | AnyPath) -> PairModel:
    return model if isinstance(model, PairModel) else load_pairs_model(Path(model))
