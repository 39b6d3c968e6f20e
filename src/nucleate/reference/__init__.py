"""First-principles engines and surrogates behind one contract, the ledger, and the dispatch of calculations."""

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
