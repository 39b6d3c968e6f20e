"""A search that labels twenty structures with a shared ledger, to be killed: `python one_search.py ADDRESS LEDGER INVOICES LEASE`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nucleate.reference import Dispatcher, Ledger
from nucleate.reference.shared.ledger import SharedLedger
from tests.reference.fakes import Paid
from tests.shared_ledger.structures import copper

if __name__ == "__main__":
    address, ledger, invoices, owner = sys.argv[1:]
    with SharedLedger(address, owner, lease=1.0) as shared, Dispatcher(Paid(invoices, 0.05), Ledger(ledger), shared=shared) as dispatcher:
        dispatcher.label_many([copper(0.001 * k) for k in range(20)], "train", 0)
