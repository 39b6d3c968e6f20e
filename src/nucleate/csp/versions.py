"""Versions of the programs on which a result depends."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from nucleate.csp.run_settings import RunSettings

PACKAGES = ("nucleate", "torch", "numpy", "scipy", "ase", "spglib", "pymatgen", "pyxtal")
OF_MODELS = {
    "gpaw": "gpaw", "chgnet": "chgnet", "sevennet": "sevenn", "7net": "sevenn", "so3lr": "so3krates-torch", "gfnff": "gfnff",
    "mace": "mace-torch",
}  # fmt: skip
"""Package of each engine and pretrained potential that is a Python package, by the beginning of its name."""


def versions(settings: RunSettings) -> dict[str, str]:
    """Return the versions of Python and of the installed packages that determine the decisions of a search.

    Those of programs outside Python and of the module of an ASE calculator are not known.
    """
    found = {"python": platform.python_version()}
    names = [name for name in (settings.reference.engine, settings.teacher.name, settings.model.prior) if name is not None]
    for package in dict.fromkeys((*PACKAGES, *(of for name in names for start, of in OF_MODELS.items() if name.startswith(start)))):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
