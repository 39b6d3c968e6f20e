"""What the dispatcher asks of a ledger that several searches share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from ase import Atoms

from nucleate.errors import ReferenceFailed
from nucleate.reference.base import Label

ANSWERS = ("ok", "unconverged")
"""Statuses of calculations that other searches accept. Any other failure may be that of a machine or of a time limit."""


class Shared(Protocol):
    """A ledger of several searches; `nucleate.reference.shared.ledger.SharedLedger` describes each method."""

    def find(self, tasks: dict[str, Atoms]) -> dict[str, Label | ReferenceFailed]:
        """Return the answers of finished calculations."""
        ...

    def claim(self, tasks: dict[str, Atoms], reference: str, settings: dict[str, Any]) -> set[str]:
        """Claim calculations that nobody has finished or is doing."""
        ...

    def begin(self, key: str) -> bool:
        """Record that a calculation is handed out; return whether it is still this search's."""
        ...

    def finish(self, key: str, answer: Label | ReferenceFailed, wall_seconds: float) -> None:
        """Record a result."""
        ...

    def release(self, keys: Sequence[str]) -> None:
        """Give back claims without a result."""
        ...

    def withdraw(self, keys: Sequence[str]) -> None:
        """Take answers back."""
        ...

    def unknown(self, keys: Iterable[str]) -> set[str]:
        """Return the hashes without an answer."""
        ...

    def publish(
        self, key: str, atoms: Atoms, reference: str, settings: dict[str, Any], answer: Label | ReferenceFailed, wall_seconds: float,
        attempts: int,
    ) -> None:  # fmt: skip
        """Enter an earlier result."""
        ...
