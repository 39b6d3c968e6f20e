"""Sampling of structures by molecular dynamics and of their electronic structure by GPAW.

A data folder contains sample.toml (resolved settings), structures.extxyz (sampled once), snapshots/NNNN.zarr, convergence.json and
events.jsonl, which records failures and the equilibration of the dynamics. An interrupted sampling resumes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import TypeVar

import ase.io
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field

from nucleate.electrons.data.convergence import NAME as CONVERGENCE
from nucleate.electrons.data.convergence import Shift, measure_convergence, write_convergence
from nucleate.electrons.data.dynamics import DynamicsSettings, run_dynamics, starting_cell, write_structures
from nucleate.electrons.data.ground_state import CONVERGED, Snapshot, ground_state
from nucleate.electrons.data.store import read_snapshot, write_snapshot
from nucleate.electrons.events import SnapshotDone, SnapshotFailed
from nucleate.electrons.levels.occupation import check_temperature
from nucleate.electrons.settings import GroundStateSettings
from nucleate.errors import BadInput, NucleateError, ReferenceFailed, RunFolderError
from nucleate.gpaw.session import require_gpaw
from nucleate.persist.files import append_line, read_lines, write_whole
from nucleate.persist.toml import same_settings, to_toml
from nucleate.processes.pools import worker_pool
from nucleate.progress import Progress, Step, silent

log = logging.getLogger(__name__)

MISSING_CHARGE = 1e-4
"""Largest number of electrons per atom outside the energy window."""


class SampleSettings(BaseModel):
    """Settings of a sampling."""

    model_config = ConfigDict(extra="forbid")

    dynamics: DynamicsSettings
    ground_state: GroundStateSettings = Field(default_factory=GroundStateSettings)


def sample(
    out: Path,
    settings: SampleSettings,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress = silent,
    convergence: bool = True,
) -> list[Path]:
    """Sample structures and compute their electronic structure; existing results are kept.

    Args:
        out: Data folder; a sampling with the same settings resumes there.
        settings: Settings of the dynamics and ground states.
        workers: Number of processes, if no executor is given.
        executor: Any `concurrent.futures.Executor`.
        progress: Called with a `Step` of the dynamics, a `SnapshotDone` or a `SnapshotFailed`.
        convergence: Whether to repeat the first snapshot with more k-points and with a higher cutoff, unless the folder contains this.

    Raises:
        BadInput: The settings cannot be used.
        RunFolderError: The folder belongs to other settings or is not writable.
    """
    # Check before the dynamics, because no structure could be computed without GPAW.
    require_gpaw()
    check_temperature(settings.ground_state.electronic_temperature)
    text = to_toml(settings)
    present = out / "sample.toml"
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out}: this is a file, not a folder; choose another --out")
    same = present.exists() and same_settings(SampleSettings, present.read_text(encoding="utf-8"), text)
    if not same and present.exists() and not any(out.glob("snapshots/*.zarr")):
        # The previous settings produced no results, so the sampling restarts.
        for name in ("sample.toml", "structures.extxyz", "events.jsonl"):
            (out / name).unlink(missing_ok=True)
    if present.exists():
        if not same:
            raise RunFolderError(
                f"{out}: the folder contains a sampling with other settings; choose another --out, or use the settings of {present}"
            )
    elif out.exists() and any(path.name != "snapshots" and path.suffix != ".part" for path in out.iterdir()):
        raise RunFolderError(f"{out}: the folder is not empty and contains no sampling; choose another --out")
    drawn = out / "structures.extxyz"
    moments = settings.ground_state.magnetic_moments
    if moments and not drawn.exists():
        unknown = sorted(set(moments) - set(starting_cell(settings.dynamics).get_chemical_symbols()))
        if unknown:
            raise BadInput(f"magnetic_moments: {settings.dynamics.material} contains no {', '.join(unknown)}; name its elements alone")
    # Run the dynamics before the folder is created, so that invalid settings leave no folder.
    trajectory = None if drawn.exists() else run_dynamics(settings.dynamics, progress)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(present, text)
        (out / "snapshots").mkdir(exist_ok=True)
        if trajectory is not None:
            write_structures(drawn, trajectory.structures)
            if trajectory.statistics is not None:
                append_line(out / "events.jsonl", {"event": "dynamics", **trajectory.statistics.as_dict()})
    except OSError as error:
        raise RunFolderError(f"{out}: cannot be written: {error.strerror}") from error
    # Read the structures from the file, so that a resumed sampling uses identical numbers.
    frames = ase.io.read(drawn, index=":")
    assert isinstance(frames, list)
    return label_structures(out, frames, settings.ground_state, workers, executor, progress, convergence)


def label_structures(
    out: Path,
    structures: list[Atoms],
    settings: GroundStateSettings,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress = silent,
    convergence: bool = False,
) -> list[Path]:
    """Compute all missing snapshots; the first one determines the energy window of all.

    With `convergence`, the convergence of the first snapshot is measured as well, unless the folder contains it.
    """
    (out / "snapshots").mkdir(parents=True, exist_ok=True)
    paths = [out / "snapshots" / f"{number:04d}.zarr" for number in range(len(structures))]
    failed = {line["number"] for line in read_lines(out / "events.jsonl") if line["event"] == "failure"}
    todo = [number for number, path in enumerate(paths) if not path.exists() and number not in failed]
    done = [path for path in paths if path.exists()]
    total = len(structures) - len(failed)
    window, reach = None, CONVERGED

    def follow(one: Snapshot) -> None:
        nonlocal window, reach
        window = float(one.energies[0]), float(one.energies[-1])
        # Earlier versions stored none.
        reach = max(reach, one.details.get("reach", CONVERGED))

    if done:
        follow(read_snapshot(done[0], ldos=False))

    def keep(number: int, answer: Snapshot | ReferenceFailed) -> None:
        if isinstance(answer, ReferenceFailed):
            append_line(out / "events.jsonl", {"event": "failure", "number": number, "kind": answer.kind, "reason": answer.reason})
            progress(SnapshotFailed(number, answer.reason))
            return
        follow(answer)
        write_snapshot(paths[number], answer)
        done.append(paths[number])
        append_line(out / "events.jsonl", {"event": "snapshot", "number": number, **answer.details})
        progress(SnapshotDone("ground states", len(done), total, number, answer.details))

    def keep_convergence(path: Path, answer: dict[str, Shift] | ReferenceFailed) -> None:
        number = int(path.stem)
        if isinstance(answer, ReferenceFailed):
            append_line(out / "events.jsonl", {"event": "convergence not measured", "number": number, "reason": answer.reason})
            log.warning("%s: the convergence was not measured: %s", out, answer.reason)
        else:
            write_convergence(out, answer, settings, number)
        progress(Step("convergence", 1, 1))

    while todo and window is None:
        number = todo.pop(0)
        keep(number, _label(structures[number], settings))
    tried = any(line["event"] == "convergence not measured" for line in read_lines(out / "events.jsonl"))
    first = min(done) if done and convergence and not tried and not (out / CONVERGENCE).exists() else None
    if executor is None and workers <= 1:
        for number in todo:
            keep(number, _label(structures[number], settings, window, reach))
        if first is not None:
            progress(Step("convergence", 0, 1))
            keep_convergence(first, _convergence(first, settings))
    elif todo or first is not None:
        pool = executor or worker_pool(workers)
        try:
            running = {pool.submit(_label, structures[number], settings, window, reach): number for number in todo}
            checked = None if first is None else pool.submit(_convergence, first, settings)
            for future in as_completed(running):
                keep(running[future], future.result())
            if first is not None and checked is not None:
                keep_convergence(first, checked.result())
        finally:
            if executor is None:
                pool.shutdown(wait=False, cancel_futures=True)
    if not done:
        reasons = [line["reason"] for line in read_lines(out / "events.jsonl") if line["event"] == "failure"]
        raise BadInput(f"{out}: no ground state converged ({reasons[-1]}); change the settings and sample again")
    return sorted(done)


def _convergence(path: Path, settings: GroundStateSettings) -> dict[str, Shift] | ReferenceFailed:
    """Return the convergence of a stored snapshot, or the reason why it could not be measured."""
    return _answered(lambda: measure_convergence(read_snapshot(path, ldos=False), settings))


def _label(
    atoms: Atoms, settings: GroundStateSettings, window: tuple[float, float] | None = None, reach: float = CONVERGED
) -> Snapshot | ReferenceFailed:
    snapshot = _answered(lambda: ground_state(atoms, settings, window, reach=reach))
    if isinstance(snapshot, ReferenceFailed):
        return snapshot
    missing = snapshot.details["missing_charge"]
    if missing > MISSING_CHARGE * len(atoms):
        low, high = float(snapshot.energies[0]), float(snapshot.energies[-1])
        reason = f"the energy window from {low:g} to {high:g} eV misses {missing:.3g} electrons; set low and high to include all levels"
        return ReferenceFailed(reason, kind="window")
    return snapshot


Result = TypeVar("Result")


def _answered(calculate: Callable[[], Result]) -> Result | ReferenceFailed:
    """Return the result of a calculation, or its failure in a form that can be sent between processes."""
    try:
        return calculate()
    except ReferenceFailed as failure:
        return ReferenceFailed(failure.reason, kind=failure.kind)
    except NucleateError:
        raise
    except Exception as error:  # GPAW raises various exceptions; one failure must not stop the sampling
        return ReferenceFailed(f"gpaw: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
