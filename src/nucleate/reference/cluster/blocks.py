"""The record of blocks in a run folder: which jobs were submitted, in which state each was last seen, and since when.

A line of `blocks.jsonl` is written when a job is submitted and whenever its state changes, so that a search that was killed can cancel the
jobs it has left, and the report can compare the core time of blocks with that of labels.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nucleate.persist.files import append_line, read_lines

FILE = "blocks.jsonl"
ENDED = ("ended", "cancelled")
STATES = ("waiting", "running", *ENDED)
CANCEL = {"slurm": "scancel", "pbs": "qdel"}
"""Program that cancels the jobs of each provider."""
LIST = {"slurm": ["squeue", "--me", "--noheader", "--format=%i %j"]}
"""Command that lists ids and names of this user's jobs."""
LABEL = "nucleate"
"""Name of the executor in Parsl, which is part of the names of jobs."""
NAME = f"parsl.{LABEL}.block-"
"""Beginning of the names of jobs."""
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\[\]-]*")
PATIENCE = 60.0
"""Longest time that the batch system may take to answer, s."""


@dataclass
class Block:
    """One job of the batch system.

    Attributes:
        job: id of the job.
        provider: provider that submitted it.
        cores: cores that it occupies.
        walltime: its largest wall time, s.
        label_cores: cores of one label.
        state: `waiting`, `running`, `ended` or `cancelled`.
        since: time at which this state was first seen, s since 1970.
        seconds: wall time of its finished intervals of running, s; a preempted job may run several times.
    """

    job: str
    provider: str
    cores: int
    walltime: float
    label_cores: int = 1
    state: str = "waiting"
    since: float = 0.0
    seconds: float = 0.0

    def advance(self, state: str, when: float) -> None:
        """Change the state at a time, s since 1970."""
        if self.state == "running":
            # A job whose end nobody saw has ended at its wall time at the latest.
            self.seconds += max(0.0, min(when - self.since, self.walltime - self.seconds))
        self.state, self.since = state, when

    def ran(self, now: float) -> float:
        """Return how long the job has run, s."""
        running = min(now - self.since, self.walltime - self.seconds) if self.state == "running" else 0.0
        return self.seconds + max(0.0, running)


@dataclass
class Blocks:
    """The record of one run folder.

    Attributes:
        folder: folder of the record.
        blocks: blocks by the ids of their jobs, in the order of submission.
    """

    folder: Path
    blocks: dict[str, Block] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Blocks:
        """Read the record; a missing one is empty, and damaged lines are skipped."""
        record = cls(folder)
        for line in read_lines(folder / FILE):
            try:
                job, state, when = str(line["job"]), str(line["state"]), float(line["time"])
                if job not in record.blocks:
                    cores, each = int(line["cores"]), int(line["label_cores"])
                    record.blocks[job] = Block(job, str(line["provider"]), cores, float(line["walltime"]), each, since=when)
                if state in STATES:
                    record.blocks[job].advance(state, when)
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
        return record

    def submitted(self, job: str, provider: str, cores: int, walltime: float, label_cores: int = 1) -> None:
        """Record a job that was just submitted; the arguments are attributes of `Block`."""
        now = time.time()
        self.blocks[job] = Block(job, provider, cores, walltime, label_cores, since=now)
        facts: dict[str, Any] = {"provider": provider, "cores": cores, "walltime": walltime, "label_cores": label_cores}
        append_line(self.folder / FILE, {"time": round(now, 3), "job": job, "state": "waiting", **facts})

    def seen(self, job: str, state: str) -> None:
        """Record the state in which a job is seen now, if it has changed."""
        block = self.blocks.get(job)
        if block is None or block.state == state or block.state in ENDED:
            return
        now = time.time()
        block.advance(state, now)
        append_line(self.folder / FILE, {"time": round(now, 3), "job": job, "state": state})

    def left(self) -> list[Block]:
        """Return the blocks that have not ended as far as is known."""
        return [block for block in self.blocks.values() if block.state not in ENDED]

    def cancel_left(self) -> list[str]:
        """Cancel all jobs of earlier processes that have not ended; return the ids of those that still existed.

        A record of another user is not obeyed, and on Slurm only jobs with the name of a block are cancelled: ids are used again after
        some time. Jobs of the provider `local` end with the search, and pods of kubernetes are deleted by hand.
        """
        alive: list[str] = []
        path = self.folder / FILE
        if path.exists() and path.stat().st_uid != os.geteuid():
            return alive
        for provider, program in CANCEL.items():
            jobs = [block.job for block in self.left() if block.provider == provider and _JOB.fullmatch(block.job)]
            if not jobs:
                continue
            listed = _listed(provider) if provider in LIST else set(jobs)
            if listed is None:
                continue
            here = [job for job in jobs if job in listed]
            if here and not _done([program, *here]):
                # It is asked for again when the run is resumed the next time.
                continue
            alive += here
            for job in jobs:
                self.seen(job, "cancelled" if job in here else "ended")
        for block in self.left():
            if block.provider not in CANCEL:
                self.seen(block.job, "ended")
        return alive

    def cost(self, label_seconds: float, now: float | None = None) -> dict[str, Any] | None:
        """Return the core time of all blocks beside that of labels; None if there never was a block.

        Args:
            label_seconds: wall time of all labels, s.
            now: time until which running blocks are counted, s since 1970; None: now.

        Returns:
            `count`, `waiting`, `running`, `core_seconds`, `label_core_seconds` (wall time of the labels times the cores of one) and
            `idle_share` (core time of blocks in which no label ran that was finished; None before a block has run).
        """
        if not self.blocks:
            return None
        now = time.time() if now is None else now
        states = [block.state for block in self.blocks.values()]
        core_seconds = sum(block.cores * block.ran(now) for block in self.blocks.values())
        busy = label_seconds * next(reversed(self.blocks.values())).label_cores
        return {
            "count": len(states), "waiting": states.count("waiting"), "running": states.count("running"),
            "core_seconds": core_seconds, "label_core_seconds": busy,
            "idle_share": None if core_seconds <= 0 else min(1.0, max(0.0, 1 - busy / core_seconds)),
        }  # fmt: skip


def _listed(provider: str) -> set[str] | None:
    """Return the ids of this user's jobs that have the name of a block; None if the batch system does not answer."""
    try:
        answer = subprocess.run(LIST[provider], capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = (line.split(maxsplit=1) for line in answer.stdout.splitlines())
    return {words[0] for words in found if len(words) == 2 and words[1].startswith(NAME)}


def _done(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=PATIENCE).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
