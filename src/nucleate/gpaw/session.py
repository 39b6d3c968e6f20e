"""Checks of the installed GPAW and of the PAW data sets that it uses."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from nucleate.errors import MissingDependency


def require_gpaw() -> None:
    """Check that GPAW is installed, without importing it.

    Raises:
        MissingDependency: GPAW is not installed.
    """
    if find_spec("gpaw") is None:
        raise MissingDependency(
            "GPAW is not installed; run: make .venv/.installed (or: apt-get install libopenblas-dev libxc-dev libfftw3-dev, then "
            "pip install 'nucleate[dft]')"
        )


def setups_source() -> str:
    """Return the source of the PAW data sets: $GPAW_SETUP_PATH and the version of the package gpaw-data, joined by a colon."""
    try:
        packaged = version("gpaw-data")
    except PackageNotFoundError:
        packaged = ""
    return ":".join(part for part in (os.environ.get("GPAW_SETUP_PATH", ""), packaged) if part)
