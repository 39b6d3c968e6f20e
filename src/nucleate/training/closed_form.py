"""Fitting what needs no steps: kernel ridge regression, with the same folder, events and page as a training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols

from nucleate.potentials.files import save_committee
from nucleate.potentials.registry import family_settings
from nucleate.potentials.soap_krr import SoapKrr, SoapKrrSettings, fit_soap_krr
from nucleate.training.batches import LabelledSet
from nucleate.training.data import LabelledStructure, suspicious_units, what_is_missing
from nucleate.training.folder import TrainingFolder, read_events
from nucleate.training.loss import ErrorSum, loss, squares
from nucleate.training.settings import FitSettings
from nucleate.training.trainer import EVALUATION_BATCH, PARITY, OnEvent, finite, held_back


def fit_closed_form(
    folder: TrainingFolder,
    settings: FitSettings,
    data: Sequence[LabelledStructure],
    held_out: Sequence[LabelledStructure] | None = None,
    on_event: OnEvent | None = None,
) -> None:
    """Fit soap-krr; a fit that is done already stays as it is. Arguments as of `Trainer`."""
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
    model = fit_soap_krr(
        species, options, [item.atoms for item in train], [item.energy for item in train],
        [item.forces for item in train], [item.stress for item in train], settings.seed,
    )  # fmt: skip
    tell(
        "start", model="soap-krr", parameters=len(model.alpha), members=1, species=[chemical_symbols[z] for z in species],
        training=len(train), validation=len(valid), split_by=words, notes=[*what_is_missing(train), *suspicious_units(train)],
    )  # fmt: skip
    said, parity = {}, {}
    for name, items in (("training", train), ("validation", valid)):
        if items:
            said[name], parity[name] = _errors(model, items, settings)
    folder.write("parity.json", json.dumps(parity))
    empty = {"gradient": None, "covariance": None, "scale": None}
    tell("evaluation", step=1, **said, noise=empty, weights={})
    save_committee(folder.path / "model.safetensors", model, prior=settings.prior)
    tell("finished", step=1, why="solved in closed form")


def _errors(model: SoapKrr, items: list[LabelledStructure], settings: FitSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    labelled = LabelledSet(items, model.cutoff, torch.ones(1, len(items)), "cpu")
    errors, total = ErrorSum(), 0.0
    for part in np.array_split(np.arange(len(items)), -(-len(items) // EVALUATION_BATCH)):
        minibatch = labelled.take(part.tolist())
        prediction = model.energy_forces_stress(minibatch.batch, minibatch.edges)
        errors.add(prediction, minibatch)
        found = squares(prediction, minibatch)
        total += float(loss(found, torch.ones_like(found.energy), settings)) * len(part)
    return {**asdict(errors.errors()), "loss": total / len(items), "informants": {}}, errors.pairs(PARITY)
