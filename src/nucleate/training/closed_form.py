"""Closed-form training of kernel ridge regression, with the folder, events and page of other trainings."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import torch
from ase.data import chemical_symbols

from nucleate.persist.json_data import finite
from nucleate.potentials.files import save_committee
from nucleate.potentials.registry import family_settings
from nucleate.potentials.soap_krr import SoapKrr, SoapKrrSettings, fit_soap_krr
from nucleate.training.batches import LabelledSet
from nucleate.training.data import what_is_missing
from nucleate.training.evaluation import examine
from nucleate.training.fitting import structure_weights
from nucleate.training.folder import TrainingFolder, read_events
from nucleate.training.labelled import LabelledStructure
from nucleate.training.settings import FitSettings
from nucleate.training.suspicions import suspicions
from nucleate.training.trainer import OnEvent, held_back

OF_STEPS = (
    "steps", "stages", "batch", "optimiser", "learning_rate", "schedule", "final_rate", "warmup", "weight_decay", "clip", "ema",
    "bootstrap", "copy_species", "freeze", "evaluate_every", "patience", "checkpoint_every", "dtype", "device", "energy_weight",
    "force_weight", "stress_weight",
)  # fmt: skip
"""Settings that only a training in steps obeys."""


def fit_closed_form(
    folder: TrainingFolder,
    settings: FitSettings,
    data: Sequence[LabelledStructure],
    held_out: Sequence[LabelledStructure] | None = None,
    on_event: OnEvent | None = None,
) -> None:
    """Fit soap-krr unless the folder contains a finished fit; arguments as in `Trainer`."""
    if any(event["event"] == "finished" for event in read_events(folder.path)):
        return

    def tell(kind: str, **what: Any) -> None:
        facts = finite(what)
        folder.event(kind, **facts)
        if on_event is not None:
            on_event(kind, facts)

    torch.set_num_threads(settings.threads)
    train, valid, words = held_back(data, held_out, settings)
    species = tuple(sorted({int(z) for item in [*train, *valid] for z in item.atoms.numbers}))
    options = SoapKrrSettings.model_validate(family_settings("soap-krr", settings.options).model_dump())
    started = time.process_time()
    model = solve(species, options, train, settings)
    spent = time.process_time() - started
    notes = [*what_is_missing(train), *suspicions(train), *_without_effect(settings)]
    tell(
        "start", model="soap-krr", parameters=len(model.alpha), members=1, species=[chemical_symbols[z] for z in species],
        training=len(train), validation=len(valid), split_by=words, notes=notes,
    )  # fmt: skip
    found = {}
    for name, items in (("training", train), ("validation", valid)):
        if items:
            labelled = LabelledSet(items, model.cutoff, torch.ones(1, len(items)), "cpu")
            found[name] = examine(model, labelled, range(len(items)), settings)
    folder.write("parity.json", json.dumps({name: what.pairs for name, what in found.items()}))
    empty = {"gradient": None, "covariance": None, "scale": None}
    tell("evaluation", step=1, **{name: what.facts for name, what in found.items()}, noise=empty, weights={})
    save_committee(folder.path / "model.safetensors", model, prior=settings.prior)
    tell("finished", step=1, why="solved in closed form", cpu_seconds=round(spent, 2))


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
