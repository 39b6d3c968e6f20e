"""The shared ledger that settings name, opened for one process."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nucleate.reference.settings import ReferenceSettings
from nucleate.reference.shared.address import read_address
from nucleate.reference.shared.base import Shared


@contextmanager
def shared_ledger(settings: ReferenceSettings, owner: str | None) -> Iterator[Shared | None]:
    """Context with the shared ledger of a reference; None if the settings name none.

    Args:
        settings: settings of the reference.
        owner: name under which calculations are claimed; None: a new one.

    Raises:
        BadInput: the address is wrong.
        MissingDependency: a package that it needs is not installed.
        StorageFailed: the database cannot be reached.
    """
    if settings.ledger is None:
        yield None
        return
    read_address(settings.ledger)
    from nucleate.reference.shared.ledger import SharedLedger

    with SharedLedger(settings.ledger, owner) as shared:
        yield shared


def owner_of(ledger: Path) -> str:
    """Return the name under which a process with a ledger file of its own claims calculations; the same after it was killed."""
    return hashlib.sha256(f"{socket.gethostname()}:{ledger.resolve()}".encode()).hexdigest()[:32]
