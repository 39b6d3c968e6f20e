"""Training functions: fit a model, evaluate it, compute a learning curve."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from nucleate.errors import BadInput, NucleateError
from nucleate.persist.files import append_line, read_lines
from nucleate.persist.toml import read_settings, to_toml, validated
from nucleate.potentials.base import Potential
from nucleate.potentials.families import family_settings
from nucleate.potentials.files import load_potential
from nucleate.potentials.prior import PriorPotential, check_prior, prior_digest, resolved_prior
from nucleate.processes.precision import default_precision
from nucleate.progress import Progress, silent
from nucleate.training.batches import LabelledSet
from nucleate.training.closed_form import fit_closed_form
from nucleate.training.data import heights, read_data
from nucleate.training.events import CurvePoint
from nucleate.training.fitting import errors_on, evaluation_parts
from nucleate.training.folder import TrainingFolder, read_events
from nucleate.training.label_keys import LabelKeys
from nucleate.training.labelled import LabelledStructure
from nucleate.training.loss import Errors, ErrorSum
from nucleate.training.prior import PriorAnswers
from nucleate.training.settings import FitSettings
from nucleate.training.splits import groups, isolated_atoms, split
from nucleate.training.suspicions import suspicions
from nucleate.training.trainer import Trainer, model_path

HINT = "docs/training.md shows one"
LOW = 1.0
"""Energy in eV/atom above the lowest structure, within which errors are reported separately."""


def resolve(settings: Path | str | dict[str, Any] | FitSettings | None, **options: Any) -> FitSettings:
    """Combine defaults, `settings` and options that are not None; raise `BadInput` if one is invalid."""
    if isinstance(settings, FitSettings):
        data, source = settings.model_dump(), "settings"
    elif isinstance(settings, dict):
        data, source = dict(settings), "settings"
    else:
        data, source = ({}, "settings") if settings is None else (read_settings(settings, HINT), str(settings))
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(data.get("labels"), dict) and "labels" in given:
        given["labels"] = {**data["labels"], **given["labels"]}
    data.update(given)
    if not isinstance(settings, FitSettings) and data.get("stages") and "steps" in data:
        raise BadInput(f"{source}: steps and stages exclude each other; give one of the two")
    chosen = validated(FitSettings, data, source)
    if chosen.prior is None:
        return chosen
    check_prior(chosen.prior)
    return chosen.model_copy(update={"prior": resolved_prior(chosen.prior)})


@default_precision()
def fit(
    data: Path | str,
    out: Path | str,
    settings: Path | str | dict[str, Any] | FitSettings | None = None,
    validation: Path | str | None = None,
    replay: Path | str | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Path:
    """Train a model on labelled structures; the same call resumes a training that was stopped or killed.

    Args:
        data: Extended XYZ file, ASE database, or run folder of a search.
        out: Training folder.
        settings: TOML file, dictionary, or resolved settings.
        validation: Validation data; None: a part of `data`.
        replay: Folder of another training, whose steering commands are repeated.
        progress: Called with the events of `nucleate.training.events`, and with a `Step` for each evaluation of the prior.
        options: Single settings, such as `model="painn"`; None leaves a setting as it is.

    Returns:
        Path of the model file.

    Raises:
        BadInput: The data cannot be read, or a setting is unknown or has an invalid value.
        RunFolderError: The folder belongs to another training, or another process uses it.
        NucleateError: The training diverged.
    """
    out = Path(out)
    resolved = resolve(settings, **options)
    labelled = read_data(data, resolved.labels)
    held = None if validation is None else read_data(validation, resolved.labels)
    commands = [] if replay is None else _steered(Path(replay))
    record = {"data": str(data), "digest": digest(labelled)}
    if held is not None:
        record |= {"validation": str(validation), "validation_digest": digest(held)}
    if resolved.prior is not None and prior_digest(resolved.prior):
        record["prior_digest"] = prior_digest(resolved.prior)
    if replay is not None:
        if resolved.model == "soap-krr":
            raise BadInput("--replay has no effect on soap-krr, which is solved in closed form")
        record["replay"] = hashlib.sha256(json.dumps(commands).encode()).hexdigest()[:16]
    text = to_toml(resolved) + "\n" + tomli_w.dumps({"source": record})
    # Settings that cannot work leave no folder, so that the corrected call can use the same name.
    family_settings(resolved.model, resolved.options)
    fresh = not (out / "fit.toml").exists()
    with TrainingFolder(out, text) as folder:
        try:
            _run(folder, resolved, labelled, held, commands, progress)
        except NucleateError:
            # The folder of a resumed training keeps the evaluations of the prior.
            if fresh:
                folder.discard_if_empty()
            raise
    return model_path(out)


def _steered(folder: Path) -> list[dict[str, Any]]:
    if not (folder / "events.jsonl").is_file():
        raise BadInput(f"{folder}: no training to replay (events.jsonl is missing)")
    return [event for event in read_events(folder) if event.get("event") == "steer" and {"step", "command"} <= set(event)]


def _run(
    folder: TrainingFolder,
    settings: FitSettings,
    data: list[LabelledStructure],
    held: list[LabelledStructure] | None,
    commands: list[dict[str, Any]],
    progress: Progress = silent,
    answers_file: Path | None = None,
) -> None:
    if settings.prior is not None:
        answers = PriorAnswers(PriorPotential(settings.prior), answers_file or folder.path / "prior.jsonl")
        data = answers.taken_off(data, progress)
        held = None if held is None else answers.taken_off(held, progress)
    if settings.model == "soap-krr":
        fit_closed_form(folder, settings, data, held, progress)
    else:
        Trainer(folder, settings, data, held, commands, progress).run()


def digest(data: Sequence[LabelledStructure]) -> str:
    """Return a hash of structures and labels, which identifies the data of a training folder."""
    sha = hashlib.sha256()
    for item in data:
        for array in (item.atoms.numbers, item.atoms.positions, item.atoms.cell.array, np.array(item.energy), item.forces, item.stress):
            sha.update(b"-" if array is None else np.ascontiguousarray(array, dtype="<f8").tobytes())
    return sha.hexdigest()[:16]


def _model_file(path: Path) -> Path:
    """Return the model file of a training folder or of a run folder, or the path itself."""
    if not path.is_dir():
        return path
    rounds = sorted((path / "models").glob("*.safetensors"))
    return rounds[-1] if rounds and not model_path(path).exists() else model_path(path)


@default_precision()
def evaluate(model: Path | str, data: Path | str, labels: LabelKeys | None = None) -> dict[str, Any]:
    """Compute the errors of a trained model on labelled structures.

    Args:
        model: Training folder, run folder of a search (its last committee), or model file.
        data: As in `fit`.
        labels: Names of the entries with energies, forces and stresses.

    Returns:
        `family`, `prior` (or null), `members`, `parameters`, `structures`, `atoms`; `energy_rmse`, `energy_mae` (eV/atom), `force_rmse`,
        `force_mae` (eV/Å), `stress_rmse`, `stress_mae` (eV/Å³), null without labels; `cpu_seconds`; `by_formula`: energy and force RMSE of
        each composition; `notes`: suspicious properties of the labels.
    """
    potential, _ = load_potential(_model_file(Path(model)))
    learned = potential.learned
    labelled = read_data(data, labels)
    started = time.process_time()
    everything, by_formula = ErrorSum(), {}
    for formula in sorted({item.formula for item in labelled}):
        items = [item for item in labelled if item.formula == formula]
        part = ErrorSum()
        for minibatch in evaluation_parts(LabelledSet(items, potential.cutoff, torch.ones(1, len(items)), "cpu"), range(len(items))):
            prediction = potential.energy_forces_stress(minibatch.batch, minibatch.edges)
            everything.add(prediction, minibatch)
            part.add(prediction, minibatch)
        errors = part.errors()
        by_formula[formula] = {"structures": len(items), "energy_rmse": errors.energy_rmse, "force_rmse": errors.force_rmse}
    return {
        "family": learned.family,
        "prior": potential.prior_name,
        "members": learned.members,
        "parameters": learned.parameter_count // learned.members,
        "structures": len(labelled),
        "atoms": sum(len(item.atoms) for item in labelled),
        **asdict(everything.errors()),
        "cpu_seconds": time.process_time() - started,
        "by_formula": by_formula,
        "notes": suspicions(labelled),
    }


@default_precision()
def learning_curve(
    data: Path | str,
    models: Sequence[str],
    sizes: Sequence[int],
    out: Path | str,
    settings: Path | str | dict[str, Any] | FitSettings | None = None,
    seeds: Sequence[int] = (0,),
    test: float = 0.2,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Compute the error of each model as a function of the number of labels, on the same validation groups.

    Every finished training is stored in `out`, and the same call continues after it.

    Args:
        data: As in `fit`.
        models: Families, or `family:TOML` for a family with settings of its own, which override the others.
        sizes: Numbers of training structures, drawn from the groups that are not held out.
        out: Output folder.
        settings: Settings of all trainings.
        seeds: Random seeds of weights, held-out groups and training structures.
        test: Fraction of held-out structures.
        progress: Called with a `CurvePoint` for each row.

    Returns:
        Rows with `model`, `labels`, `seed`, `energy_rmse`, `energy_mae`, `force_rmse`, ..., `low` (held-out structures within 1 eV/atom of
        the lowest of their stoichiometry), `low_energy_rmse`, `low_force_rmse`, `parameters`, `cpu_seconds` of training.
    """
    labelled = read_data(data, resolve(settings).labels)
    out = Path(out)
    if min(sizes) < 1:
        raise BadInput("a training requires at least one label")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out}: the folder cannot be created ({error.strerror}); choose another") from error
    record, above = out / "rows.jsonl", heights(labelled)
    done = read_lines(record)
    rows = []
    for seed in seeds:
        group, words = groups(labelled, resolve(settings).split_by)
        train, held = split(group, test, seed, isolated_atoms(labelled))
        order = np.random.default_rng([seed, 21]).permutation(train)
        for name in models:
            family, _, file = name.partition(":")
            family_settings(family, {})
            for size in sizes:
                if size > len(train):
                    raise BadInput(
                        f"{size} labels are requested, but only {len(train)} of the {len(labelled)} structures are available for training; "
                        "the others are held out for validation"
                    )
                own = resolve(file, model=family).model_dump(include=set(read_settings(file))) if file else {}
                resolved = resolve(settings, **{**own, "model": family, "seed": seed, "validation": 0.0})
                if resolved.patience:
                    raise BadInput("a learning curve requires patience = 0, because the held-out groups are used for its errors")
                key = {"model": name, "labels": size, "seed": seed, "settings": _short(resolved), "data": digest(labelled)}
                row = next((old for old in done if all(old.get(k) == v for k, v in key.items())), None)
                if row is None:
                    chosen, test_set = [labelled[k] for k in order[:size]], [labelled[k] for k in held]
                    row = {
                        **key,
                        "split_by": words,
                        "held_back": len(held),
                        **_train_and_test(out, resolved, chosen, test_set, above[held]),
                    }
                    append_line(record, row)
                rows.append(row)
                progress(CurvePoint(row))
    return rows


def _train_and_test(
    out: Path, settings: FitSettings, train: list[LabelledStructure], held: list[LabelledStructure], height: np.ndarray
) -> dict[str, Any]:
    text = to_toml(settings) + "\n" + tomli_w.dumps({"source": {"digest": digest(train)}})
    path = out / f"{settings.model}-{len(train)}-{settings.seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    # No validation structures are split off, because the test groups are separate.
    with TrainingFolder(path, text) as folder:
        _run(folder, settings, train, held, [], answers_file=out / "prior.jsonl")
    events = read_events(path)
    model, _ = load_potential(model_path(path))
    errors = _errors(model, held)
    low = [item for item, height in zip(held, height, strict=True) if height <= LOW]
    lowest = asdict(_errors(model, low)) if low else {}
    start, end = (next(event for event in events if event["event"] == name) for name in ("start", "finished"))
    return {
        **asdict(errors),
        "low": len(low),
        **{f"low_{name}": lowest.get(name) for name in ("energy_rmse", "force_rmse")},
        "parameters": start["parameters"] // start["members"],
        "cpu_seconds": end["cpu_seconds"],
    }


def _errors(model: Potential, data: list[LabelledStructure]) -> Errors:
    return errors_on(model, LabelledSet(data, model.cutoff, torch.ones(1, len(data)), "cpu"), range(len(data)))


def _short(settings: FitSettings) -> str:
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]
