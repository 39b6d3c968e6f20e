"""Commands to a running training, which are applied at its next step, recorded, and repeated after a kill or in a replay."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch

from nucleate.errors import BadInput, quoted
from nucleate.potentials.families import family_settings
from nucleate.potentials.registry import make_model
from nucleate.training.events import Steered
from nucleate.training.fitting import Fitting
from nucleate.training.folder import TrainingFolder, read_commands, read_events
from nucleate.training.parts import find_parts


class Steering:
    """Applies the commands in the folder of a training.

    Args:
        folder: folder of the training, whose `steer.jsonl` is read.
        fitting: the training that the commands change.
        replay: events of another training whose commands are repeated.
        save: called for the command `save`.
        log: called with a `Steered` event after each command.
    """

    def __init__(
        self,
        folder: TrainingFolder,
        fitting: Fitting,
        replay: Sequence[dict[str, Any]],
        save: Callable[[], None],
        log: Callable[[Steered], None],
    ):
        self.folder, self.fitting, self.save, self.log = folder, fitting, save, log
        self._replay = sorted((event for event in replay if event.get("event") == "steer"), key=lambda event: event["step"])
        # Commands that were applied after the last checkpoint of a killed process, and are applied again.
        self._again: list[dict[str, Any]] = []
        self._replayed = self._done = 0
        # At each step replayed commands are applied before those of the user; the order must be the same after a kill.
        self._step, self._replayed_here, self._done_here = 0, 0, 0
        self._seen = -1

    def state(self) -> dict[str, int]:
        """Return the numbers of replayed commands and of commands of the user at the current step, for a checkpoint."""
        here = self._step == self.fitting.step
        return {"replayed": self._replayed_here if here else 0, "done": self._done_here if here else 0}

    def resume(self, state: dict[str, int]) -> None:
        """Continue from a checkpoint of the current step; later commands are applied again at their steps.

        See `TrainingFolder.forget_after`.
        """
        step = self.fitting.step
        events = [event for event in read_events(self.folder.path) if event["event"] == "steer" and not event.get("replayed")]
        self._done = len(events)
        self._again = _left(sorted(events, key=lambda event: event["step"]), step, state["done"])
        self._replayed = len(self._replay) - len(_left(self._replay, step, state["replayed"]))
        self._step, self._replayed_here, self._done_here = step, state["replayed"], state["done"]

    def obey(self) -> str | None:
        """Apply the commands for the next step; return the reason to stop, or None."""
        step = self.fitting.step
        if step != self._step:
            self._step, self._replayed_here, self._done_here = step, 0, 0
        while self._replayed < len(self._replay) and self._replay[self._replayed]["step"] <= step:
            command = self._replay[self._replayed]["command"]
            self._replayed += 1
            self._replayed_here += 1
            why, refused = self._do(command)
            self._record(command, refused, replayed=True)
            if why is not None:
                return why
        while self._again and self._again[0]["step"] <= step:
            command = self._again.pop(0)["command"]
            self._done_here += 1
            why, _ = self._do(command)
            if why is not None:
                return why
        path = self.folder.path / "steer.jsonl"
        size = os.stat(path).st_size if path.exists() else 0  # noqa: PTH116
        if size == self._seen:
            return None
        self._seen = size
        commands = read_commands(self.folder.path)
        while self._done < len(commands):
            command = commands[self._done]
            self._done += 1
            self._done_here += 1
            why, refused = self._do(command)
            self._record(command, refused)
            if why is not None:
                return why
        return None

    def left(self) -> int:
        """Return the number of replayed commands that have not been applied, because their steps were not reached."""
        return len(self._replay) - self._replayed

    def _record(self, command: dict[str, Any], refused: str | None, replayed: bool = False) -> None:
        self.log(Steered(self.fitting.step, command, refused, replayed))

    def _do(self, command: dict[str, Any]) -> tuple[str | None, str | None]:
        """Apply one command; return the reason to stop and the reason of a refusal, after which the training continues."""
        fitting, refused, stop = self.fitting, None, None
        try:
            match command["do"]:
                case "lr":
                    fitting.steered = (float(command["value"]), fitting.step)
                case "freeze":
                    find_parts(fitting.model, command["what"])
                    fitting.frozen = [*(what for what in fitting.frozen if what != command["what"]), command["what"]]
                case "unfreeze":
                    if command["what"] not in fitting.frozen:
                        frozen = ", ".join(fitting.frozen) or "none"
                        raise BadInput(f"'{quoted(command['what'])}' is not frozen; frozen parts: {frozen}")
                    fitting.frozen = [what for what in fitting.frozen if what != command["what"]]
                case "reset":
                    s = fitting.settings
                    seed = s.seed + 1 + fitting.step
                    fresh = make_model(s.model, fitting.model.species, family_settings(s.model, s.options), seed, torch.float64)
                    fitting.reset(command["what"], fresh)
                case "copy":
                    fitting.copy(command["to"], command["from"])
                case "save":
                    self.save()
                case "stop":
                    stop = "stopped on request"
                case other:
                    raise BadInput(f"unknown command '{other}'")
        except BadInput as error:
            refused = str(error)
        except (KeyError, TypeError, ValueError) as error:
            refused = f"the command is damaged ({type(error).__name__}: {error}); use nucleate steer"
        return stop, refused


def _left(events: list[dict[str, Any]], step: int, done: int) -> list[dict[str, Any]]:
    """Return the events that a checkpoint does not include.

    Args:
        events: events in order of their steps.
        step: step of the checkpoint.
        done: number of events at that step that the checkpoint includes.
    """
    here = [event for event in events if event["step"] == step]
    return here[done:] + [event for event in events if event["step"] > step]
