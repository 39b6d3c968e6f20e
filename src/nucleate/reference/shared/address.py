"""Address of a shared ledger: a file, or the URL of a database without a password in it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nucleate.errors import BadInput, MissingDependency, quoted

if TYPE_CHECKING:
    from sqlalchemy import URL

DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
"""Databases, and the driver of each."""
INSTALL = "pip install 'nucleate[ledger]'"


def read_address(text: str) -> URL:
    """Return the URL of a shared ledger.

    Args:
        text: URL, such as `postgresql://alice@db.example.org/labels` or `sqlite:////data/labels.db`, or the path of an SQLite file.

    Raises:
        BadInput: the database is not supported, a part of the URL is missing, or the URL contains a password.
        MissingDependency: SQLAlchemy or the driver is not installed.
    """
    if importlib.util.find_spec("sqlalchemy") is None:
        raise MissingDependency(f"a shared ledger needs SQLAlchemy; install it with: {INSTALL}")
    from sqlalchemy import URL, make_url
    from sqlalchemy.exc import ArgumentError

    if not text.strip():
        raise BadInput("ledger: the address is empty; give a file, or a URL such as postgresql://alice@host/labels")
    if is_path(text):
        return URL.create(DRIVERS["sqlite"], database=str(Path(text).absolute()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise BadInput(
            f"ledger {_without_password(text)}: is not the URL of a database; give one such as postgresql://alice@host/labels"
        ) from None
    kind = url.get_backend_name()
    if kind not in DRIVERS:
        raise BadInput(
            f"ledger {_without_password(text)}: databases of the kind '{quoted(kind, 40)}' are not supported; use {' or '.join(DRIVERS)}"
        )
    if url.drivername not in (kind, DRIVERS[kind]):
        raise BadInput(f"ledger {_without_password(text)}: the driver of {kind} is {DRIVERS[kind]}; write {kind}://")
    if url.password is not None or any("password" in name.lower() for name in url.query):
        raise BadInput(
            f"ledger {_without_password(text)}: contains a password in plain sight; remove it, and set PGPASSWORD or write ~/.pgpass"
        )
    if not url.database:
        raise BadInput(f"ledger {_without_password(text)}: names no database; add it, as in {kind}://alice@host/labels")
    if kind == "sqlite":
        if url.query or url.host:
            raise BadInput(f"ledger {_without_password(text)}: give the path of an SQLite file alone, as in sqlite:////data/labels.db")
        if not Path(url.database).is_absolute():
            raise BadInput(f"ledger {_without_password(text)}: the path is relative; write sqlite:////data/labels.db, or the path alone")
        return URL.create(DRIVERS[kind], database=url.database)
    if importlib.util.find_spec("psycopg") is None:
        raise MissingDependency(f"a ledger in PostgreSQL needs psycopg; install it with: {INSTALL}")
    return url.set(drivername=DRIVERS[kind])


def is_path(text: str) -> bool:
    """Return whether an address is the path of a file and not a URL."""
    return bool(text.strip()) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is None


def _without_password(text: str) -> str:
    """Return an address for a message, with stars in the place of whatever may be a password."""
    text = re.sub(r"(//[^:@/]*):.*@", r"\1:***@", text)
    return quoted(re.sub(r"(password=)[^&]*", r"\1***", text), 120)
