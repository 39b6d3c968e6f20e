"""The verbs of training: fit a model, evaluate it, draw its learning curve."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from nucleate.errors import BadInput
from nucleate.potentials.files import load_potential
from nucleate.potentials.prior import CorrectedPotential, PriorPotential, check_prior, resolved_prior
from nucleate.potentials.registry import family_of, family_settings, weights_of
from nucleate.settings_text import read_settings, to_toml, validated
from nucleate.training.batches import LabelledSet
from nucleate.training.closed_form import fit_closed_form
from nucleate.training.data import LabelledStructure, read_data
from nucleate.training.fitting import errors_on
from nucleate.training.folder import TrainingFolder, read_events
from nucleate.training.loss import ErrorSum
from nucleate.training.prior import PriorAnswers
from nucleate.training.settings import FitSettings
from nucleate.training.splits import groups, split
from nucleate.training.trainer import OnEvent, Trainer, model_path

ERRORS = ("energy_rmse", "energy_mae", "force_rmse", "force_mae", "stress_rmse", "stress_mae")
LOW = 1.0
"""eV/atom above the lowest structure: below this lies what a search is after."""
BATCH = 32
"""Structures of an evaluation at once."""


def resolve(settings: Path | str | dict[str, Any] | FitSettings | None, **options: Any) -> FitSettings:
    """Defaults, then `settings`, then options that are not None; raises `BadInput` naming what is wrong."""
    if isinstance(settings, FitSettings):
        data, source = settings.model_dump(), "settings"
    elif isinstance(settings, dict):
        data, source = dict(settings), "settings"
    else:
        data, source = ({}, "settings") if settings is None else (read_settings(settings), str(settings))
    data.update({name: value for name, value in options.items() if value is not None})
    found = validated(FitSettings, data, source)
    if found.prior is None:
        return found
    check_prior(found.prior)
    return found.model_copy(update={"prior": resolved_prior(found.prior)})


def fit(
    data: Path | str,
    out: Path | str,
    settings: Path | str | dict[str, Any] | FitSettings | None = None,
    validation: Path | str | None = None,
    replay: Path | str | None = None,
    on_event: OnEvent | None = None,
    **options: Any,
) -> Path:
    """Train a model on labelled structures; the same call again goes on where a training was stopped or killed.

    Args:
        data: extended XYZ, an ASE database, or a search's run folder.
        out: training folder.
        settings: a TOML file, a dictionary, or resolved settings.
        validation: structures to validate on, in place of a split.
        replay: another training's folder, whose steering is repeated.
        on_event: called with (kind, facts).
        options: single settings, such as `model="painn"`; None leaves a setting as it is.

    Returns:
        The trained model's file.

    Raises:
        NucleateError: anything a user can cause, in one line.
    """
    out = Path(out)
    resolved = resolve(settings, **options)
    labelled = read_data(data)
    held = None if validation is None else read_data(validation)
    told = [] if replay is None else _steered(Path(replay))
    record = {"data": str(data), "digest": digest(labelled)}
    if held is not None:
        record |= {"validation": str(validation), "validation_digest": digest(held)}
    text = to_toml(resolved) + "\n" + tomli_w.dumps({"source": record})
    with TrainingFolder(out, text) as folder:
        _run(folder, resolved, labelled, held, told, on_event)
    return model_path(out)


def _steered(folder: Path) -> list[dict[str, Any]]:
    if not (folder / "events.jsonl").is_file():
        raise BadInput(f"{folder}: no training to replay (events.jsonl is missing)")
    return read_events(folder)


def _run(
    folder: TrainingFolder,
    settings: FitSettings,
    data: list[LabelledStructure],
    held: list[LabelledStructure] | None,
    told: list[dict[str, Any]],
    on_event: OnEvent | None,
) -> None:
    if settings.prior is not None:
        answers = PriorAnswers(PriorPotential(settings.prior), folder.path / "prior.jsonl")

        def asked(done: int, total: int) -> None:
            if on_event is not None:
                on_event("progress", {"step": done, "total": total, "phase": f"asking {settings.prior}"})

        data = answers.taken_off(data, asked)
        held = None if held is None else answers.taken_off(held, asked)
    if settings.model == "soap-krr":
        fit_closed_form(folder, settings, data, held, on_event)
    else:
        Trainer(folder, settings, data, held, told, on_event).run()


def digest(data: Sequence[LabelledStructure]) -> str:
    """Of structures and labels: a folder is not continued on other data."""
    found = hashlib.sha256()
    for item in data:
        for array in (item.atoms.numbers, item.atoms.positions, item.atoms.cell.array, np.array(item.energy), item.forces, item.stress):
            found.update(b"-" if array is None else np.ascontiguousarray(array, dtype="<f8").tobytes())
    return found.hexdigest()[:16]


def evaluate(model: Path | str, data: Path | str) -> dict[str, Any]:
    """Errors of a trained model on labelled structures.

    Args:
        model: a training's folder, or a model file.
        data: as in `fit`.

    Returns:
        `family`, `prior` (or null), `members`, `parameters`, `structures`, `atoms`; `energy_rmse`, `energy_mae` (eV/atom), `force_rmse`,
        `force_mae` (eV/Å), `stress_rmse`, `stress_mae` (eV/Å³), null without labels; `cpu_seconds`; `by_formula`: energy and force RMSE of
        each composition.
    """
    path = Path(model)
    potential, _ = load_potential(model_path(path) if path.is_dir() else path)
    learned = potential.correction if isinstance(potential, CorrectedPotential) else potential
    labelled = read_data(data)
    started = time.process_time()
    everything, by_formula = ErrorSum(), {}
    for formula in sorted({item.formula for item in labelled}):
        items = [item for item in labelled if item.formula == formula]
        part = ErrorSum()
        held = LabelledSet(items, potential.cutoff, torch.ones(learned.members, len(items)), "cpu")
        for first in range(0, len(items), BATCH):
            minibatch = held.take(range(first, min(first + BATCH, len(items))))
            prediction = potential.energy_forces_stress(minibatch.batch, minibatch.edges)
            everything.add(prediction, minibatch)
            part.add(prediction, minibatch)
        errors = part.errors()
        by_formula[formula] = {"structures": len(items), "energy_rmse": errors.energy_rmse, "force_rmse": errors.force_rmse}
    return {
        "family": family_of(learned),
        "prior": potential.prior.name if isinstance(potential, CorrectedPotential) else None,
        "members": learned.members,
        "parameters": weights_of(learned) // learned.members,
        "structures": len(labelled),
        "atoms": sum(len(item.atoms) for item in labelled),
        **asdict(everything.errors()),
        "cpu_seconds": time.process_time() - started,
        "by_formula": by_formula,
    }


def learning_curve(
    data: Path | str,
    models: Sequence[str],
    sizes: Sequence[int],
    out: Path | str,
    settings: Path | str | dict[str, Any] | FitSettings | None = None,
    seeds: Sequence[int] = (0,),
    test: float = 0.2,
    on_row: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Error of each model against the number of labels, on the same groups held back.

    Every finished training is kept in `out`: the same call goes on there.

    Args:
        data: as in `fit`.
        models: families, or `family:TOML` for one with settings of its own, which go before the others.
        sizes: labels trained on, drawn from the groups that are not held back.
        out: folder.
        settings: of all trainings.
        seeds: of weights and of the draw; the groups held back differ with them.
        test: share of the structures held back.
        on_row: called with each row as it is there.

    Returns:
        Rows with `model`, `labels`, `seed`, `energy_rmse`, `energy_mae`, `force_rmse`, ..., `low` (structures held back within 1 eV/atom of
        the lowest of their stoichiometry), `low_energy_rmse`, `low_force_rmse`, `parameters`, `cpu_seconds` of training.
    """
    labelled = read_data(data)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    record, heights = out / "rows.jsonl", heights_above_lowest(labelled)
    done = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()] if record.exists() else []
    rows = []
    for seed in seeds:
        group, words = groups(labelled, resolve(settings).split_by)
        train, held = split(group, test, seed)
        order = np.random.default_rng([seed, 21]).permutation(train)
        for name in models:
            family, _, file = name.partition(":")
            family_settings(family, {})
            for size in sizes:
                if size > len(train):
                    raise BadInput(f"{size} labels asked for, {len(train)} of {len(labelled)} are not held back")
                own = read_settings(file) if file else {}
                resolved = resolve(settings, **{**own, "model": family, "seed": seed, "validation": 0.0})
                key = {"model": name, "labels": size, "seed": seed, "settings": _short(resolved), "data": digest(labelled)}
                row = next((old for old in done if all(old.get(k) == v for k, v in key.items())), None)
                if row is None:
                    chosen, test_set = [labelled[k] for k in order[:size]], [labelled[k] for k in held]
                    row = {
                        **key,
                        "split_by": words,
                        "held_back": len(held),
                        **_train_and_test(out, resolved, chosen, test_set, heights[held]),
                    }
                    with record.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(row) + "\n")
                rows.append(row)
                if on_row is not None:
                    on_row(row)
    return rows


def heights_above_lowest(data: Sequence[LabelledStructure]) -> np.ndarray:
    """(n,) eV/atom above the lowest structure of the same stoichiometry."""
    energy = np.array([item.energy / len(item.atoms) for item in data])
    kinds = []
    for item in data:
        numbers, counts = np.unique(item.atoms.numbers, return_counts=True)
        kinds.append(str((numbers.tolist(), (counts // np.gcd.reduce(counts)).tolist())))
    names, kind = np.unique(kinds, return_inverse=True)
    lowest = np.array([energy[kind == k].min() for k in range(len(names))])
    return energy - lowest[kind]


def _train_and_test(
    out: Path, settings: FitSettings, train: list[LabelledStructure], held: list[LabelledStructure], heights: np.ndarray
) -> dict[str, Any]:
    text = to_toml(settings) + "\n" + tomli_w.dumps({"source": {"digest": digest(train)}})
    path = out / f"{settings.model}-{len(train)}-{settings.seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    # A share of nothing is held back within: the test groups are apart already.
    with TrainingFolder(path, text) as folder:
        started = time.process_time()
        _run(folder, settings, train, held, [], None)
        spent = time.process_time() - started
    events = read_events(path)
    last = [event for event in events if event["event"] == "evaluation"][-1]["validation"]
    lying_low = [item for item, height in zip(held, heights, strict=True) if height <= LOW]
    low: dict[str, Any] = {"low": len(lying_low), "low_energy_rmse": None, "low_force_rmse": None}
    if lying_low:
        model, _ = load_potential(model_path(path))
        labelled = LabelledSet(lying_low, model.cutoff, torch.ones(1, len(lying_low)), "cpu")
        found = errors_on(model, labelled, range(len(lying_low)))
        low |= {"low_energy_rmse": found.energy_rmse, "low_force_rmse": found.force_rmse}
    start = next(event for event in events if event["event"] == "start")
    number = start["parameters"] // start["members"]
    return {**{name: last[name] for name in ERRORS}, **low, "parameters": number, "cpu_seconds": round(spent, 2)}


def _short(settings: FitSettings) -> str:
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]
