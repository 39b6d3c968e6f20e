"""The verbs of `nucleate electrons` as Python functions.

from nucleate.electrons import api

api.sample("al", material="Al", temperature=298)
api.train("al", "model")
electrons = api.predict("model", "large.cif")
print(electrons.terms.free)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ase import Atoms

from nucleate.crystals.io import read_structure
from nucleate.electrons.data.mala_files import read_mala
from nucleate.electrons.data.sampling import SampleSettings
from nucleate.electrons.data.sampling import sample as _sample
from nucleate.electrons.data.store import Snapshot, make_folder, read_snapshot, snapshot_paths, write_snapshot
from nucleate.electrons.emulator.emulator import Emulator, EmulatorTraining, Start, fit_emulator, starting_density
from nucleate.electrons.emulator.gpaw_start import Converged, converge, grid_shape
from nucleate.electrons.model.evaluation import Errors, errors_on
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import Electrons
from nucleate.electrons.model.prediction import predict as _predict
from nucleate.electrons.model.training import ElectronTraining, check_model, snapshot_name
from nucleate.electrons.model.training import train as _train
from nucleate.electrons.settings import GroundStateSettings
from nucleate.errors import BadInput
from nucleate.persist.toml import read_settings, resolved, validated
from nucleate.progress import Progress, Step, silent

AnyPath = str | PathLike[str]
Structure = Atoms | AnyPath
"""A structure, or the path of a file that holds one."""
DYNAMICS = ("material", "atoms", "temperature", "phase", "volume", "snapshots", "potential", "seed")
HINT = "write one with the keys of docs/electrons.md"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SnapshotEvaluated(Step):
    """A model was evaluated on a snapshot."""

    errors: Errors


def sample(
    out: AnyPath,
    *,
    settings: SampleSettings | AnyPath | dict[str, Any] | None = None,
    convergence: bool = True,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress = silent,
    **options: Any,
) -> list[Path]:
    """Sample snapshots of molecular dynamics and compute their local density of states with GPAW.

    Args:
        out: Data folder; the same call resumes an interrupted run there.
        settings: TOML file, dictionary or settings with the tables `dynamics` and `ground_state`.
        convergence: Whether to repeat the first snapshot with more k-points and with a higher cutoff, which costs several snapshots.
        workers: Number of calculations run in parallel.
        executor: Any `concurrent.futures.Executor`, instead of local processes.
        progress: Called with a `nucleate.progress.Step` of the dynamics, a `SnapshotDone` or a `SnapshotFailed`.
        options: Single settings of either table, such as `material="Al"` or `cutoff=300`; None leaves a setting as it is. The
            electronic temperature (K) is that of the ions unless it is given.

    Returns:
        Paths of the snapshots.

    Raises:
        BadInput: A setting is unknown or has an invalid value.
        RunFolderError: The folder belongs to other settings or is not writable.
    """
    if isinstance(settings, SampleSettings):
        given, source = settings.model_dump(exclude_unset=True), "settings"
    elif isinstance(settings, dict):
        given, source = dict(settings), "settings"
    else:
        given, source = (
            ({}, "options")
            if settings is None
            else (read_settings(settings, "write one with [dynamics] and [ground_state]"), str(settings))
        )
    dynamics, ground = given.get("dynamics", {}), given.get("ground_state", {})
    if not isinstance(dynamics, dict) or not isinstance(ground, dict):
        raise BadInput(f"{source}: [dynamics] and [ground_state] must be tables")
    options = {name: value for name, value in options.items() if value is not None}
    dynamics = {**dynamics, **{name: value for name, value in options.items() if name in DYNAMICS}}
    ground = {**ground, **{name: value for name, value in options.items() if name not in DYNAMICS}}
    if "temperature" in dynamics:
        ground.setdefault("electronic_temperature", dynamics["temperature"])
    chosen = validated(SampleSettings, {**given, "dynamics": dynamics, "ground_state": ground}, source)
    return _sample(Path(out), chosen, workers, executor, progress, convergence)


def import_mala(
    ldos: AnyPath,
    structure: AnyPath,
    out: AnyPath,
    *,
    low: float,
    spacing: float,
    charges: Mapping[str, float],
    sigma: float | None = None,
    temperature: float | None = None,
    units: str = "1/(eV*A^3)",
) -> tuple[Path, Snapshot]:
    """Add a snapshot in MALA's format to a data folder.

    Args:
        ldos: NumPy file with the local density of states (n_1, n_2, n_3, n_energies).
        structure: Structure file, for example the output of pw.x.
        out: Data folder.
        low: Lowest energy of the grid in eV.
        spacing: Spacing of the energies in eV.
        charges: Number of valence electrons of each element.
        sigma: Width of the Gaussians in eV; None: the spacing.
        temperature: Electronic temperature in K; None: the value stored with the structure.
        units: Units of the LDOS: 1/(eV*A^3), 1/(eV*Bohr^3) or 1/(Ry*Bohr^3).

    Returns:
        Path of the new snapshot, and the snapshot; `snapshot.details["note"]` is a remark for the user, if there is one.

    Raises:
        BadInput: A file cannot be read, or the arrays and settings do not fit together.
    """
    snapshot = read_mala(Path(ldos), Path(structure), low, spacing, dict(charges), sigma, temperature, units)
    folder = Path(out) / "snapshots"
    make_folder(folder)
    last = max((int(path.stem) for path in folder.glob("[0-9]*.zarr")), default=-1)
    path = folder / f"{last + 1:04d}.zarr"
    write_snapshot(path, snapshot)
    return path, snapshot


def train(
    data: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    settings: ElectronTraining | AnyPath | dict[str, Any] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> tuple[ElectronModel, list[Errors]]:
    """Train a model of the local density of states.

    Args:
        data: Data folder or folders.
        out: Folder of the model.
        settings: TOML file, dictionary or settings.
        progress: Called with a `NetworkStep` every 100 steps.
        options: Single settings, such as `steps=3000`; None leaves a setting as it is.

    Returns:
        The model, and its errors on each validation snapshot.

    Raises:
        BadInput: A setting has an invalid value, or the snapshots are not compatible.
    """
    model, errors = _train(_folders(data), Path(out), resolved(ElectronTraining, settings, HINT, **options), progress)
    return model, errors["validation"]


def evaluate(
    model: ElectronModel | AnyPath, data: AnyPath | Sequence[AnyPath], *, forces: bool = False, progress: Progress = silent
) -> list[Errors]:
    """Compute the errors of a model on snapshots.

    Args:
        model: Model, its file or its folder.
        data: Data folder or folders.
        forces: Whether to compute the errors of forces and pressure as well, at about four times the cost.
        progress: Called with a `SnapshotEvaluated` after each snapshot.

    Raises:
        BadInput: The model or a snapshot cannot be read, or they are not compatible.
    """
    known = _model(model)
    paths = [path for folder in _folders(data) for path in snapshot_paths(folder)]
    errors = []
    for k, path in enumerate(paths):
        snapshot = read_snapshot(path)
        check_model(known, snapshot, path)
        if forces and k == 0 and snapshot.forces is not None and snapshot.stress is None:
            log.warning("%s: the stress is that at a fixed number of plane waves, so the pressure is not compared; sample it again", path)
        errors.append(errors_on(known, snapshot, name=snapshot_name(path), forces=forces))
        progress(SnapshotEvaluated("snapshots", k + 1, len(paths), errors[-1]))
    return errors


def predict(
    model: ElectronModel | AnyPath,
    structure: Structure,
    *,
    temperature: float | None = None,
    spacing: float | None = None,
    forces: bool = False,
    overlap: bool = False,
    workers: int = 0,
    scratch: AnyPath | None = None,
    progress: Progress = silent,
) -> Electrons:
    """Predict the density of states, electron density and free energy of a structure, and its forces and stress.

    Args:
        model: Model, its file or its folder.
        structure: Structure or its file.
        temperature: Electronic temperature in K; None: that of the training data.
        spacing: Grid spacing in Å; None: that of the training data.
        forces: Whether to compute forces (eV/Å) and stress (eV/Å³) as well.
        overlap: Whether to include the overlap energy of GPAW's Gaussian ions, for comparison with GPAW.
        workers: Number of worker processes that share the grid, which read the model from its file; 0: this process.
        scratch: Folder for finished slabs, from which an interrupted prediction resumes.
        progress: Called with a `nucleate.progress.Step` after each slab.

    Raises:
        BadInput: The model or structure cannot be read, they are not compatible, or a setting cannot be used.
    """
    known = _model(model)
    atoms = structure if isinstance(structure, Atoms) else read_structure(Path(structure))
    path = None if isinstance(model, ElectronModel) else Path(model)
    if path is not None and path.is_dir():
        path = path / "model.safetensors"
    return _predict(
        known, atoms, known.facts["temperature"] if temperature is None else temperature, spacing, forces=forces, overlap=overlap,
        workers=workers, path=path, scratch=None if scratch is None else Path(scratch), progress=progress,
    )  # fmt: skip


def fit_start(
    data: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    settings: EmulatorTraining | AnyPath | dict[str, Any] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Emulator:
    """Fit the density emulator, which provides starting densities of self-consistent calculations.

    Args:
        data: Data folder or folders.
        out: Folder of the emulator.
        settings: TOML file, dictionary or settings.
        progress: Called with a `nucleate.progress.Step` after each snapshot.
        options: Single settings, such as `cutoff=6.0`; None leaves a setting as it is.

    Raises:
        BadInput: A setting has an invalid value, or the snapshots cannot be used.
    """
    return fit_emulator(_folders(data), Path(out), resolved(EmulatorTraining, settings, HINT, **options), progress)


@dataclass(frozen=True)
class Started:
    """Self-consistent calculations from the emulator's density and, for comparison, from superposed atomic densities.

    Attributes:
        density: Starting density, with its expected error.
        density_cpu_seconds: CPU time of the starting density in s.
        emulator: Calculation from the emulator's density.
        atoms: Calculation from superposed atomic densities; None: not run.
    """

    density: Start
    density_cpu_seconds: float
    emulator: Converged
    atoms: Converged | None


def start_density(emulator: Emulator | AnyPath, structure: Structure, *, k_spacing: float = 0.2, temperature: float = 500.0) -> Start:
    """Predict the starting density of a GPAW calculation.

    Args:
        emulator: Emulator, its file or its folder.
        structure: Structure or its file.
        k_spacing: k-point spacing in 1/Å.
        temperature: Electronic temperature in K.

    Raises:
        BadInput: The emulator or structure cannot be read, or they are not compatible.
        StartRefused: The expected error exceeds that of superposed atomic densities.
    """
    return _start(emulator, structure, k_spacing, temperature)[0]


def start(
    emulator: Emulator | AnyPath,
    structure: Structure,
    *,
    k_spacing: float = 0.2,
    temperature: float = 500.0,
    fixed_steps: int = 0,
    compare: bool = False,
) -> Started:
    """Run a GPAW calculation from the emulator's density.

    Args:
        emulator: Emulator, its file or its folder.
        structure: Structure or its file.
        k_spacing: k-point spacing in 1/Å.
        temperature: Electronic temperature in K.
        fixed_steps: Number of eigensolver steps at fixed density before the density is updated.
        compare: Whether to run the calculation from superposed atomic densities as well.

    Raises:
        BadInput: The emulator or structure cannot be read, or they are not compatible.
        StartRefused: The expected error exceeds that of superposed atomic densities.
        ReferenceFailed: A calculation did not converge.
    """
    before = time.process_time()
    density, atoms, settings = _start(emulator, structure, k_spacing, temperature)
    spent = time.process_time() - before
    ours = converge(atoms, settings, density.density, fixed_steps=fixed_steps)
    return Started(density, spent, ours, converge(atoms, settings) if compare else None)


def _start(
    emulator: Emulator | AnyPath, structure: Structure, k_spacing: float, temperature: float
) -> tuple[Start, Atoms, GroundStateSettings]:
    known = emulator if isinstance(emulator, Emulator) else Emulator.load(Path(emulator))
    atoms = structure if isinstance(structure, Atoms) else read_structure(Path(structure))
    engine = {name: known.engine[name] for name in ("cutoff", "pseudopotential")}
    settings = validated(GroundStateSettings, {**engine, "k_spacing": k_spacing, "electronic_temperature": temperature}, "options")
    return starting_density(known, atoms, settings, grid_shape(atoms, settings)), atoms, settings


def _model(model: ElectronModel | AnyPath) -> ElectronModel:
    return model if isinstance(model, ElectronModel) else ElectronModel.load(Path(model))


def _folders(data: AnyPath | Sequence[AnyPath]) -> list[Path]:
    return [Path(data)] if isinstance(data, str | PathLike) else [Path(folder) for folder in data]
