"""Versions of the programs on which a result depends."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("nucleate", "torch", "numpy", "scipy", "ase", "spglib", "pymatgen", "pyxtal")
OF_ENGINES = {"gpaw": "gpaw", "chgnet": "chgnet", "sevennet": "sevenn", "so3lr": "so3krates-torch", "gfnff": "gfnff", "mace": "mace-torch"}
"""Package of each engine that is a Python package."""


def versions(engine: str) -> dict[str, str]:
    """Return the versions of Python and of the installed packages that determine the decisions of a search.

    Args:
        engine: engine of the reference; that of a program outside Python is in the details of its labels, if the program states it.
    """
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, OF_ENGINES.get(engine.partition(":")[0])):
        if name is None:
            continue
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
