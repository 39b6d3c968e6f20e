"""Couplings from a file of any kind that is known."""

from __future__ import annotations

from pathlib import Path

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings
from nucleate.spins.files.spirit import read_spirit
from nucleate.spins.files.table import read_table
from nucleate.spins.files.tb2j import read_tb2j


def read_couplings(path: str | Path) -> Couplings:
    """By its ending: .csv a table, .out TB2J's, .cfg Spirit's.

    Raises:
        BadInput: no such file, another ending, or what the reader refuses.
    """
    path = Path(path)
    readers = {".csv": read_table, ".out": read_tb2j, ".cfg": read_spirit}
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give couplings as .csv (a table), .out (TB2J) or .cfg (Spirit)")
    if path.suffix not in readers:
        raise BadInput(f"{path}: unknown kind of file; known: .csv (a table), .out (TB2J), .cfg (Spirit); rename it to its kind")
    return readers[path.suffix](path)
