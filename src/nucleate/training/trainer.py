"""One trainer for every family: bootstrap committees in one pass, stages, checkpoints, steering while it runs.

Minibatches follow from seed and step alone, and a checkpoint holds weights, averages and the optimiser's memory: a training
killed at any step ends with the weights it would have had. What a user asks for while it runs is recorded with its step, and
done again at that step.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from nucleate.errors import BadInput, NucleateError
from nucleate.potentials.files import save_committee
from nucleate.potentials.networks.a2a import A2A
from nucleate.potentials.registry import family_settings, make_model
from nucleate.training.baseline import fit_baseline
from nucleate.training.batches import LabelledSet, Minibatch
from nucleate.training.data import LabelledStructure, suspicious_units, what_is_missing
from nucleate.training.folder import TrainingFolder, pack, read_commands, read_events, unpack
from nucleate.training.loss import ErrorSum, loss, squares
from nucleate.training.observe import histograms, informants, noise_scale
from nucleate.training.parts import Part, find_parts, slice_of
from nucleate.training.settings import FitSettings, Stage
from nucleate.training.splits import groups, split

LOOKED_AT = 200
"""Training structures in an evaluation."""
EVALUATION_BATCH = 32
NOISE_BATCHES = 4
"""Minibatches that an estimate of the gradient's noise takes."""
PARITY = 1500
"""Points of a parity plot."""

OnEvent = Callable[[str, dict[str, Any]], None]


class Trainer:
    """One training in one folder.

    Args:
        folder: open training folder.
        settings: of the training.
        data: labelled structures.
        held_out: for validation, in place of a split of `data`.
        replay: steering events of another training, done again at their steps.
        on_event: called with (kind, facts) for every event, and for `progress`.
    """

    def __init__(
        self,
        folder: TrainingFolder,
        settings: FitSettings,
        data: Sequence[LabelledStructure],
        held_out: Sequence[LabelledStructure] | None = None,
        replay: Sequence[dict[str, Any]] = (),
        on_event: OnEvent | None = None,
    ):
        torch.set_num_threads(settings.threads)
        self.folder, self.settings, self.on_event = folder, settings, on_event
        try:
            self.device = torch.device(settings.device)
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise BadInput(f"device {settings.device!r} cannot be used: {str(error).splitlines()[0]}") from None
        chosen, held, self.split_words = held_back(data, held_out, settings)
        self.species = tuple(sorted({int(z) for item in [*chosen, *held] for z in item.atoms.numbers}))
        dtype = torch.float32 if settings.dtype == "float32" else torch.float64
        self.model = make_model(settings.model, self.species, family_settings(settings.model, settings.options), settings.seed, dtype)
        self.model.to(self.device)
        self.members = self.model.members
        self.train_set = LabelledSet(chosen, self.model.cutoff, self._weights(chosen), self.device)
        self.valid_set = LabelledSet(held, self.model.cutoff, torch.ones(self.members, len(held)), self.device)
        fit_baseline(self.model, self.train_set, settings.seed)
        for target, source in settings.copy_species.items():
            self._copy(target, source)
        self.parameters = dict(self.model.named_parameters())
        self.optimiser = self._make_optimiser()
        self.average = [parameter.detach().clone() for parameter in self.parameters.values()]
        self.step = 0
        self.frozen = [what for what in settings.freeze if find_parts(self.model, what)]
        self.steered: tuple[float, int] | None = None
        self.commands_done = 0
        self.best, self.waited = math.inf, 0
        self.replay = sorted((event for event in replay if event["event"] == "steer"), key=lambda event: event["step"])
        self._seen = -1

    # -- running ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end, or to where a user stops it; from the last checkpoint on."""
        resumed = self._load()
        if not resumed:
            self._tell(
                "start", model=self.settings.model, parameters=sum(p.numel() for p in self.parameters.values()), members=self.members,
                species=[chemical_symbols[z] for z in self.species], training=len(self.train_set), validation=len(self.valid_set),
                split_by=self.split_words, notes=[*what_is_missing(self.train_set.data), *suspicious_units(self.train_set.data)],
            )  # fmt: skip
            self._evaluate()
        elif any(event["event"] == "finished" for event in read_events(self.folder.path)):
            return
        else:
            self._tell("resumed", step=self.step)
        why = "all steps are done"
        while self.step < self.settings.total:
            asked = self._obey()
            if asked is not None:
                why = asked
                break
            self._one_step()
            if self.step % self.settings.evaluate_every == 0 or self.step == self.settings.total:
                self._evaluate()
                if self.settings.patience and self.waited >= self.settings.patience:
                    why = f"no better validation loss in {self.waited} evaluations"
                    break
            if self.step % self.settings.checkpoint_every == 0:
                self._checkpoint()
        self._checkpoint()
        self._save_model()
        self._tell("finished", step=self.step, why=why)

    def _one_step(self) -> None:
        stage, within = self._stage()
        rate = self.rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        still = self._still(stage)
        kept = [(self.parameters[name], index, slice_of(self.parameters[name], index).detach().clone()) for name, index in still]
        whole = {name for name, index in still if index is None}
        data = self.train_set.take(self._chosen(self.step))

        def closure() -> float:
            self.optimiser.zero_grad(set_to_none=True)
            found = squares(self.model.energy_forces_stress(data.batch, data.edges, create_graph=True), data)
            total = loss(found, data.weight, self.settings)
            total.backward()
            for name in whole:
                self.parameters[name].grad = None
            moving = [p for p in self.parameters.values() if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(moving, self.settings.clip * math.sqrt(self.members))
            return float(total.detach()) / self.members

        value = closure() if not isinstance(self.optimiser, torch.optim.LBFGS) else None
        if value is None:
            value = float(self.optimiser.step(closure))
        else:
            self.optimiser.step()
        if not math.isfinite(value):
            raise NucleateError(
                f"{self.folder.path}: the loss is not a number at step {self.step + 1}; lower learning_rate, then start again"
            )
        with torch.no_grad():
            for parameter, index, before in kept:
                slice_of(parameter, index).copy_(before)
            # Early on the average follows closely, so that it forgets the random start.
            decay = min(self.settings.ema, (self.step + 1) / (self.step + 10)) if self.settings.ema else 0.0
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters.values()], 1 - decay)
        self.step += 1
        if self.on_event is not None:
            self.on_event("progress", {"step": self.step, "total": self.settings.total, "loss": value, "rate": rate})
        if self.step % max(1, self.settings.evaluate_every // 10) == 0:
            # The temperature of stochastic descent: noise per step grows with the rate and shrinks with the batch.
            self._tell("step", step=self.step, loss=value, rate=rate, temperature=rate / len(data.batch), stage=within[0])

    def _chosen(self, step: int) -> Sequence[int]:
        """Indices of a step's minibatch, from seed and step alone."""
        n = len(self.train_set)
        if self.settings.optimiser == "lbfgs":
            return range(n)
        parts = max(1, round(n / self.settings.batch))
        epoch, place = divmod(step, parts)
        order = np.random.default_rng([self.settings.seed, 9, epoch]).permutation(n)
        return np.array_split(order, parts)[place].tolist()

    def _stage(self, step: int | None = None) -> tuple[Stage, tuple[int, int]]:
        """The stage of a step; its number, and the step within it."""
        left = self.step if step is None else step
        stages = self.settings.all_stages
        for number, stage in enumerate(stages):
            if left < stage.steps:
                return stage, (number, left)
            left -= stage.steps
        return stages[-1], (len(stages) - 1, stages[-1].steps)

    def _factor(self, step: int) -> float:
        stage, (_, within) = self._stage(step)
        s, done = self.settings, within / stage.steps
        if s.schedule == "cosine":
            factor = s.final_rate + (1 - s.final_rate) * 0.5 * (1 + math.cos(math.pi * done))
        else:
            factor = s.final_rate**done if s.schedule == "exponential" else 1.0
        return factor * min(1.0, (within + 1) / (s.warmup + 1))

    def rate(self) -> float:
        """Learning rate of the next step."""
        if self.steered is not None:
            value, since = self.steered
            return value * self._factor(self.step) / self._factor(since)
        stage, _ = self._stage()
        return (stage.learning_rate or self.settings.learning_rate) * self._factor(self.step)

    def _still(self, stage: Stage) -> list[Part]:
        """What does not move in a stage."""
        still = [part for what in self.frozen for part in find_parts(self.model, what)]
        if stage.train:
            moving = {part for what in stage.train for part in find_parts(self.model, what)}
            still += [
                (name, None) for name in self.parameters if all((name, index) not in moving for index in (None, *range(len(self.species))))
            ]
        return still

    def _make_optimiser(self) -> torch.optim.Optimizer:
        s, parameters = self.settings, [p for p in self.parameters.values() if p.requires_grad]
        if s.optimiser == "lbfgs":
            return torch.optim.LBFGS(parameters, lr=s.learning_rate, max_iter=1, history_size=20)
        if s.optimiser == "adam":
            return torch.optim.Adam(parameters, lr=s.learning_rate)
        return torch.optim.AdamW(parameters, lr=s.learning_rate, weight_decay=s.weight_decay)

    def _weights(self, data: Sequence[LabelledStructure]) -> Tensor:
        """(m, n): softening times bootstrap."""
        weights = np.ones((self.members, len(data)))
        if self.settings.soften_force:
            force = np.array([0.0 if item.forces is None else np.sqrt(np.mean(item.forces**2)) for item in data])
            weights *= 1 / (1 + (force / self.settings.soften_force) ** 2)
        if self.settings.bootstrap and self.members > 1:
            # Bayesian bootstrap (Rubin, Ann. Statist. 9, 130 (1981), doi 10.1214/aos/1176345338).
            draws = np.random.default_rng([self.settings.seed, 77]).exponential(size=weights.shape)
            weights *= np.clip(draws, 0.1, 3.0)
        return torch.as_tensor(weights / weights.mean())

    # -- steering ---------------------------------------------------------------------------------------------

    def _obey(self) -> str | None:
        """Do what was asked of the next step; returns why to stop, where that was asked."""
        while self.replay and self.replay[0]["step"] <= self.step:
            event = self.replay.pop(0)
            why = self._do(event["command"])
            if why is not None:
                return why
        path = self.folder.path / "steer.jsonl"
        size = os.stat(path).st_size if path.exists() else 0  # noqa: PTH116
        if size == self._seen:
            return None
        self._seen = size
        commands = read_commands(self.folder.path)
        for number in range(self.commands_done, len(commands)):
            self.commands_done = number + 1
            why = self._do(commands[number], number)
            if why is not None:
                return why
        return None

    def _do(self, command: dict[str, Any], number: int | None = None) -> str | None:
        """One command; what cannot be done is recorded with the reason, and the training goes on."""
        refused = None
        stop = None
        try:
            match command["do"]:
                case "lr":
                    self.steered = (float(command["value"]), self.step)
                case "freeze":
                    find_parts(self.model, command["what"])
                    self.frozen = [*(what for what in self.frozen if what != command["what"]), command["what"]]
                case "unfreeze":
                    if command["what"] not in self.frozen:
                        raise BadInput(f"{command['what']!r} is not frozen; frozen: {', '.join(self.frozen) or 'nothing'}")
                    self.frozen = [what for what in self.frozen if what != command["what"]]
                case "reset":
                    self._reset(command["what"])
                case "copy":
                    self._copy(command["to"], command["from"])
                case "save":
                    self._checkpoint()
                    self._save_model()
                case "stop":
                    stop = "stopped on request"
                case other:
                    raise BadInput(f"no such command: {other}")
        except BadInput as error:
            refused = str(error)
        facts = {} if refused is None else {"refused": refused}
        if number is not None or refused is None:
            self._tell("steer", step=self.step, command=command, **facts)
        return stop

    def _reset(self, what: str) -> None:
        """Give a part the weights of a new beginning, and the optimiser no memory of it."""
        parts = find_parts(self.model, what)
        settings = family_settings(self.settings.model, self.settings.options)
        fresh = make_model(self.settings.model, self.species, settings, self.settings.seed + 1 + self.step, torch.float64)
        new = dict(fresh.named_parameters())
        with torch.no_grad():
            for name, index in parts:
                slice_of(self.parameters[name], index).copy_(slice_of(new[name], index))
                slice_of(self.average[list(self.parameters).index(name)], index).copy_(slice_of(new[name], index))
                self.optimiser.state.pop(self.parameters[name], None)

    def _copy(self, target: str, source: str) -> None:
        """Give a species the weights of another."""
        if not isinstance(self.model, A2A):
            raise BadInput("weights can be copied between species in a2a alone: other families share them")
        self.model.copy_species(target, source)
        if hasattr(self, "average"):
            with torch.no_grad():
                for kept, (name, parameter) in zip(self.average, self.parameters.items(), strict=True):
                    if target in name.split("."):
                        kept.copy_(parameter)

    # -- looking at it ----------------------------------------------------------------------------------------

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The running average in the model's place."""
        current = [p.detach().clone() for p in self.parameters.values()]
        with torch.no_grad():
            for parameter, kept in zip(self.parameters.values(), self.average, strict=True):
                parameter.copy_(kept)
        yield
        with torch.no_grad():
            for parameter, kept in zip(self.parameters.values(), current, strict=True):
                parameter.copy_(kept)

    def _evaluate(self) -> None:
        looked_at = np.sort(np.random.default_rng([self.settings.seed, 4]).permutation(len(self.train_set))[:LOOKED_AT])
        said: dict[str, Any] = {}
        parity: dict[str, Any] = {}
        with self.averaged():
            sets = {"training": (self.train_set, looked_at), "validation": (self.valid_set, np.arange(len(self.valid_set)))}
            for name, (labelled, chosen) in sets.items():
                if not len(chosen):
                    continue
                errors, total, parts = ErrorSum(), 0.0, []
                for first in range(0, len(chosen), EVALUATION_BATCH):
                    data = labelled.take(chosen[first : first + EVALUATION_BATCH].tolist())
                    prediction = self.model.energy_forces_stress(data.batch, data.edges)
                    errors.add(prediction, data)
                    mean = squares(prediction.mean(), data)
                    total += float(loss(mean, torch.ones_like(mean.energy), self.settings)) * len(data.batch)
                    parts.append(data)
                parity[name] = errors.pairs(PARITY)
                said[name] = {**asdict(errors.errors()), "loss": total / len(chosen), "informants": informants(self.model, parts)}
        self.folder.write("parity.json", json.dumps(parity))
        judged = said.get("validation", said["training"])["loss"]
        if judged < self.best:
            self.best, self.waited = judged, 0
            if self.settings.patience:
                self._save_model("best.safetensors")
        else:
            self.waited += 1
        self._tell("evaluation", step=self.step, **said, noise=self._noise(), weights=histograms(self.model))

    def _noise(self) -> dict[str, float | None]:
        """Squared gradient, its covariance over structures and their ratio, from the next minibatches; see `noise_scale`."""
        guesses = []
        for ahead in range(NOISE_BATCHES if self.settings.optimiser != "lbfgs" else 0):
            chosen = self._chosen(self.step + ahead)
            half = len(chosen) // 2
            if half:
                first, second = (self._gradient(self.train_set.take(part)) for part in (chosen[:half], chosen[half : 2 * half]))
                guesses.append(noise_scale(first, second, half))
        if not guesses:
            return {"gradient": None, "covariance": None, "scale": None}
        gradient, covariance = np.mean(guesses, axis=0).tolist()
        return {"gradient": gradient, "covariance": covariance, "scale": covariance / gradient if gradient > 0 else None}

    def _gradient(self, data: Minibatch) -> list[Tensor]:
        parameters = [p for p in self.parameters.values() if p.requires_grad]
        found = squares(self.model.energy_forces_stress(data.batch, data.edges, create_graph=True), data)
        gradients = torch.autograd.grad(loss(found, data.weight, self.settings), parameters, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]

    def _tell(self, kind: str, **what: Any) -> None:
        plain = finite(what)
        self.folder.event(kind, **plain)
        if self.on_event is not None:
            self.on_event(kind, plain)

    # -- files ------------------------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        tensors: dict[str, Tensor] = {f"weight.{name}": p for name, p in self.parameters.items()}
        tensors |= {f"average.{name}": kept for name, kept in zip(self.parameters, self.average, strict=True)}
        header = {
            "step": self.step, "frozen": self.frozen, "steered": self.steered, "commands_done": self.commands_done,
            "best": None if math.isinf(self.best) else self.best, "waited": self.waited,
            "optimiser": pack(self.optimiser.state_dict()["state"], tensors, "optimiser"),
        }  # fmt: skip
        self.folder.save("checkpoint.safetensors", header, tensors)

    def _load(self) -> bool:
        found = self.folder.load("checkpoint.safetensors")
        if found is None:
            self.folder.forget_after(-1)
            self._replay_own(0)
            return False
        header, tensors = found
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"weight.{name}"])
            self.average = [tensors[f"average.{name}"].to(self.device) for name in self.parameters]
        state = self.optimiser.state_dict()
        state["state"] = unpack(header["optimiser"], tensors, self.device)
        self.optimiser.load_state_dict(state)
        self.step, self.frozen, self.commands_done = header["step"], header["frozen"], header["commands_done"]
        self.steered = None if header["steered"] is None else tuple(header["steered"])
        self.best = math.inf if header["best"] is None else header["best"]
        self.waited = header["waited"]
        self.folder.forget_after(self.step)
        self._replay_own(self.commands_done)
        return True

    def _replay_own(self, done: int) -> None:
        """What was asked after the checkpoint is done again at its steps."""
        events = [event for event in read_events(self.folder.path) if event["event"] == "steer"]
        later = events[done:]
        self.replay = sorted([*self.replay, *later], key=lambda event: event["step"])
        self.commands_done = max(done, len(events))

    def _save_model(self, name: str = "model.safetensors") -> None:
        if name == "model.safetensors" and self.settings.patience and (self.folder.path / "best.safetensors").is_file():
            (self.folder.path / name).write_bytes((self.folder.path / "best.safetensors").read_bytes())
            return
        with self.averaged():
            save_committee(self.folder.path / name, self.model, prior=self.settings.prior)


def held_back(
    data: Sequence[LabelledStructure], held_out: Sequence[LabelledStructure] | None, settings: FitSettings
) -> tuple[list[LabelledStructure], list[LabelledStructure], str]:
    """What is trained on, what is held back, and in words by what they were told apart."""
    if held_out is not None:
        return list(data), list(held_out), "another file"
    group, words = groups(data, settings.split_by)
    train, valid = split(group, settings.validation, settings.seed)
    return [data[k] for k in train], [data[k] for k in valid], words


def finite(value: Any) -> Any:
    """No NaN in the events: null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def model_path(folder: Path) -> Path:
    """The trained model of a folder."""
    return folder / "model.safetensors"
