"""A campaign: the searches of many formulas, each in a process of its own, with one ledger and one executor.

result = nucleate.campaign.run.campaign(["MgO", "Mg2Si2O6"], reference="gpaw", out="mantle")
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from os import PathLike
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from nucleate.campaign.blocks import serve_label
from nucleate.campaign.child import Job, run_job
from nucleate.campaign.members import Member, members_of
from nucleate.campaign.summary import Summary, summarise
from nucleate.csp.known_crystals import flag_share, stored_share
from nucleate.csp.plan import prepare
from nucleate.csp.run_data import read_run
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.systems.settings import HullSettings
from nucleate.errors import BadInput, NucleateError, RunFolderError
from nucleate.generate.settings import PROTOTYPE_SHARE
from nucleate.persist.files import write_whole
from nucleate.persist.json_data import SCHEMA
from nucleate.persist.locks import lock_file
from nucleate.persist.toml import same_settings, to_toml
from nucleate.processes.limits import available_cores
from nucleate.progress import Event, Progress, silent
from nucleate.reference.cluster.executor import ClusterExecutor, refuse_odd_path
from nucleate.reference.cluster.given import LOCAL, blocks_in, read_executor
from nucleate.reference.shared.opened import shared_ledger
from nucleate.report.campaign_page import HullOfPage, render_campaign

MOST_FOLDERS = 100
"""Largest number of run folders from whose labels a search learns, which is that of `teacher.labels_from`."""
AT_ONCE = 4
"""Number of simultaneous searches whose labels run in blocks."""
SETTINGS = "campaign.toml"
"""Name of the file with the settings of all searches in the folder of a campaign."""
LEDGER = "ledger.db"
"""Name of the shared ledger in the folder of a campaign."""
BEGUN = ("lock", f"{SETTINGS}.part")
"""Names of the files in the folder of a campaign that was killed before its settings were written."""
ENDING = 60.0
"""Longest time that an interrupted search may take to save what it has, s."""


@dataclass(frozen=True)
class MemberEvent(Event):
    """Something happened in one search of a campaign.

    Attributes:
        name: formula or chemical system.
        event: event of its search, or a word: `begins`, `done`, `stopped` or an error message after `failed: `.
    """

    name: str
    event: Event | str


@dataclass
class _Running:
    """A search that is running."""

    member: Member
    process: Any
    connection: Connection
    outcome: str | None = None
    sending: threading.Lock = field(default_factory=threading.Lock)

    def send(self, message: tuple[Any, ...]) -> None:
        """Send a message, from any thread; nothing is sent to a process that has ended."""
        with self.sending, suppress(OSError):
            self.connection.send(message)


def campaign(
    formulas: Sequence[str],
    *,
    out: str | PathLike[str],
    settings: Any = None,
    executor: str | PathLike[str] | None = None,
    ledger: str | PathLike[str] | None = None,
    share_labels: bool = True,
    at_once: int | None = None,
    prototypes: bool | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Summary:
    """Search many formulas; repeating the call resumes what was stopped.

    All searches use one shared ledger, so that no calculation is made twice. A search also learns from the labels of those that have
    ended before it began, where these consist of its elements, as with `labels_from`.

    Args:
        formulas: formulas of search cells, or chemical systems.
        out: folder of the campaign, with one run folder for each formula.
        settings: settings of all searches, as for `nucleate.search`.
        executor: executor file of a cluster, in whose blocks the labels of all searches run.
        ledger: shared ledger, as for `nucleate.search`; None: an SQLite file in the folder of the campaign.
        share_labels: whether searches learn from the labels of others.
        at_once: number of simultaneous searches; None: 4 with an executor, else 1.
        prototypes: whether to draw candidates from known crystals, as for `nucleate.search`.
        progress: called with a `MemberEvent` for each event.
        **options: `reference`, `preset`, `pressure`, `budget`, `top`, `pool`, `seed`, `model`, `prior`, `teacher`, `strategy`,
            `max_atoms` and `workers`, as for `nucleate.search`.

    Returns:
        The table of the searches, and a hull for each chemical system of which all elements were searched.

    Raises:
        BadInput: a formula, a setting or the executor file is wrong; nothing is started.
        RunFolderError: the folder contains another campaign, or another process is working on it.
        NucleateError: the blocks cannot be used.
        KeyboardInterrupt: the campaign was interrupted; its searches have saved what they had.
    """
    if isinstance(executor, Executor):
        raise BadInput("executor: a campaign takes an executor file, whose blocks serve all searches, but no concurrent.futures.Executor")
    read_executor(executor)
    folder = Path(out)
    if at_once is not None and not 1 <= at_once <= 1024:
        raise BadInput(f"at_once {at_once}: give a number of simultaneous searches from 1 to 1024")
    blocks = executor is not None and executor != LOCAL
    plain = {_setting(name): value for name, value in options.items() if value is not None}
    if ledger is not None:
        plain["reference__ledger"] = str(ledger)
    if prototypes is not None:
        plain["generate__prototype_share"] = flag_share(prototypes)
    members = members_of(list(formulas), settings, **plain)
    if "hull__max_atoms" in plain and all(member.settings.system is None for member in members):
        raise BadInput("max_atoms has no effect on formulas; add a chemical system such as Mg-Si, or remove it")
    number = min(len(members), at_once or (AT_ONCE if blocks else 1))
    cutoff = _one_cutoff(members)
    members = [_with_reference(member, cutoff=cutoff) for member in members]
    with shared_ledger(members[0].settings.reference, None):
        pass
    # Neither the place of the folder nor the number of cores makes another campaign.
    hull = next((member.settings.hull for member in members if member.settings.system is not None), HullSettings())
    generate = members[0].settings.generate
    # A campaign keeps the share of candidates from known crystals with which it began; each search uses it if it has any.
    share = generate.prototype_share
    if share is None:
        share = stored_share(folder / SETTINGS)
    share = PROTOTYPE_SHARE if share is None else share
    generate = generate.model_copy(update={"prototype_share": share})
    kept = to_toml(members[0].settings.model_copy(update={"formula": "H", "hull": hull, "generate": generate}))
    if members[0].settings.reference.ledger is None:
        members = [_with_reference(member, ledger=str((folder / LEDGER).absolute())) for member in members]
    members = [replace(member, settings=_prepared(member.settings, number, blocks)) for member in members]
    with _locked(folder, kept):
        if blocks:
            refuse_odd_path(folder.resolve())
        with (
            shared_ledger(members[0].settings.reference, None),
            blocks_in(folder, executor, members[0].settings.reference.engine) as opened,
        ):
            assert opened is None or isinstance(opened, ClusterExecutor)
            leader = _Leader(folder, members, number, share, opened, progress)
            leader.run(share_labels)
        return summarise(folder, members, leader.failures)


def _one_cutoff(members: Sequence[Member]) -> float | None:
    """Return the cutoff of all searches, eV; None: each has that of its preset.

    Energies of all searches are compared and learned together, and the presets of GPAW have a lower cutoff for some elements.
    """
    reference = members[0].settings.reference
    if reference.engine != "gpaw" or reference.cutoff is not None:
        return reference.cutoff
    from nucleate.reference.gpaw import PRESETS, SOFT

    symbols = {chemical_symbols[z] for member in members for z in member.species}
    return None if symbols <= SOFT else PRESETS[reference.preset]["hard"]


def _with_reference(member: Member, **changes: Any) -> Member:
    """Return a search with other settings of the reference."""
    reference = member.settings.reference.model_copy(update=changes)
    return replace(member, settings=member.settings.model_copy(update={"reference": reference}))


def _prepared(settings: RunSettings, number: int, blocks: bool) -> RunSettings:
    """Return the settings of a search that runs beside others; whatever cannot work is refused."""
    plan, reference = prepare(settings), settings.reference
    # Searches that run at once share the cores.
    cores = max(1, available_cores() // number)
    if number > 1 and settings.relax.workers is None:
        settings = settings.model_copy(update={"relax": settings.relax.model_copy(update={"workers": cores})})
    if number > 1 and not blocks and reference.workers is None and not plan.reference.surrogate:
        settings = settings.model_copy(update={"reference": reference.model_copy(update={"workers": cores})})
    return settings


def _setting(option: str) -> str:
    """Return the name of the setting of an option, for `resolve_settings`."""
    try:
        return _OPTIONS[option]
    except KeyError:
        raise BadInput(f"option '{option}' is not one of a campaign; choose {', '.join(_OPTIONS)}") from None


_OPTIONS = {
    "reference": "reference__engine", "preset": "reference__preset", "pressure": "pressure", "budget": "search__budget",
    "top": "search__top", "pool": "search__pool", "seed": "seed", "model": "model__family", "prior": "model__prior",
    "teacher": "teacher__name", "strategy": "evolution__strategy", "max_atoms": "hull__max_atoms", "workers": "reference__workers",
}  # fmt: skip


@contextmanager
def _locked(folder: Path, toml: str) -> Iterator[None]:
    """Context with the folder of the campaign, created, locked and of these settings."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written: {error.strerror}; choose another --out") from error
    kept = folder / SETTINGS
    if not kept.exists() and any(path.name not in BEGUN for path in folder.iterdir()):
        raise RunFolderError(f"{folder}: is not empty and contains no campaign; choose another --out")
    lock = lock_file(folder / "lock", f"{folder}: another process is working on this campaign; wait for it or stop it")
    try:
        if kept.exists() and not same_settings(RunSettings, kept.read_text(encoding="utf-8", errors="replace"), toml):
            raise RunFolderError(
                f"{folder}: contains a campaign with other settings (see {kept}); use the same ones, or choose another --out"
            )
        write_whole(kept, toml)
        yield
    finally:
        os.close(lock)


class _Leader:
    """Starts the processes of the searches, and answers them."""

    def __init__(
        self,
        folder: Path,
        members: Sequence[Member],
        number: int,
        share: float,
        executor: ClusterExecutor | None,
        progress: Progress,
    ):
        self._folder, self._number, self._share, self._executor, self._progress = folder, number, share, executor, progress
        self._waiting = deque(members)
        self._running: list[_Running] = []
        self._ended: list[Member] = []
        self.failures: dict[str, str] = {}

    def run(self, share_labels: bool) -> None:
        """Run all searches."""
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._number:
                    member = self._waiting.popleft()
                    try:
                        self._start(member, share_labels)
                    except NucleateError as error:
                        self._fail(member.name, str(error))
                self._listen()
                if self._executor is not None:
                    self._look_at_blocks(self._executor)
        except BaseException:
            self._stop()
            raise

    def _fail(self, name: str, reason: str) -> None:
        self.failures[name] = reason
        self._progress(MemberEvent(name, f"failed: {reason}"))

    def _labels_for(self, member: Member) -> list[str]:
        """Return the run folders of searches with labels of its elements alone, those with most of its elements first."""
        found = []
        species = set(member.species)
        for other in self._ended:
            path = self._folder / other.name
            if not set(other.species) & species:
                continue
            with suppress(NucleateError):
                if any(row.label and set(row.atoms.numbers.tolist()) <= species for row in read_run(path).rows):
                    found.append((-len(set(other.species) & species), abs(other.size - member.size), str(path.absolute())))
        given = member.settings.teacher.labels_from
        return [*given, *(path for *_, path in sorted(found)[: MOST_FOLDERS - len(given)])]

    def _start(self, member: Member, share_labels: bool) -> None:
        """Start the process of a search, unless it is finished.

        Raises:
            NucleateError: its run folder cannot be read.
        """
        out = self._folder / member.name
        settings = member.settings
        if (out / "run.toml").is_file():
            if read_run(out).status == "finished":
                self._ended.append(member)
                self._progress(MemberEvent(member.name, "done"))
                return
        elif share_labels:
            teacher = settings.teacher.model_copy(update={"labels_from": self._labels_for(member)})
            settings = settings.model_copy(update={"teacher": teacher})
        blocks = None
        if self._executor is not None:
            blocks = self._executor.folder, self._executor.source, self._executor.ranks, self._executor.attempts
        context = get_context("spawn")
        own, other = context.Pipe()
        process = context.Process(target=run_job, args=(Job(settings, self._share, out, blocks), other))
        process.start()
        other.close()
        self._running.append(_Running(member, process, own))
        self._progress(MemberEvent(member.name, "begins"))

    def _listen(self) -> None:
        """Handle the messages that have arrived, or that arrive within a second."""
        for connection in wait([one.connection for one in self._running], timeout=1.0):
            running = next(one for one in self._running if one.connection is connection)
            try:
                message = running.connection.recv()
            except (EOFError, OSError):
                self._end(running)
                continue
            if message[0] == "submit":
                assert self._executor is not None
                serve_label(self._executor, message, running.send)
            elif message[0] == "event":
                self._progress(MemberEvent(running.member.name, message[1]))
            else:
                running.outcome = "failed: " + message[1] if message[0] == "failed" else message[0]

    def _end(self, running: _Running) -> None:
        self._running.remove(running)
        running.process.join()
        name = running.member.name
        outcome = running.outcome or f"failed: its process ended with code {running.process.exitcode}"
        if outcome.startswith("failed: "):
            self._fail(name, outcome.removeprefix("failed: "))
            return
        if outcome == "done":
            self._ended.append(running.member)
        self._progress(MemberEvent(name, outcome))

    def _look_at_blocks(self, executor: ClusterExecutor) -> None:
        """Tell the searches if no block can do any work."""
        try:
            executor.check()
        except NucleateError as error:
            for running in self._running:
                running.send((-1, "broken", error))

    def _stop(self) -> None:
        """Interrupt the searches, and wait until they have saved what they have."""
        for running in self._running:
            with suppress(OSError, TypeError):
                os.kill(running.process.pid, signal.SIGTERM)
        for running in self._running:
            running.process.join(ENDING)
            if running.process.is_alive():
                running.process.kill()


def write_summary(summary: Summary) -> Path:
    """Write campaign.json and campaign.html to the folder of a campaign; return the path of the page.

    Raises:
        StorageFailed: a file cannot be written.
    """
    data = summary.as_dict()
    write_whole(summary.folder / "campaign.json", json.dumps({"schema": SCHEMA, **data}, indent=1, ensure_ascii=False))
    hulls = [HullOfPage(hull.symbols, hull.missing, tuple(zip(hull.phases, hull.space_groups, strict=True))) for hull in summary.hulls]
    page = summary.folder / "campaign.html"
    write_whole(page, render_campaign(summary.folder.resolve().name, data["searches"], data["total"], hulls))
    return page
