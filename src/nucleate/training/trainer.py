"""Training in a folder, with events, evaluations, checkpoints and steering.

A checkpoint contains weights, averages and the state of the optimiser, so that a training that was killed ends with the same weights as an
uninterrupted one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from nucleate.errors import BadInput, NucleateError, quoted
from nucleate.persist.json_data import finite
from nucleate.persist.text import stated
from nucleate.potentials.families import family_settings
from nucleate.potentials.files import save_committee
from nucleate.potentials.registry import make_model
from nucleate.processes.interrupts import check
from nucleate.progress import LoggedEvent, Progress, silent
from nucleate.training.baseline import fit_baseline
from nucleate.training.batches import LabelledSet
from nucleate.training.data import what_is_missing
from nucleate.training.evaluation import examine, gradient_noise, some
from nucleate.training.events import Evaluated, LossRecorded, OptimiserStep, TrainingFinished, TrainingResumed, TrainingStarted
from nucleate.training.fitting import Fitting, structure_weights
from nucleate.training.folder import TrainingFolder, pack, read_events, unpack
from nucleate.training.labelled import LabelledStructure
from nucleate.training.observe import histograms
from nucleate.training.settings import FitSettings
from nucleate.training.splits import groups, isolated_atoms, split
from nucleate.training.steering import Steering
from nucleate.training.suspicions import suspicions

BEST = "best.safetensors"


class _Steering(BaseModel):
    replayed: int = Field(ge=0)
    done: int = Field(ge=0)


class _Checkpoint(BaseModel):
    """Header of a checkpoint file."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    step: int = Field(ge=0)
    frozen: list[str]
    steered: tuple[float, int] | None
    steering: _Steering
    ended: str | None
    cpu_seconds: float = Field(ge=0)
    best: float | None
    waited: int = Field(ge=0)
    optimiser: Any


class Trainer:
    """Training in a folder.

    Args:
        folder: Open training folder.
        settings: Training settings.
        data: Labelled structures.
        held_out: Validation structures; None: a part of `data`.
        replay: Steering events of another training, which are repeated at the same steps.
        progress: Called with the events of `nucleate.training.events`.
    """

    def __init__(
        self,
        folder: TrainingFolder,
        settings: FitSettings,
        data: Sequence[LabelledStructure],
        held_out: Sequence[LabelledStructure] | None = None,
        replay: Sequence[dict[str, Any]] = (),
        progress: Progress = silent,
    ):
        torch.set_num_threads(settings.threads)
        self.folder, self.settings, self.progress = folder, settings, progress
        try:
            self.device = torch.device(settings.device)
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise BadInput(f"device '{quoted(settings.device)}' cannot be used: {quoted(str(error))}") from None
        chosen, held, self.split_words = held_back(data, held_out, settings)
        species = tuple(sorted({int(z) for item in [*chosen, *held] for z in item.atoms.numbers}))
        dtype = torch.float32 if settings.dtype == "float32" else torch.float64
        self.model = make_model(settings.model, species, family_settings(settings.model, settings.options), settings.seed, dtype)
        self.model.to(self.device)
        weights = structure_weights(chosen, self.model.members, settings)
        self.train_set = LabelledSet(chosen, self.model.cutoff, weights, self.device)
        self.valid_set = LabelledSet(held, self.model.cutoff, torch.ones(self.model.members, len(held)), self.device)
        fit_baseline(self.model, self.train_set, settings.seed)
        self.fitting = Fitting(self.model, self.train_set, settings)
        for target, source in settings.copy_species.items():
            self.fitting.copy(target, source)
        self.steering = Steering(folder, self.fitting, replay, self._save, self._log)
        self.best, self.waited = math.inf, 0
        self._began, self._spent_before = time.process_time(), 0.0

    def cpu_seconds(self) -> float:
        """CPU time in s, including that of earlier runs up to the last checkpoint."""
        return self._spent_before + time.process_time() - self._began

    def run(self) -> None:
        """Train from the last checkpoint to the end, or until a user stops it."""
        fitting, settings = self.fitting, self.settings
        if any(event["event"] == "finished" for event in read_events(self.folder.path)):
            return
        ended = None
        checkpoint = self.folder.load("checkpoint.safetensors")
        if checkpoint is None:
            self.folder.forget_after(-1, 0)
            self.steering.resume(self.steering.state())
            parameters = sum(p.numel() for p in fitting.parameters.values())
            species = [chemical_symbols[z] for z in self.model.species]
            notes = [*what_is_missing(self.train_set.data), *suspicions(self.train_set.data)]
            sizes = len(self.train_set), len(self.valid_set)
            self._log(TrainingStarted(settings.model, parameters, self.model.members, species, *sizes, self.split_words, notes))
            self._evaluate()
        else:
            ended = self._continue(*checkpoint)
            self._log(TrainingResumed(fitting.step))
        why = ended or self._to_the_end()
        self._save(why)
        self._log(TrainingFinished(fitting.step, why, round(self.cpu_seconds(), 2)))

    def _to_the_end(self) -> str:
        """Take the remaining steps; return the reason for the end."""
        fitting, settings, why = self.fitting, self.settings, "all steps are done"
        while fitting.step < settings.total:
            check()
            asked = self.steering.obey()
            if asked is not None:
                why = asked
                break
            self._one_step()
            if fitting.step % settings.evaluate_every == 0 or fitting.step == settings.total:
                self._evaluate()
                if settings.patience and self.waited >= settings.patience:
                    why = f"no better validation loss in {self.waited} evaluations"
                    break
            if fitting.step % settings.checkpoint_every == 0:
                self._checkpoint()
        left = self.steering.left()
        return f"{why}; {left} commands of the replay are for later steps" if left else why

    def _one_step(self) -> None:
        _, (stage, _) = self.fitting.stage()
        try:
            taken = self.fitting.advance()
        except NucleateError as error:
            raise type(error)(f"{self.folder.path}: {error}") from None
        step = self.fitting.step
        self.progress(OptimiserStep("training", step, self.settings.total, taken.loss, taken.rate))
        if step % max(1, self.settings.evaluate_every // 10) == 0:
            # Temperature of stochastic gradient descent: the noise of a step is proportional to the rate and inverse to the batch size.
            self._log(LossRecorded(step, taken.loss, taken.rate, taken.rate / taken.structures, stage))

    def _evaluate(self) -> None:
        with self.fitting.averaged():
            sets = {"training": (self.train_set, some(self.train_set, self.settings.seed)), "validation": (self.valid_set, None)}
            examined = {
                name: examine(self.model, labelled, range(len(labelled)) if chosen is None else chosen, self.settings)
                for name, (labelled, chosen) in sets.items()
                if len(labelled)
            }
        self.folder.write("parity.json", json.dumps({name: result.pairs for name, result in examined.items()}))
        judged = examined.get("validation", examined["training"]).loss
        if judged < self.best:
            self.best, self.waited = judged, 0
            if self.settings.patience:
                self._save_model(BEST)
        else:
            self.waited += 1
        train_errors, valid_errors = (examined[name].facts if name in examined else None for name in ("training", "validation"))
        self._log(Evaluated(self.fitting.step, train_errors, valid_errors, gradient_noise(self.fitting), histograms(self.model)))

    def _log(self, event: LoggedEvent) -> None:
        self.folder.event(event.kind, **finite(event.facts()))
        self.progress(event)

    # -- files ------------------------------------------------------------------------------------------------

    def _save(self, ended: str | None = None) -> None:
        self._checkpoint(ended)
        if self.settings.patience and (self.folder.path / BEST).is_file():
            self.folder.copy(BEST, "model.safetensors")
        else:
            self._save_model("model.safetensors")

    def _save_model(self, name: str) -> None:
        with self.fitting.averaged():
            save_committee(self.folder.path / name, self.model, prior=self.settings.prior)

    def _checkpoint(self, ended: str | None = None) -> None:
        fitting = self.fitting
        tensors: dict[str, Tensor] = {f"weight.{name}": p for name, p in fitting.parameters.items()}
        tensors |= {f"average.{name}": kept for name, kept in zip(fitting.parameters, fitting.average, strict=True)}
        header = {
            "step": fitting.step, "frozen": fitting.frozen, "steered": fitting.steered, "steering": self.steering.state(),
            "ended": ended, "cpu_seconds": self.cpu_seconds(),
            "best": None if math.isinf(self.best) else self.best, "waited": self.waited,
            "optimiser": pack(fitting.optimiser.state_dict()["state"], tensors, "optimiser"),
        }  # fmt: skip
        self.folder.save("checkpoint.safetensors", header, tensors)

    def _continue(self, header: dict[str, Any], tensors: dict[str, Tensor]) -> str | None:
        """Continue from a checkpoint; return the reason for which the training had ended, or None."""
        if "ended" not in header:
            raise BadInput(
                f"{self.folder.path}: this training was started by an older version and cannot be continued; choose another --out"
            )
        fitting, where = self.fitting, f"{self.folder.path}: checkpoint.safetensors"
        said = stated(_Checkpoint, header, where)
        for kind in ("weight", "average"):
            for name, parameter in fitting.parameters.items():
                tensor = tensors.get(f"{kind}.{name}")
                if tensor is None or tensor.shape != parameter.shape or tensor.dtype != parameter.dtype:
                    held = "nothing" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"
                    raise BadInput(
                        f"{where}: tensor {kind}.{name}: {parameter.dtype} {tuple(parameter.shape)} belongs there, {held} stands there"
                    )
        with torch.no_grad():
            for name, parameter in fitting.parameters.items():
                parameter.copy_(tensors[f"weight.{name}"])
            fitting.average = [tensors[f"average.{name}"].to(self.device) for name in fitting.parameters]
        state = fitting.optimiser.state_dict()
        memory: Any = unpack(said.optimiser, tensors, self.device)
        shapes = [parameter.shape for group in fitting.optimiser.param_groups for parameter in group["params"]]
        # L-BFGS stores all parameters as one row; other optimisers store tensors of the shape of each parameter, and counts.
        whole = isinstance(fitting.optimiser, torch.optim.LBFGS)
        fits = isinstance(memory, dict) and all(
            isinstance(index, int) and 0 <= index < len(shapes) and isinstance(kept, dict)
            and not any(isinstance(x, Tensor) and x.numel() > 1 and not whole and x.shape != shapes[index] for x in kept.values())
            for index, kept in memory.items()
        )  # fmt: skip
        if not fits:
            raise BadInput(f"{where}: the state of the optimiser does not fit the model; choose another --out")
        state["state"] = memory
        fitting.optimiser.load_state_dict(state)
        fitting.step, fitting.frozen, fitting.steered = said.step, said.frozen, said.steered
        self.best = math.inf if said.best is None else said.best
        self.waited = said.waited
        self._spent_before = said.cpu_seconds
        self.folder.forget_after(fitting.step, said.steering.replayed)
        self.steering.resume(said.steering.model_dump())
        return said.ended


def held_back(
    data: Sequence[LabelledStructure], held_out: Sequence[LabelledStructure] | None, settings: FitSettings
) -> tuple[list[LabelledStructure], list[LabelledStructure], str]:
    """Return the training data, the validation data and a description of the split."""
    if held_out is not None:
        return list(data), list(held_out), "another file"
    group, words = groups(data, settings.split_by)
    train, valid = split(group, settings.validation, settings.seed, isolated_atoms(data))
    return [data[k] for k in train], [data[k] for k in valid], words


def model_path(folder: Path) -> Path:
    """Return the path of the trained model in a folder."""
    return folder / "model.safetensors"
