"""Reading of couplings from any supported file format."""

from __future__ import annotations

from pathlib import Path

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings
from nucleate.spins.files.spirit import read_spirit
from nucleate.spins.files.table import read_table
from nucleate.spins.files.tb2j import read_tb2j


def read_couplings(path: str | Path) -> Couplings:
    """Read couplings; the suffix selects the format: .csv (table), .out (TB2J) or .cfg (Spirit).

    Raises:
        BadInput: The file does not exist, its suffix is unknown, or its content cannot be read.
    """
    path = Path(path)
    readers = {".csv": read_table, ".out": read_tb2j, ".cfg": read_spirit}
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give couplings as .csv (table), .out (TB2J) or .cfg (Spirit)")
    if path.suffix not in readers:
        raise BadInput(f"{path}: unknown file format; the suffix must be .csv (table), .out (TB2J) or .cfg (Spirit)")
    return readers[path.suffix](path)
