"""The verbs of the command line as a Python API.

result = nucleate.search("Si8", reference="gpaw", budget=200)
for polymorph in result.polymorphs:
    print(polymorph.space_group, polymorph.energy)
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from nucleate.crystals.formula import formula_text
from nucleate.csp.events import EngineStarts, FolderOpened, RoundDone
from nucleate.csp.loop import Search
from nucleate.csp.plan import Plan, check_start, prepare
from nucleate.csp.records import Polymorph
from nucleate.csp.result_files import write_structures, write_table
from nucleate.csp.run_data import RunData, read_run, show_data
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import RunSettings, settings_from_dict
from nucleate.errors import BadInput, NucleateError, RunFolderError, quoted
from nucleate.persist.toml import read_settings, refuse_odd_data, to_toml
from nucleate.potentials.prior import resolved_prior
from nucleate.processes.interrupts import check, listening
from nucleate.progress import Event, Progress, silent
from nucleate.reference.base import Reference
from nucleate.relax.on_reference import RelaxedFile, relax_on_reference
from nucleate.report.html import write_report

PAGE_SECONDS = 60.0
"""While a search runs its report is written at most this often."""
AnyPath = str | PathLike[str]


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Attributes:
        folder: its run folder, with structures/, table.csv and report.html.
        settings: as resolved.
        polymorphs: confirmed on the reference, lowest first.
        calls: reference calls spent, failures included.
        finished: why the search ended, or None for one that was stopped.
        proof: outcome of the winner's relaxation on the reference alone, or None.
    """

    folder: Path
    settings: RunSettings
    polymorphs: list[Polymorph]
    calls: int
    finished: str | None
    proof: dict[str, Any] | None


def resolve_settings(
    formula: str | None = None,
    settings: RunSettings | AnyPath | dict[str, Any] | None = None,
    **options: Any,
) -> RunSettings:
    """Combine defaults, `settings` and options; later ones override earlier ones.

    Args:
        formula: what the cell holds; the settings' own where None.
        settings: a TOML file, a dictionary as in run.toml, or resolved settings.
        options: dotted names with `__` for the dot, as in `search__budget=200`; None leaves a field as it is.

    Raises:
        BadInput: a key or value that cannot be used, or no formula at all.
    """
    source = "settings"
    data: dict[str, Any]
    if settings is None:
        data = {}
    elif isinstance(settings, RunSettings):
        data = settings.model_dump(mode="json")
    elif isinstance(settings, dict):
        data = _deep_copy(settings)
    else:
        data, source = read_settings(Path(settings)), str(settings)
    for name, value in {"formula": formula, **options}.items():
        if value is None:
            continue
        *sections, key = name.split("__")
        place = data
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise BadInput(f"{source}: {section} must be a table, as in [{section}]")
        place[key] = value
    if "formula" not in data:
        raise BadInput("no formula; give one such as Si8, or settings that name one")
    # Before any path is looked at: the operating system takes no null bytes.
    refuse_odd_data(data, source)
    # The run folder may be resumed from anywhere.
    for table, entry in ((data, "seeds_from"), (data.get("reference"), "pseudo_dir")):
        if isinstance(table, dict) and isinstance(table.get(entry), str):
            table[entry] = _resolved_path(table[entry], entry)
    if isinstance(data.get("model"), dict) and isinstance(data["model"].get("prior"), str):
        data["model"]["prior"] = resolved_prior(data["model"]["prior"])
    return settings_from_dict(data, source)


def _resolved_path(text: str, name: str) -> str:
    try:
        return str(Path(text).expanduser().resolve())
    except (OSError, RuntimeError) as error:  # A home folder of nobody, a link to itself.
        raise BadInput(f"{name}: '{quoted(text)}' is no path: {quoted(str(error))}") from error


def _deep_copy(value: Any) -> Any:
    return {key: _deep_copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def search(
    formula: str | None = None,
    *,
    settings: RunSettings | AnyPath | dict[str, Any] | None = None,
    reference: str | Reference | None = None,
    preset: str | None = None,
    pressure: float | None = None,
    budget: int | None = None,
    top: int | None = None,
    pool: int | None = None,
    seed: int | None = None,
    seeds_from: AnyPath | None = None,
    model: str | None = None,
    prior: str | None = None,
    workers: int | None = None,
    out: AnyPath | None = None,
    executor: Executor | None = None,
    progress: Progress = silent,
) -> SearchResult:
    """Search the crystal structures of a formula.

    Args:
        formula: what the cell holds, with its exact atom count, such as `Al4O6`; None: the settings' own.
        settings: a TOML file, a dictionary as in run.toml, or resolved settings; the options override it.
        reference: engine by name, or any object that keeps the `Reference` contract.
        preset: `fast`, `standard` or `accurate`.
        pressure: GPa.
        budget: hard limit of reference calls.
        top: polymorphs wanted.
        pool: candidates of a round.
        seed: of all random numbers.
        seeds_from: file with your own structures, mixed into the first pool.
        model: family of the learned surface, as `a2a`.
        prior: pretrained potential whose difference to the reference is learned.
        workers: reference calculations side by side.
        out: run folder; None: named after the formula, numbered where that is taken by another run.
        executor: any `concurrent.futures.Executor` on which references run.
        progress: Called with the events of `nucleate.csp.events`, and with a `nucleate.progress.Step` for each part of a phase.

    Returns:
        The result; its files are in the run folder, also after an interrupt.

    Raises:
        NucleateError: anything a user can cause, in one line.
        KeyboardInterrupt: after the files of what was found so far are written.
    """
    engine = reference if isinstance(reference, str) else None
    resolved = resolve_settings(
        formula,
        settings,
        reference__engine=engine,
        reference__preset=preset,
        reference__workers=workers,
        pressure=pressure,
        search__budget=budget,
        search__top=top,
        search__pool=pool,
        seed=seed,
        seeds_from=None if seeds_from is None else str(seeds_from),
        model__family=model,
        model__prior=prior,
    )
    given = None if reference is None or isinstance(reference, str) else reference
    plan = prepare(resolved, given)
    # Settings that cannot work are refused before a folder is made.
    check_start(plan)
    path = Path(out) if out is not None else default_folder(resolved)
    with RunFolder.create(path, to_toml(resolved)) as folder:
        return _run(folder, plan, executor, progress)


def resume(
    folder: AnyPath,
    *,
    budget: int | None = None,
    reference: Reference | None = None,
    executor: Executor | None = None,
    progress: Progress = silent,
    trust: bool = False,
) -> SearchResult:
    """Resume a search that was stopped; of a finished search the output files are written again.

    Args:
        folder: of the run.
        budget: a higher limit of reference calls, kept in its run.toml; a search that spent its budget goes on.
        reference: in place of the one its settings name, as in `search`.
        executor: As in `search`.
        progress: As in `search`; `EngineStarts` names what the settings of the folder start.
        trust: whether a run.toml that belongs to another user may start what it names.

    Returns:
        As `search`.

    Raises:
        NucleateError: anything a user can cause, in one line; a budget below the run's own is `BadInput`.
        RunFolderError: run.toml belongs to another user and `trust` is not given; nothing it names was started or imported.
    """
    with RunFolder.open(Path(folder)) as opened:
        settings = settings_from_dict(read_settings(opened.path / "run.toml"), str(opened.path / "run.toml"))
        if budget is not None and budget != settings.search.budget:
            if budget < settings.search.budget:
                raise BadInput(f"budget {budget}: {opened.path} has {settings.search.budget} already; a budget can only be raised")
            settings.search.budget = budget
            opened.change_settings(to_toml(settings))
        starts = None if reference is not None else what_starts(settings)
        if starts is not None and not _is_own(opened.path / "run.toml"):
            if not trust:
                raise RunFolderError(
                    f"{opened.path}: its run.toml belongs to another user and starts {starts}; read it, then: "
                    f"nucleate resume {opened.path} --trust"
                )
            # Somebody else's module already runs when it is imported: said before that.
            progress(EngineStarts(starts))
            starts = None
        return _run(opened, prepare(settings, reference), executor, progress, starts)


def what_starts(settings: RunSettings) -> str:
    """Return the programs and files outside nucleate that a search with these settings runs or loads."""
    reference = settings.reference
    engine = {"gpaw": "GPAW", "espresso": "Quantum ESPRESSO", "vasp": "VASP", "cp2k": "CP2K"}.get(reference.engine, reference.engine)
    if reference.engine == "ase":
        text = f"the Python module of the calculator {quoted(reference.calculator)}"
    elif reference.command is not None:
        text = f"the command '{quoted(reference.command)}' as {engine}"
    else:
        text = engine
    return text if settings.model.prior is None else f"{text}, and the pretrained model {quoted(settings.model.prior)}"


def _is_own(path: Path) -> bool:
    """Whether a file belongs to the user of this process; root's files are another user's as well."""
    return path.stat().st_uid == os.geteuid()


def _run(
    folder: RunFolder,
    plan: Plan,
    executor: Executor | None,
    progress: Progress,
    starts: str | None = None,
) -> SearchResult:
    settings, reference = plan.settings, plan.reference
    before = folder.reference()
    if before is not None and before.name != reference.name:
        raise RunFolderError(
            f"{folder.path}: its calculations are by {quoted(before.name)}, not {quoted(reference.name)}; their energies cannot be mixed"
        )
    now = json.loads(json.dumps(reference.settings(), sort_keys=True, default=str))
    if before is not None and before.settings is not None and before.settings != now:
        then = before.settings
        changed = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
        raise RunFolderError(
            f"{folder.path}: its calculations were made with another {quoted(', '.join(changed))} of {quoted(reference.name)}; "
            "their energies cannot be mixed: start a new search in another folder"
        )
    folder.set_fact("reference", {"name": reference.name, "surrogate": reference.surrogate, "settings": now})
    written = time.monotonic()

    def watched(event: Event, /) -> None:
        nonlocal written
        # An interrupt that a package swallowed is raised here, at the next event.
        check()
        progress(event)
        if isinstance(event, RoundDone) and time.monotonic() - written > PAGE_SECONDS:
            # A failure to write the page of a running search must not stop the search.
            _try(lambda: write_report(folder.path, running=True))
            written = time.monotonic()

    progress(FolderOpened(str(folder.path), settings.formula, reference.name, reference.surrogate, settings.search.budget))
    if starts is not None:
        progress(EngineStarts(starts))
    try:
        with listening():
            state = Search(folder, plan, executor, watched).run()
    except BaseException:
        # The error that stopped the search is raised, not one of a file that could not be written after it.
        _try(lambda: write_outputs(folder.path))
        raise
    write_outputs(folder.path)
    return SearchResult(folder.path, settings, state.ranking(), folder.ledger.count(), state.finished, state.proof)


def _try(action: Callable[[], object]) -> None:
    try:
        action()
    except (NucleateError, OSError):
        return


def write_outputs(folder: AnyPath) -> RunData:
    """Write structures/, table.csv and report.html of a run folder in any state."""
    run = read_run(folder, running=False)
    write_structures(run)
    write_table(run)
    write_report(run.path, running=False)
    return run


def default_folder(settings: RunSettings) -> Path:
    """Return a folder named after the formula, numbered if that folder contains something else."""
    name = formula_text(settings.counts)
    text = to_toml(settings)
    for number in range(1, 10000):
        path = Path(name if number == 1 else f"{name}-{number}")
        try:
            if not path.exists() or (path / "run.toml").read_text(encoding="utf-8") == text:
                return path
        except (OSError, UnicodeDecodeError):
            continue
    raise BadInput(f"{name}: no free folder name; give one with --out")


def show(folder: AnyPath) -> dict[str, Any]:
    """Return ranking and figures of a run folder, whether it is running, stopped or finished; keys as in docs/json.md."""
    return show_data(read_run(folder))


def relax_file(
    path: AnyPath,
    *,
    reference: str | Reference | None = None,
    preset: str | None = None,
    settings: RunSettings | AnyPath | dict[str, Any] | None = None,
    pressure: float | None = None,
    fmax: float = 0.02,
    smax: float = 0.1,
    max_steps: int = 200,
    workers: int | None = None,
    out: AnyPath | None = None,
    ledger: AnyPath | None = None,
    executor: Executor | None = None,
    progress: Progress = silent,
) -> RelaxedFile:
    """Relax the structures of a file, cell and atoms, on the reference alone.

    Args:
        path: CIF, extxyz, POSCAR or whatever else ASE reads; all its structures are relaxed.
        reference, preset, settings, pressure, workers, executor: as in `search`.
        fmax: converged below this force on an atom, eV/Å ...
        smax: ... and this component of stress plus pressure, GPa.
        max_steps: limit.
        out: file to write; None: next to `path`, with `-relaxed` in its name.
        ledger: SQLite file that keeps every calculation: the same relaxation asked again costs nothing for
            what is done; None: forgotten at the end.
        progress: Called with a `nucleate.relax.on_reference.RelaxationStep` after each evaluation.

    Raises:
        BadInput: a file that cannot be read or written.
    """
    data = resolve_settings(
        "H",  # Any formula: a relaxation takes its atoms from the file.
        settings,
        reference__engine=reference if isinstance(reference, str) else None,
        reference__preset=preset,
        reference__workers=workers,
        pressure=pressure,
    )
    limits = {"fmax": fmax, "smax": smax, "max_steps": max_steps}
    given = None if isinstance(reference, str) else reference
    return relax_on_reference(
        Path(path),
        Path(out) if out is not None else None,
        data.reference,
        limits,
        data.pressure,
        given,
        Path(ledger) if ledger is not None else None,
        executor,
        progress,
    )
