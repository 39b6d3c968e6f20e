"""Process of one search of a campaign."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nucleate import api
from nucleate.campaign.blocks import Leader, RemoteBlocks
from nucleate.csp.events import PolymorphConfirmed, RoundDone
from nucleate.csp.known_crystals import with_share
from nucleate.csp.run_settings import RunSettings
from nucleate.errors import NucleateError
from nucleate.progress import Event, Note
from nucleate.reference.base import said
from nucleate.reference.cluster.mpi import Ranks


@dataclass(frozen=True)
class Job:
    """What the process of a search needs to know.

    Attributes:
        settings: settings of the search.
        share: share of candidates from known crystals, if the settings do not state it and there are some.
        out: run folder; a search that it contains is resumed.
        blocks: folder, name of the executor file, ranks and attempts of the leader's executor; None: labels run in worker processes.
    """

    settings: RunSettings
    share: float
    out: Path
    blocks: tuple[Path, str, Ranks, int] | None


def run_job(job: Job, connection: Connection) -> None:
    """Search, report over the connection, and end with `("done",)`, `("stopped",)` or `("failed", message)`."""
    # SIGTERM is the leader's or the batch system's request to stop; it is handled as an interrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def leader_is_gone() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    leader = Leader(connection, leader_is_gone)
    executor = None if job.blocks is None else RemoteBlocks(leader, *job.blocks)

    def progress(event: Event, /) -> None:
        if isinstance(event, RoundDone | PolymorphConfirmed | Note):
            leader.send(("event", event))

    try:
        if (job.out / "run.toml").is_file():
            api.resume(job.out, executor=executor, progress=progress)
        else:
            api.search(settings=with_share(job.settings, job.share), out=job.out, executor=executor, progress=progress)
        last: tuple[Any, ...] = ("done",)
    except KeyboardInterrupt:
        last = ("stopped",)
    except NucleateError as error:
        last = ("failed", str(error))
    except Exception as error:
        # The table of the campaign says what happened; the others go on.
        last = ("failed", f"unexpected error, please report it: {said(error)}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leader.send(last)
