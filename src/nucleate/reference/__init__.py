"""First-principles engines and surrogates behind one contract, the ledger, and the dispatch of calculations."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucleate.reference.base import Label, Reference, content_hash
    from nucleate.reference.build import make_reference
    from nucleate.reference.dispatch import Dispatcher
    from nucleate.reference.ledger import Ledger, LedgerRow
    from nucleate.reference.settings import ReferenceSettings

__all__ = [
    "Dispatcher",
    "Label",
    "Ledger",
    "LedgerRow",
    "Reference",
    "ReferenceSettings",
    "content_hash",
    "make_reference",
]
_MODULES = {
    "Dispatcher": "dispatch", "Label": "base", "Reference": "base", "content_hash": "base", "Ledger": "ledger", "LedgerRow": "ledger",
    "ReferenceSettings": "settings", "make_reference": "build",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: workers that run an engine need neither torch nor the surrogates."""
    if name in _MODULES:
        return getattr(import_module(f"nucleate.reference.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'nucleate.reference' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
