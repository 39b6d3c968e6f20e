"""Closed-form training of kernel ridge regression, with the folder, events and page of other trainings."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import torch
from ase.data import chemical_symbols

from nucleate.persist.json_data import finite
from nucleate.potentials.families import family_settings
from nucleate.potentials.files import save_committee
from nucleate.potentials.settings import SoapKrrSettings
from nucleate.potentials.soap_krr import SoapKrr, fit_soap_krr
from nucleate.progress import LoggedEvent, Progress, silent
from nucleate.training.batches import LabelledSet
from nucleate.training.data import what_is_missing
from nucleate.training.evaluation import examine
from nucleate.training.events import Evaluated, TrainingFinished, TrainingStarted
from nucleate.training.fitting import structure_weights
from nucleate.training.folder import TrainingFolder, read_events
from nucleate.training.labelled import LabelledStructure
from nucleate.training.settings import FitSettings
from nucleate.training.suspicions import suspicions
from nucleate.training.trainer import held_back

OF_STEPS = (
    "steps", "stages", "batch", "optimiser", "learning_rate", "schedule", "final_rate", "warmup", "weight_decay", "clip", "ema",
    "bootstrap", "copy_species", "freeze", "evaluate_every", "patience", "checkpoint_every", "dtype", "device", "energy_weight",
    "force_weight", "stress_weight",
)  # fmt: skip
"""Settings that have no effect on a fit in closed form."""


def fit_closed_form(
    folder: TrainingFolder,
    settings: FitSettings,
    data: Sequence[LabelledStructure],
    held_out: Sequence[LabelledStructure] | None = None,
    progress: Progress = silent,
) -> None:
    """Fit soap-krr unless the folder contains a finished fit; arguments as in `Trainer`."""
    if any(event["event"] == "finished" for event in read_events(folder.path)):
        return

    def log(event: LoggedEvent) -> None:
        folder.event(event.kind, **finite(event.facts()))
        progress(event)

    torch.set_num_threads(settings.threads)
    train, valid, words = held_back(data, held_out, settings)
    species = tuple(sorted({int(z) for item in [*train, *valid] for z in item.atoms.numbers}))
    options = SoapKrrSettings.model_validate(family_settings("soap-krr", settings.options).model_dump())
    started = time.process_time()
    model = solve(species, options, train, settings)
    spent = time.process_time() - started
    notes = [*what_is_missing(train), *suspicions(train), *_without_effect(settings)]
    log(TrainingStarted("soap-krr", len(model.alpha), 1, [chemical_symbols[z] for z in species], len(train), len(valid), words, notes))
    examined = {}
    for name, items in (("training", train), ("validation", valid)):
        if items:
            labelled = LabelledSet(items, model.cutoff, torch.ones(1, len(items)), "cpu")
            examined[name] = examine(model, labelled, range(len(items)), settings)
    folder.write("parity.json", json.dumps({name: result.pairs for name, result in examined.items()}))
    empty: dict[str, float | None] = {"gradient": None, "covariance": None, "scale": None}
    train_errors, valid_errors = (examined[name].facts if name in examined else None for name in ("training", "validation"))
    log(Evaluated(1, train_errors, valid_errors, empty, {}))
    save_committee(folder.path / "model.safetensors", model, prior=settings.prior)
    log(TrainingFinished(1, "solved in closed form", round(spent, 2)))


def solve(species: tuple[int, ...], options: SoapKrrSettings, data: Sequence[LabelledStructure], settings: FitSettings) -> SoapKrr:
    """Fit soap-krr to labels, with structures weighted as in the settings."""
    return fit_soap_krr(
        species, options, [item.atoms for item in data], [item.energy for item in data],
        [item.forces for item in data], [item.stress for item in data], settings.seed,
        structure_weights(data, 1, settings)[0].tolist(),
    )  # fmt: skip


def _without_effect(settings: FitSettings) -> list[str]:
    given = [name for name in OF_STEPS if getattr(settings, name) != FitSettings.model_fields[name].get_default(call_default_factory=True)]
    return [f"solved in closed form, without effect: {', '.join(given)}"] if given else []
