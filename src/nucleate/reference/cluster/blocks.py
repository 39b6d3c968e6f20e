"""The record of blocks in a run folder: which jobs were submitted, in which state each was last seen, and since when.

A line of `blocks.jsonl` is written when a job is submitted and whenever its state changes, so that a search that was killed can cancel the
jobs it has left, and the report can compare the core time of blocks with that of labels.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nucleate.persist.files import append_line, read_lines
from nucleate.reference.cluster.jobs import CANCEL, LIST, NAME, cancel, is_job, listed

FILE = "blocks.jsonl"
ENDED = ("ended", "cancelled")
STATES = ("waiting", "running", *ENDED)


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
        seconds: wall time of its finished intervals of running, s; a job that is queued again runs several times, each up to its wall time.
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
        self.seconds, self.state, self.since = self.ran(when), state, when

    def ran(self, now: float) -> float:
        """Return how long the job has run, s."""
        # A job whose end nobody saw has ended at its wall time at the latest.
        return self.seconds + (max(0.0, min(now - self.since, self.walltime)) if self.state == "running" else 0.0)


@dataclass
class Swept:
    """What became of jobs that were to be cancelled.

    Attributes:
        cancelled: ids of jobs that existed and were cancelled.
        unsure: ids of jobs that may still exist, by provider.
        asked: whether the batch system said which jobs there are; else there may be jobs whose ids are not known.
    """

    cancelled: list[str] = field(default_factory=list)
    unsure: dict[str, list[str]] = field(default_factory=dict)
    asked: bool = True


@dataclass
class Blocks:
    """The record of one run folder.

    Attributes:
        folder: folder of the record.
        blocks: blocks by the ids of their jobs, in the order of submission.
        label_seconds: wall time of the labels that ran in blocks, s.
        token: text in the names of the jobs of this run; empty before a process has started blocks.
        open: whether a process that started blocks has not closed: a job may exist whose id was never written down.
        own: ids of the jobs that this process has submitted.
        closing: whether this process wants no more jobs.
        submitting: number of jobs that are being submitted now.
    """

    folder: Path
    blocks: dict[str, Block] = field(default_factory=dict)
    label_seconds: float = 0.0
    token: str = ""
    open: bool = False
    own: list[str] = field(default_factory=list)
    closing: bool = False
    submitting: int = 0

    @classmethod
    def read(cls, folder: Path) -> Blocks:
        """Read the record; a missing one is empty, and damaged lines are skipped."""
        record = cls(folder)
        for line in read_lines(folder / FILE):
            try:
                if "label" in line:
                    record.label_seconds += max(0.0, float(line["label"]))
                    continue
                if "token" in line:
                    record.token, record.open = "".join(c for c in str(line["token"]) if c.isalnum()), bool(line["open"])
                    continue
                job, state, when = str(line["job"]), str(line["state"]), float(line["time"])
                if job not in record.blocks:
                    cores, each = int(line["cores"]), int(line["label_cores"])
                    record.blocks[job] = Block(job, str(line["provider"]), cores, float(line["walltime"]), each, since=when)
                if state in STATES:
                    record.blocks[job].advance(state, when)
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
        return record

    def begin(self) -> None:
        """Record that this process is going to submit jobs, whose names contain the token of the run."""
        self.token, self.open = self.token or secrets.token_hex(6), True
        self._state_of_process()

    def end(self) -> None:
        """Record that no job is left of this process."""
        self.open = False
        self._state_of_process()

    def _state_of_process(self) -> None:
        append_line(self.folder / FILE, {"time": round(time.time(), 3), "token": self.token, "open": self.open})

    @property
    def name(self) -> str:
        """Beginning of the names of the jobs of this run."""
        return f"{NAME}{self.token}-"

    def submitted(self, job: str, provider: str, cores: int, walltime: float, label_cores: int = 1) -> None:
        """Record a job that was just submitted; the arguments are attributes of `Block`."""
        now = time.time()
        self.own.append(job)
        self.blocks[job] = Block(job, provider, cores, walltime, label_cores, since=now)
        facts: dict[str, Any] = {"provider": provider, "cores": cores, "walltime": walltime, "label_cores": label_cores}
        append_line(self.folder / FILE, {"time": round(now, 3), "job": job, "state": "waiting", **facts})

    def seen(self, job: str, state: str) -> None:
        """Record the state in which a job is seen now, if it has changed."""
        block = self.blocks.get(job)
        # A job that the accounting does not list yet is taken for ended, and may run after that.
        if block is None or block.state == state or (block.state in ENDED and (block.state, state) != ("ended", "running")):
            return
        now = time.time()
        block.advance(state, now)
        append_line(self.folder / FILE, {"time": round(now, 3), "job": job, "state": state})

    def left(self) -> list[Block]:
        """Return the blocks that have not ended as far as is known."""
        return [block for block in self.blocks.values() if block.state not in ENDED]

    def cancel_left(self) -> Swept:
        """Cancel all jobs of this run that have not ended, by their ids and names, and those of this process in any case.

        A record of another user is not obeyed, and on Slurm only jobs with the name of a block are cancelled: ids are used again after
        some time. Jobs of the provider `local` end with the search, and pods of kubernetes are deleted by hand.
        """
        swept, path = Swept(), self.folder / FILE
        foreign = path.exists() and path.stat().st_uid != os.geteuid()
        for provider in CANCEL:
            left = [] if foreign else [block.job for block in self.left()]
            # An end that was recorded for a job of this process may have been a mistake of the accounting.
            left += [job for job in self.own if job not in left and (provider in LIST or self.blocks[job].state not in ENDED)]
            jobs = [job for job in left if self.blocks[job].provider == provider and is_job(job)]
            by_name = provider in LIST and self.open and bool(self.token) and not foreign
            if jobs or by_name:
                self._sweep(provider, jobs, by_name, swept)
        for block in self.left():
            if block.provider not in CANCEL:
                self.seen(block.job, "ended")
        return swept

    def _sweep(self, provider: str, jobs: list[str], by_name: bool, swept: Swept) -> None:
        there = listed(provider) if provider in LIST else dict.fromkeys(jobs, "")
        if there is None:
            # What this process saw end is not worth a warning. It is asked for again when the run is resumed.
            swept.asked = swept.asked and not by_name
            swept.unsure[provider] = [job for job in jobs if self.blocks[job].state not in ENDED]
            return
        here = [job for job, name in there.items() if is_job(job) and (job in jobs or (by_name and name.startswith(self.name)))]
        if here and not cancel(provider, here):
            # One of them may have ended in the meantime, which some versions take for an error.
            again = listed(provider) if provider in LIST else None
            swept.unsure[provider] = here if again is None else [job for job in here if job in again]
        for job in here:
            if job not in swept.unsure.get(provider, ()):
                swept.cancelled.append(job)
                self.seen(job, "cancelled")
        for job in jobs:
            if job not in here:
                self.seen(job, "ended")

    def cost(self, now: float | None = None) -> dict[str, Any] | None:
        """Return the core time of all blocks beside that of labels; None if there never was a block.

        Args:
            now: time until which running blocks are counted, s since 1970; None: now.

        Returns:
            `count`, `waiting`, `running`, `core_seconds`, `label_core_seconds` (wall time of the labels in blocks times the cores of
            one) and `idle_share` (core time of blocks in which no label ran that was finished; None before a block has run).
        """
        if not self.blocks:
            return None
        now = time.time() if now is None else now
        states = [block.state for block in self.blocks.values()]
        core_seconds = sum(block.cores * block.ran(now) for block in self.blocks.values())
        busy = self.label_seconds * next(reversed(self.blocks.values())).label_cores
        return {
            "count": len(states), "waiting": states.count("waiting"), "running": states.count("running"),
            "core_seconds": core_seconds, "label_core_seconds": busy,
            "idle_share": None if core_seconds <= 0 else min(1.0, max(0.0, 1 - busy / core_seconds)),
        }  # fmt: skip


def note_label(folder: Path, seconds: float) -> None:
    """Record the wall time of a label that ran in a block, s; nothing is done in a folder without blocks."""
    if (folder / FILE).exists():
        append_line(folder / FILE, {"time": round(time.time(), 3), "label": round(seconds, 3)})
