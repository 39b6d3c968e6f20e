"""The verbs of the search as Python functions.

result = nucleate.search("Si8", reference="gpaw", budget=200)
for polymorph in result.polymorphs:
    print(polymorph.space_group, polymorph.energy)
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ase import Atoms

from nucleate.crystals.compositions import between
from nucleate.crystals.formula import formula_text, scale_formula
from nucleate.csp.events import EngineStarts, FolderOpened, RoundDone
from nucleate.csp.executor_file import kept_executor, opened_executor
from nucleate.csp.known_crystals import flag_share, stored_share, with_share
from nucleate.csp.minima.settings import GOALS, WINDOW
from nucleate.csp.molecular.settings import molecule_entries
from nucleate.csp.phase_file import PhaseFile
from nucleate.csp.plan import Plan, check_start, prepare
from nucleate.csp.records import Polymorph
from nucleate.csp.resolve import resolve_settings
from nucleate.csp.result_files import write_structures, write_table
from nucleate.csp.run_data import RunData, read_run, show_data
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import RunSettings, settings_from_dict
from nucleate.csp.stages import check_known, run_search
from nucleate.csp.versions import versions
from nucleate.errors import BadInput, RunFolderError, quoted
from nucleate.generate.mixture import known_crystal_generators
from nucleate.persist.toml import UNSET, read_settings, same_settings, to_toml
from nucleate.polymorphs.landscape_map import landscape_map, write_chemiscope
from nucleate.pretrained import shown_name, title_of
from nucleate.processes.interrupts import check, listening
from nucleate.processes.precision import default_precision
from nucleate.processes.scripts import refuse_import_by_worker
from nucleate.progress import Event, Progress, silent
from nucleate.reference.base import Reference
from nucleate.reference.cluster.given import GivenExecutor, check_place, read_executor
from nucleate.reference.shared.opened import shared_ledger
from nucleate.relax.on_reference import RelaxedFile, relax_on_reference

PAGE_SECONDS = 60.0
"""Smallest time in s between two reports written while a search runs."""
AnyPath = str | PathLike[str]


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Attributes:
        folder: Run folder with structures/, table.csv and report.html.
        settings: Resolved settings.
        polymorphs: Confirmed polymorphs, lowest energy first; for a chemical system, those on the hull first.
        calls: Number of reference calls, failures included.
        finished: Reason for which the search ended; None: it was stopped.
        proof: Result of the relaxation of the lowest polymorph on the reference alone, or None.
    """

    folder: Path
    settings: RunSettings
    polymorphs: list[Polymorph]
    calls: int
    finished: str | None
    proof: dict[str, Any] | None


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
    teacher: str | None = None,
    labels_from: Sequence[AnyPath] = (),
    labels_settings: AnyPath | None = None,
    model_from: AnyPath | None = None,
    max_atoms: int | None = None,
    reactants: Sequence[str] = (),
    known: Sequence[AnyPath] = (),
    elements_from: Sequence[AnyPath] = (),
    molecules: Sequence[AnyPath | Atoms] | AnyPath | Atoms = (),
    ratio: Sequence[int] | None = None,
    units: int | None = None,
    space_group_weights: str | None = None,
    prototypes: bool | None = None,
    dimensions: int | None = None,
    strategy: str | None = None,
    goal: str | None = None,
    window: float | None = None,
    fit_xrd: AnyPath | None = None,
    wavelength: str | None = None,
    neutron: bool = False,
    deuterated: bool = False,
    workers: int | None = None,
    out: AnyPath | None = None,
    executor: GivenExecutor = None,
    ledger: AnyPath | None = None,
    progress: Progress = silent,
) -> SearchResult:
    """Search the crystal structures of a formula, or the stable compounds of a chemical system.

    Args:
        formula: Formula of the search cell with its number of atoms, such as `Al4O6`, or a chemical system, such as `Mg-Si` or
            `MgO-Al2O3`; None: the formula of the settings.
        settings: TOML file, dictionary as in run.toml, or resolved settings; the options override them.
        reference: Name of an engine, or any object that satisfies the `Reference` protocol.
        preset: Accuracy of the reference: `fast`, `standard` or `accurate`.
        pressure: External pressure in GPa.
        budget: Largest number of reference calls.
        top: Number of lowest polymorphs to find.
        pool: Number of candidates relaxed on the committee in each round.
        seed: Random seed.
        seeds_from: File of structures to include in the first pool.
        model: Family of the learned potential, such as `a2a`.
        prior: Pretrained potential to correct.
        teacher: Pretrained potential whose surface is searched before the reference is asked.
        labels_from: Run folders, ledgers or files of labelled structures that the committee also learns from.
        labels_settings: TOML file whose table [reference] states the settings of the labels in files.
        model_from: Model file of a trained committee that the search corrects.
        max_atoms: Largest number of atoms in a cell, for a chemical system.
        reactants: Compounds between which compositions are searched, instead of a system as `formula`.
        known: Files of known phases, which are relaxed on the reference and compete on the hull.
        elements_from: Run folders of earlier searches with the same reference, whose phases enter the hull without further calls.
        molecules: Molecules of a molecular crystal instead of a formula: files, SMILES or ASE atoms.
        ratio: Number of each of them in a formula unit; None: one of each.
        units: Number of formula units in the primitive cell, of the molecules or of the reduced formula; None: as the formula states, and 4
            of molecules.
        dimensions: 3 for crystals, 2 for layers, with vacuum along the third lattice vector, or 0 for clusters, in a box with vacuum.
        space_group_weights: `nature` or `uniform`, the frequencies of space groups among the candidates of molecular crystals.
        strategy: New candidates of a round: `random`; `mixed`, half of them children of relaxed ones; or `evolution`, nine tenths children.
        goal: `lowest`, or `minima` for every minimum within `window`.
        window: Energy above the lowest minimum for the goal `minima` in meV/atom; None: 50.
        prototypes: Whether a fifth of the random candidates is drawn from structure types of known crystals (`generate.prototype_share`),
            or none; None: as the settings say, which by default is a fifth in searches of crystals for which there are some.
        fit_xrd: File of a powder pattern of the crystal; candidates similar to it are preferred.
        wavelength: Wavelength of the pattern in Å, or name of an X-ray line.
        neutron: Whether the pattern is measured with neutrons.
        deuterated: Whether hydrogen atoms scatter neutrons as deuterium.
        workers: Number of simultaneous reference calculations.
        out: Run folder; None: named after the formula, with a number if another run uses that name.
        executor: Executor file of a cluster, which the run folder keeps, or any `concurrent.futures.Executor`, on which reference
            calculations run instead of local processes; `local`: local processes, and a kept file is removed. None: as the run keeps.
        ledger: Ledger that several searches share: an SQLite file, or the URL of a PostgreSQL database without a password. Calculations
            that it contains are not made again and do not count as calls.
        progress: Called with the events of `nucleate.csp.events`, and with a `nucleate.progress.Step` for each part of a phase.

    Returns:
        The result; its files are in the run folder, after an interrupt as well.

    Raises:
        BadInput: A setting is unknown or has an invalid value.
        NucleateError: The search cannot start or continue; the message is one line.
        KeyboardInterrupt: The search was interrupted; the files of the results so far are written.
    """
    refuse_import_by_worker("search")
    read_executor(executor)
    engine = reference if isinstance(reference, str) else None
    if molecules and formula is not None:
        raise BadInput(f"both a formula ({quoted(formula, 60)}) and molecules are given; leave the formula out")
    named = between(reactants, formula) if reactants else formula
    options: dict[str, Any] = dict(
        hull__max_atoms=max_atoms,
        hull__known=[str(path) for path in known] or None,
        hull__elements_from=[str(path) for path in elements_from] or None,
        reference__engine=engine,
        reference__preset=preset,
        reference__workers=workers,
        reference__ledger=None if ledger is None else str(ledger),
        molecules__molecule=molecule_entries(molecules, ratio),
        generate__space_group_weights=space_group_weights,
        generate__prototype_share=flag_share(prototypes),
        dimensions=dimensions,
        evolution__strategy=strategy,
        measured__xrd=None if fit_xrd is None else str(fit_xrd),
        measured__wavelength=wavelength,
        measured__neutron=neutron or None,
        measured__deuterated=deuterated or None,
        pressure=pressure,
        search__budget=budget,
        search__top=top,
        search__pool=pool,
        seed=seed,
        seeds_from=None if seeds_from is None else str(seeds_from),
        model__family=model,
        model__prior=prior,
        teacher__name=teacher,
        teacher__labels_from=[str(path) for path in labels_from] or None,
        teacher__labels_settings=None if labels_settings is None else str(labels_settings),
        teacher__model_from=None if model_from is None else str(model_from),
    )
    resolved = resolve_settings(named, settings, **options)
    # What these options mean depends on the settings.
    options["minima__window"] = _window(goal, window, resolved.minima.window)
    if units is not None and resolved.molecules.molecule:
        options["molecules__units"] = units
    elif units is not None:
        named = _scaled(resolved, units)
    if units is not None or options["minima__window"] is not None:
        resolved = resolve_settings(named, settings, **options)
    path = Path(out) if out is not None else default_folder(resolved)
    resolved = _as_stored(resolved, path)
    given = None if reference is None or isinstance(reference, str) else reference
    plan = prepare(resolved, given)
    # Settings that cannot work are refused before a folder is created.
    check_start(plan)
    with shared_ledger(resolved.reference, None):
        pass
    check_known(plan)
    if prototypes and resolved.system is None:
        # A search whose settings file has a share of known crystals goes on without them; one that was started for them does not.
        known_crystal_generators(resolved.counts, resolved.generate)
    check_place(executor, path)
    with RunFolder.create(path, to_toml(resolved)) as folder, opened_executor(folder, executor, resolved.reference.engine) as opened:
        return _run(folder, plan, opened, progress)


def search_sizes(
    formula: str | None = None,
    *,
    units: Sequence[int],
    labels_from: Sequence[AnyPath] = (),
    out: AnyPath | None = None,
    **options: Any,
) -> list[SearchResult]:
    """Search cells of several numbers of formula units, the smallest first.

    Each search learns from the labels of those before it. A search of crystals begins with the lowest polymorphs of smaller cells as
    supercells, of which the operator `add-units` makes further candidates; molecular crystals, layers and clusters share labels alone.
    Repeating the call resumes what was stopped; searches that are finished are read from their folders.

    Args:
        formula: Formula of the compound; None: molecules or settings are given among the options.
        units: Numbers of reduced formula units, or of formula units of molecules.
        labels_from: Further run folders, ledgers or files of labelled structures.
        out: Folder with one run folder for each size, `Z1`, `Z2` and so on; None: named after the formula.
        **options: Other arguments of `search`, the same for each size; `budget` is that of one size.

    Returns:
        One result per size.

    Raises:
        BadInput: As for `search`, or there are no numbers, or one is given twice.
    """
    sizes = sorted(_positive(number) for number in units)
    if not sizes or len(set(sizes)) < len(sizes):
        raise BadInput("units: give each number of formula units once, such as 1, 2, 4")
    stated = resolve_settings(
        formula, options.get("settings"), molecules__molecule=molecule_entries(options.get("molecules", ()), options.get("ratio"))
    )
    name = stated.name if stated.molecules.molecule or stated.system is not None else _scaled(stated, 1)
    parent = Path(out) if out is not None else Path(f"{name}-{sizes[0]}-{sizes[-1]}")
    # Labels that the settings name are used by every size.
    given = [*stated.teacher.labels_from, *labels_from]
    results: list[SearchResult] = []
    for number in sizes:
        before = [*given, *(result.folder for result in results)]
        results.append(search(formula, units=number, labels_from=before, out=parent / f"Z{number}", **options))
    return results


def _window(goal: str | None, window: float | None, stated: float | None) -> float | str | None:
    """Return the setting `minima.window` for a goal and a window, meV/atom; None leaves the `stated` one of the settings as it is."""
    if goal is not None and goal not in GOALS:
        raise BadInput(f"goal '{quoted(goal, 40)}' is unknown; choose {' or '.join(GOALS)}")
    minima = goal == "minima" or (goal is None and stated is not None)
    if not minima and window is not None:
        raise BadInput(f"window {window:g} has no effect without --goal minima; add it, or remove --window")
    if not minima:
        return None if stated is None else UNSET
    return WINDOW if window is None and stated is None else window


def _scaled(settings: RunSettings, units: int) -> str:
    """Return the formula of the settings with a number of formula units."""
    if settings.system is not None:
        raise BadInput(f"units {units}: the chemical system {settings.name} has cells of all sizes; give --max-atoms, or remove --units")
    return formula_text(scale_formula(settings.counts, _positive(units)))


def _positive(number: int) -> int:
    if not 1 <= number <= 500:
        raise BadInput(f"units {number}: give a number of formula units from 1 to 500")
    return number


def resume(
    folder: AnyPath,
    *,
    budget: int | None = None,
    reference: Reference | None = None,
    executor: GivenExecutor = None,
    progress: Progress = silent,
    trust: bool = False,
) -> SearchResult:
    """Resume a search that was stopped; the output files of a finished search are written again.

    Args:
        folder: Run folder.
        budget: New, larger limit of reference calls, which is stored in run.toml; a search that used up its budget continues.
        reference: Reference to use instead of that of the settings, as in `search`.
        executor: As in `search`.
        progress: As in `search`; `EngineStarts` names what the settings of the folder start.
        trust: Whether to start the programs and import the modules that the run.toml of another user names.

    Returns:
        The result, as from `search`.

    Raises:
        BadInput: The budget is smaller than that of the run.
        RunFolderError: The folder contains no search, is damaged or is in use; or run.toml belongs to another user and `trust` is not
            given, in which case nothing was started or imported.
    """
    refuse_import_by_worker("resume")
    read_executor(executor)
    with RunFolder.open(Path(folder)) as opened:
        settings = settings_from_dict(read_settings(opened.path / "run.toml"), str(opened.path / "run.toml"))
        if budget is not None and budget != settings.search.budget:
            if budget < settings.search.budget:
                raise BadInput(f"budget {budget}: {opened.path} has a budget of {settings.search.budget}; a budget can only be raised")
            settings.search.budget = budget
            opened.change_settings(to_toml(settings))
        starts = None if reference is not None else what_starts(settings)
        if starts is not None and executor is None and kept_executor(opened.path) is not None:
            starts += f", in jobs with the lines of {opened.path / 'executor.toml'}"
        if starts is not None and not _is_own(opened.path / "run.toml"):
            if not trust:
                raise RunFolderError(
                    f"{opened.path}: its run.toml belongs to another user and starts {starts}; read it, then: "
                    f"nucleate resume {opened.path} --trust"
                )
            # Importing a module runs its code, so the user is informed before the import.
            progress(EngineStarts(starts))
            starts = None
        plan = prepare(settings, reference)
        with opened_executor(opened, executor, settings.reference.engine, trust) as running:
            return _run(opened, plan, running, progress, starts)


def what_starts(settings: RunSettings) -> str:
    """Return the programs and files outside nucleate that a search with these settings runs or loads."""
    reference = settings.reference
    engine = {"gpaw": "GPAW", "espresso": "Quantum ESPRESSO", "vasp": "VASP", "cp2k": "CP2K"}.get(
        reference.engine, title_of(reference.engine)
    )
    if reference.engine == "ase":
        text = f"the Python module of the calculator {quoted(reference.calculator)}"
    elif reference.command is not None:
        text = f"the command '{quoted(reference.command)}' as {engine}"
    else:
        text = engine
    models = [name for name in (settings.model.prior, settings.teacher.name) if name is not None]
    text = text if not models else f"{text}, and the pretrained model {quoted(shown_name(models[0]))}"
    return text if reference.ledger is None else f"{text}, and asks the shared ledger {quoted(reference.ledger, 100)}"


def _is_own(path: Path) -> bool:
    """Return whether a file belongs to the user of this process; files of root count as those of another user."""
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
            f"{folder.path}: the calculations are by {quoted(before.name)}, not by {quoted(reference.name)}; their energies cannot be mixed"
        )
    now = json.loads(json.dumps(reference.settings(), sort_keys=True, default=str))
    if before is not None and before.settings is not None and before.settings != now:
        then = before.settings
        changed = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
        raise RunFolderError(
            f"{folder.path}: the calculations were made with another {quoted(', '.join(changed))} of {quoted(reference.name)}; "
            "their energies cannot be mixed; start a new search in another folder"
        )
    folder.add_versions(versions(settings))
    state = folder.loop_state()
    folder.add_limits(-1 if state is None else state.round, settings.search.budget, settings.search.max_rounds)
    folder.set_fact("reference", {"name": reference.name, "surrogate": reference.surrogate, "settings": now})
    written, phase = time.monotonic(), PhaseFile(folder.path)

    def watched(event: Event, /) -> None:
        nonlocal written
        # An interrupt that a package swallowed is raised here, at the next event.
        check()
        progress(event)
        phase(event)
        if isinstance(event, RoundDone) and time.monotonic() - written > PAGE_SECONDS:
            # A failure to write the page of a running search must not stop the search.
            _try(lambda: write_running(folder.path))
            written = time.monotonic()

    progress(FolderOpened(str(folder.path), settings.formula, reference.name, reference.surrogate, settings.search.budget))
    if starts is not None:
        progress(EngineStarts(starts))
    try:
        with listening(), default_precision(), shared_ledger(settings.reference, folder.owner()) as shared:
            state = run_search(folder, replace(plan, shared=shared), executor, watched)
    except BaseException:
        # The error that stopped the search is raised, not one of a file that could not be written after it.
        _try(lambda: write_outputs(folder.path))
        raise
    finally:
        phase.remove()
    write_outputs(folder.path)
    return SearchResult(folder.path, settings, state.ranking(), folder.ledger.count(), state.finished, state.proof)


def _try(action: Callable[[], object]) -> None:
    """Write a file that the search can do without; errors of templates and figures are those of many packages."""
    try:
        action()
    except Exception:
        return


def write_running(folder: Path) -> None:
    """Write report.html of a running search."""
    from nucleate.report.html import write_report

    write_report(folder, running=True)


def write_outputs(folder: AnyPath) -> RunData:
    """Write structures/, table.csv, map.json and report.html of a run folder, whether the search is finished or not."""
    # Matplotlib takes half a second to import, and only pages require it.
    from nucleate.report.html import write_page

    run = read_run(folder, running=False)
    write_structures(run)
    write_table(run)
    # The map takes seconds for a large run and is the same in both files.
    charted = landscape_map(run)
    if charted is not None:
        write_chemiscope(run, charted, run.path / "map.json")
    write_page(run, charted)
    return run


def _as_stored(settings: RunSettings, path: Path) -> RunSettings:
    """Return settings that state the share of candidates from known crystals: the own one of a search that the folder contains."""
    share = None if settings.generate.prototype_share is not None else stored_share(path / "run.toml")
    if share is None:
        return with_share(settings)
    return settings.model_copy(update={"generate": settings.generate.model_copy(update={"prototype_share": share})})


def default_folder(settings: RunSettings) -> Path:
    """Return a folder named after the formula, with a number if a folder of that name contains something else."""
    name = settings.name
    for number in range(1, 10000):
        path = Path(name if number == 1 else f"{name}-{number}")
        try:
            if not path.exists() or same_settings(RunSettings, (path / "run.toml").read_text("utf-8"), to_toml(_as_stored(settings, path))):
                return path
        except (OSError, UnicodeDecodeError):
            continue
    raise BadInput(f"{name}: all folder names derived from the formula are in use; give one with --out")


def show(folder: AnyPath) -> dict[str, Any]:
    """Return the ranking and figures of a run folder, whether the search is running, stopped or finished; keys as in docs/json.md."""
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
    keep_symmetry: bool = False,
    optimiser: str | None = None,
    workers: int | None = None,
    out: AnyPath | None = None,
    ledger: AnyPath | None = None,
    executor: GivenExecutor = None,
    progress: Progress = silent,
) -> RelaxedFile:
    """Relax the cells and atoms of all structures of a file on the reference.

    Args:
        path: CIF, extended XYZ, POSCAR or another format that ASE reads.
        reference, preset, settings, pressure, workers, executor: As in `search`.
        fmax: Convergence threshold of the force on an atom in eV/Å.
        smax: Convergence threshold of the components of stress plus pressure in GPa.
        max_steps: Largest number of steps.
        keep_symmetry: Whether to keep the space group that each structure has within 0.1 Å, made exact.
        optimiser: `fire`, `lbfgs`, or `learned:FILE`, a policy of `nucleate train-moves`; None: `relax.optimiser` of the settings.
        out: Output file, which is replaced; None: beside `path`, with `-relaxed` in its name, where no file is replaced.
        ledger: SQLite file that keeps all calculations, so that none is repeated in a later relaxation; None: none is kept.
        progress: Called with a `nucleate.relax.on_reference.RelaxationStep` after each evaluation.

    Raises:
        BadInput: The file cannot be read or written, or a setting has an invalid value.
    """
    refuse_import_by_worker("relax_file")
    data = resolve_settings(
        "H",  # Settings require a formula, which a relaxation does not use.
        settings,
        reference__engine=reference if isinstance(reference, str) else None,
        reference__preset=preset,
        reference__workers=workers,
        pressure=pressure,
    )
    limits = {
        "fmax": fmax, "smax": smax, "max_steps": max_steps, "keep_symmetry": keep_symmetry,
        "optimiser": data.relax.optimiser if optimiser is None else optimiser,
        "curvature": data.relax.curvature, "history": data.relax.history, "maxstep": data.relax.maxstep,
    }  # fmt: skip
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
