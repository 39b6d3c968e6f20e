"""A table of finished calculations that several searches share, in which a running one belongs to one search for a limited time.

Each search keeps its own ledger, which decides what the search costs. Before it calculates a label, it asks the shared ledger. A finished
calculation is taken from there. One that another search is calculating is waited for. Any other is claimed: the row gets an owner and a
lease, which a thread of the owner renews. If the owner is killed or cut off, the lease expires and another search takes over.

A calculation is therefore handed out once, and once more for each time that its owner is lost. The clock of leases is that of the database
server; for an SQLite file, that of the machine.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from ase import Atoms
from sqlalchemy import (
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    Text,
    and_,
    case,
    create_engine,
    event,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import literal_column

from nucleate.errors import BadInput, NucleateError, ReferenceFailed, StorageFailed, quoted
from nucleate.reference.base import Label, checked_answer, has_moments
from nucleate.reference.shared.address import read_address
from nucleate.reference.shared.base import ANSWERS

LEASE = 120.0
"""Time in s for which a calculation belongs to its owner without a sign of life."""
OPEN = ("claimed", "running", "interrupted")
"""Statuses of rows without a result."""
PATIENCE = (0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts to reach the database."""
POSTGRES = {
    "connect_timeout": 10, "client_encoding": "utf8", "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}  # fmt: skip
"""Options of connections to PostgreSQL; one that the network has cut ends after a minute."""
ONCE = 500
"""Largest number of hashes in one query."""

Answer = TypeVar("Answer")
_metadata = MetaData()
_TABLE = Table(
    "nucleate_labels",
    _metadata,
    Column("hash", String(64), primary_key=True),
    Column("reference", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("numbers", LargeBinary, nullable=False),
    Column("cell", LargeBinary, nullable=False),
    Column("positions", LargeBinary, nullable=False),
    Column("moments", LargeBinary),
    Column("status", String(40), nullable=False, index=True),
    Column("reason", Text),
    Column("energy", Float(53)),
    Column("forces", LargeBinary),
    Column("stress", LargeBinary),
    Column("iterations", Integer),
    Column("details", Text),
    # Processor time of the attempt that gave the result, and the time for which lost attempts are known to have run.
    Column("core_seconds", Float(53), nullable=False, default=0.0),
    Column("lost_seconds", Float(53), nullable=False, default=0.0),
    Column("wall_seconds", Float(53), nullable=False, default=0.0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("asked", Float(53), nullable=False),
    Column("began", Float(53), nullable=False, default=0.0),
    Column("seen", Float(53), nullable=False, default=0.0),
    Column("lease", Float(53), nullable=False, default=0.0),
    Column("owner", Text),
    Column("host", Text),
)
_T = _TABLE.c


class SharedRow(NamedTuple):
    """What the shared ledger says of one calculation.

    Attributes:
        hash: hash of structure and settings.
        status: that of the result, or `claimed`, `running` or `interrupted`.
        attempts: number of times it was handed out, by all searches together.
        core_seconds: CPU time of the result, s.
        lost_seconds: time for which attempts without a result are known to have run, s.
        owner: search that calculates or calculated it.
    """

    hash: str
    status: str
    attempts: int
    core_seconds: float
    lost_seconds: float
    owner: str


class SharedLedger:
    """Connection of one search to a shared ledger.

    Args:
        address: as for `read_address`.
        owner: name of the search, which takes its own claims up again after it was killed; None: a new one.
        lease: time in s for which a claim holds without a sign of life.

    Raises:
        BadInput: the address is wrong.
        MissingDependency: SQLAlchemy or the driver is not installed.
        StorageFailed: the database cannot be reached, or is not writable.
    """

    def __init__(self, address: str, owner: str | None = None, lease: float = LEASE):
        url = read_address(address)
        self.name = url.render_as_string(hide_password=True) if url.host else str(url.database)
        self.owner = uuid.uuid4().hex if owner is None else owner
        self._lease, self._stop = lease, threading.Event()
        self._renewer: threading.Thread | None = None
        self._of_sqlite = url.get_backend_name() == "sqlite"
        arguments = {"timeout": 30.0} if self._of_sqlite else POSTGRES
        self._engine = create_engine(url, connect_args=arguments, pool_pre_ping=not self._of_sqlite, pool_size=2)
        if self._of_sqlite:
            event.listen(self._engine, "connect", _write_ahead)
        if self._of_sqlite and not Path(str(url.database)).parent.is_dir():
            raise BadInput(f"ledger {quoted(self.name, 120)}: there is no such folder; create it, or name another file")
        # Two searches may create the table at once; the second then finds it.
        with suppress(SQLAlchemyError), self._engine.begin() as connection:
            _metadata.create_all(connection)
        self._all(select(_T.hash).limit(1))

    def __enter__(self) -> SharedLedger:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is claimed and close the connection; the address can be opened again."""
        self._stop.set()
        if self._renewer is not None:
            self._renewer.join(timeout=5.0)
            with suppress(NucleateError):
                self._run(partial(self._give_back, _T.owner == self.owner))
        self._engine.dispose()

    # -- questions --------------------------------------------------------------------------------------------

    def find(self, tasks: dict[str, Atoms]) -> dict[str, Label | ReferenceFailed]:
        """Return the answers of the calculations that are finished, by hash.

        Args:
            tasks: structures by the hashes of their calculations.

        Raises:
            StorageFailed: the database cannot be reached.
        """
        found: dict[str, Label | ReferenceFailed] = {}
        for keys in _portions(list(tasks)):
            columns = (_T.hash, _T.status, _T.reason, _T.energy, _T.forces, _T.stress, _T.iterations, _T.details)
            wanted = select(*columns).where(_T.hash.in_(keys), _T.status.in_(ANSWERS))
            damaged = []
            for key, status, reason, energy, forces, stress, iterations, details in self._all(wanted):
                answer = _answer(status, reason, energy, forces, stress, iterations, details, tasks[key])
                if answer is None:
                    damaged.append(key)
                else:
                    found[key] = answer
            if damaged:
                # They can be claimed and calculated again.
                self.withdraw(damaged)
        return found

    def withdraw(self, keys: Sequence[str]) -> None:
        """Take answers back, so that these calculations are made again.

        Raises:
            StorageFailed: the database cannot be reached.
        """
        for portion in _portions(keys):
            change = _TABLE.update().where(_T.hash.in_(portion), _T.status.in_(ANSWERS)).values(status="interrupted", lease=0.0)
            self._change(change)

    def rows(self) -> Iterator[SharedRow]:
        """Iterate over all rows in the order in which they were first asked for.

        Raises:
            StorageFailed: the database cannot be reached.
        """
        columns = (_T.hash, _T.status, _T.attempts, _T.core_seconds, _T.lost_seconds, _T.owner)
        rows = self._all(select(*columns).order_by(_T.asked, _T.hash))
        return (SharedRow(*row) for row in rows)

    # -- claims -----------------------------------------------------------------------------------------------

    def claim(self, tasks: dict[str, Atoms], reference: str, settings: dict[str, Any]) -> set[str]:
        """Claim calculations that nobody has finished or is doing; return the hashes of those that are now this search's.

        Args:
            tasks: structures by the hashes of their calculations.
            reference: name of the reference.
            settings: settings of the reference.

        Raises:
            StorageFailed: the database cannot be reached.
        """
        self._begin_renewing()
        text = json.dumps(settings, sort_keys=True, default=str)
        mine: set[str] = set()
        for portion in _portions(sorted(tasks)):
            mine |= self._run(partial(self._claim, {key: tasks[key] for key in portion}, reference, text))
        return mine

    def _claim(self, tasks: dict[str, Atoms], reference: str, settings: str, connection: Connection) -> set[str]:
        now = self._now()
        free = and_(_T.status.not_in(ANSWERS), or_(_T.status.not_in(OPEN), _T.lease < now, _T.owner == self.owner))
        # An upsert locks its row even where it changes nothing, and a search that waits would hold up the owners of the rows.
        taken = select(_T.hash).where(_T.hash.in_(list(tasks)), not_(free))
        left = tasks.keys() - {row[0] for row in connection.execute(taken)}
        lost = _T.lost_seconds + case((and_(_T.status == "running", _T.seen > _T.began), _T.seen - _T.began), else_=0.0)
        mine = {"owner": self.owner, "host": socket.gethostname(), "seen": now, "lease": now + self._lease, "status": "claimed"}
        new = {"reference": reference, "settings": settings, "attempts": 0, "asked": now, "began": now, "core_seconds": 0.0}
        new |= {"lost_seconds": 0.0, "wall_seconds": 0.0}
        claimed: set[str] = set()
        # In one order, so that two searches with the same structures do not wait for each other's rows.
        for key in sorted(left):
            insert = self._insert().values(hash=key, **_structure(tasks[key]), **new, **mine)
            insert = insert.on_conflict_do_update(index_elements=[_T.hash], set_={**mine, "lost_seconds": lost}, where=free)
            claimed |= {row[0] for row in connection.execute(insert.returning(_T.hash))}
        return claimed

    def begin(self, key: str) -> bool:
        """Record that a claimed calculation is handed out, again if it was before; return whether it is still this search's.

        Raises:
            StorageFailed: the database cannot be reached.
        """
        now = self._now()
        lost = case((and_(_T.status == "running", _T.began < now), now - _T.began), else_=0.0)
        own = and_(_T.hash == key, _T.owner == self.owner, _T.status.in_(OPEN))
        values = {"status": "running", "attempts": _T.attempts + 1, "lost_seconds": _T.lost_seconds + lost, "began": now, "seen": now}
        return self._change(_TABLE.update().where(own).values(**values)) > 0

    def finish(self, key: str, answer: Label | ReferenceFailed, wall_seconds: float) -> None:
        """Record the result of a calculation; an answer that another search has recorded is kept.

        A failure that others do not accept is recorded only while the calculation belongs to this search.

        Args:
            key: hash of the calculation.
            answer: label or failure.
            wall_seconds: wall time of the calculation, s.

        Raises:
            StorageFailed: the database cannot be reached.
        """
        result = _result(answer, wall_seconds)
        where = and_(_T.hash == key, _T.status.not_in(ANSWERS))
        if result["status"] not in ANSWERS:
            where = and_(where, _T.owner == self.owner)
        self._change(_TABLE.update().where(where).values(lease=0.0, **result))

    def release(self, keys: Sequence[str]) -> None:
        """Give back claims without a result, so that other searches need not wait until the lease expires.

        Raises:
            StorageFailed: the database cannot be reached.
        """
        for portion in _portions(keys):
            own = and_(_T.owner == self.owner, _T.hash.in_(portion))
            self._run(partial(self._give_back, own))

    def publish(
        self, key: str, atoms: Atoms, reference: str, settings: dict[str, Any], answer: Label | ReferenceFailed, wall_seconds: float,
        attempts: int,
    ) -> None:  # fmt: skip
        """Record a result that was found while the database could not be reached, or before the ledger was shared.

        Args:
            key, atoms, reference, settings: the calculation.
            answer, wall_seconds: its result.
            attempts: number of times it was handed out.

        Raises:
            StorageFailed: the database cannot be reached.
        """
        now, result = self._now(), _result(answer, wall_seconds)
        row = {**_structure(atoms), "hash": key, "reference": reference, "settings": json.dumps(settings, sort_keys=True, default=str)}
        row |= {"asked": now, "seen": now, "began": now, "lease": 0.0, "owner": self.owner, "host": socket.gethostname()}
        row |= {"lost_seconds": 0.0, "attempts": attempts, **result}
        most = case((_T.attempts > attempts, _T.attempts), else_=attempts)
        insert = self._insert().values(row).on_conflict_do_update(
            index_elements=[_T.hash], set_={**result, "lease": 0.0, "attempts": most}, where=_T.status.not_in(ANSWERS)
        )  # fmt: skip
        self._change(insert)

    def unknown(self, keys: Iterable[str]) -> set[str]:
        """Return the hashes without an answer in the shared ledger.

        Raises:
            StorageFailed: the database cannot be reached.
        """
        left = set(keys)
        for portion in _portions(list(left)):
            known = select(_T.hash).where(_T.hash.in_(portion), _T.status.in_(ANSWERS))
            left -= {row[0] for row in self._all(known)}
        return left

    # -- inside -----------------------------------------------------------------------------------------------

    def _insert(self) -> Any:
        return sqlite.insert(_TABLE) if self._of_sqlite else postgresql.insert(_TABLE)

    def _now(self) -> ColumnElement[float]:
        """Seconds since 1970 by the clock of the database."""
        if self._of_sqlite:
            return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Float(53))
        return literal_column("extract(epoch from clock_timestamp())::double precision", Float(53))

    def _give_back(self, rows: ColumnElement[bool], connection: Connection) -> None:
        """Mark claims as interrupted, and count the time for which they ran."""
        now = self._now()
        lost = case((and_(_T.status == "running", _T.began < now), now - _T.began), else_=0.0)
        keys = self._locked(connection, and_(rows, _T.status.in_(("claimed", "running"))))
        change = _TABLE.update().where(_T.hash.in_(keys))
        connection.execute(change.values(status="interrupted", lease=0.0, lost_seconds=_T.lost_seconds + lost))

    def _locked(self, connection: Connection, rows: ColumnElement[bool]) -> list[str]:
        """Lock rows in the order in which claims lock them; return their hashes."""
        return [row[0] for row in connection.execute(select(_T.hash).where(rows).order_by(_T.hash).with_for_update())]

    def _all(self, query: Select[Any]) -> Sequence[Any]:
        """Return the rows of a query."""
        return self._run(lambda connection: connection.execute(query).all())

    def _change(self, statement: UpdateBase) -> int:
        """Execute a statement that changes rows; return how many it changed."""
        return self._run(lambda connection: int(connection.execute(statement).rowcount))

    def _run(self, work: Callable[[Connection], Answer]) -> Answer:
        """Do work in one transaction, again after some patience with a server that restarts or a transaction that was a victim of another.

        Raises:
            StorageFailed: the database cannot be reached, or refuses a statement.
        """
        for pause in (*PATIENCE, None):
            try:
                with self._engine.connect() as connection, connection.begin():
                    return work(connection)
            except OperationalError as error:
                if pause is None:
                    raise self._failed(error) from error
                time.sleep(pause)
            except SQLAlchemyError as error:
                raise self._failed(error) from error
        raise AssertionError

    def _failed(self, error: SQLAlchemyError) -> StorageFailed:
        cause = getattr(error, "orig", None) or error
        reason = quoted(" ".join(str(cause).split()), 200)
        then = "check the address" if self._renewer is None else "what was calculated is kept by the run, which can be resumed"
        return StorageFailed(f"the shared ledger {quoted(self.name, 120)} cannot be used: {reason}; {then}")

    def _begin_renewing(self) -> None:
        if self._renewer is None:
            self._renewer = threading.Thread(target=self._renew, daemon=True, name="lease of the shared ledger")
            self._renewer.start()

    def _renew(self) -> None:
        while not self._stop.wait(self._lease / 4):
            # A server that is away is asked again at the next turn; if it stays away, the lease expires as it should.
            with suppress(NucleateError):
                self._run(self._renew_once)

    def _renew_once(self, connection: Connection) -> None:
        now = self._now()
        keys = self._locked(connection, and_(_T.owner == self.owner, _T.status.in_(("claimed", "running"))))
        connection.execute(_TABLE.update().where(_T.hash.in_(keys)).values(seen=now, lease=now + self._lease))


def _write_ahead(connection: Any, _: object) -> None:
    """Let readers of an SQLite file not wait for a writer."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[first : first + ONCE] for first in range(0, len(keys), ONCE))


def _structure(atoms: Atoms) -> dict[str, Any]:
    moments = np.asarray(atoms.get_initial_magnetic_moments(), dtype="<f8").tobytes() if has_moments(atoms) else None
    return {
        "numbers": np.asarray(atoms.numbers, dtype="<i4").tobytes(), "cell": np.asarray(atoms.cell.array, dtype="<f8").tobytes(),
        "positions": np.asarray(atoms.positions, dtype="<f8").tobytes(), "moments": moments,
    }  # fmt: skip


def _result(answer: Label | ReferenceFailed, wall_seconds: float) -> dict[str, Any]:
    """Return the columns of a result."""
    if isinstance(answer, ReferenceFailed):
        return {"status": answer.kind, "reason": answer.reason, "core_seconds": wall_seconds, "wall_seconds": wall_seconds}
    return {
        "status": "ok", "reason": None, "energy": float(answer.energy), "forces": np.asarray(answer.forces, dtype="<f8").tobytes(),
        "stress": np.asarray(answer.stress, dtype="<f8").tobytes(), "iterations": int(answer.iterations),
        "details": json.dumps(answer.details, default=str), "core_seconds": float(answer.core_seconds), "wall_seconds": wall_seconds,
    }  # fmt: skip


def _answer(
    status: str, reason: str | None, energy: float, forces: bytes, stress: bytes, iterations: int, details: str, atoms: Atoms
) -> Label | ReferenceFailed | None:
    """Return the answer of a row; None if it is damaged, as a foreign program may have written it."""
    if status != "ok":
        return checked_answer(ReferenceFailed(reason or "", kind=status), atoms)
    try:
        label = Label(
            energy, np.frombuffer(forces, dtype="<f8").reshape(-1, 3), np.frombuffer(stress, dtype="<f8"), iterations or 0, 0.0,
            json.loads(details) if details else {},
        )  # fmt: skip
    except (TypeError, ValueError, RecursionError):
        return None
    checked = checked_answer(label, atoms)
    return checked if isinstance(checked, Label) else None
