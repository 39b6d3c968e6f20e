"""Checks of the installed GPAW and of the PAW data sets that it uses."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from nucleate.errors import MissingDependency

BUILD_PACKAGES = "build-essential python3-dev libopenblas-dev libxc-dev libfftw3-dev"
"""Packages of Debian and Ubuntu with which pip can compile GPAW."""


def require_gpaw() -> None:
    """Check that GPAW is installed, without importing it.

    Raises:
        MissingDependency: GPAW is not installed.
    """
    if find_spec("gpaw") is None:
        raise MissingDependency(
            f"GPAW is not installed; run: pip install 'nucleate[dft]', which compiles it and needs: apt-get install {BUILD_PACKAGES}; "
            "without root or a compiler: conda install -c conda-forge gpaw"
        )


def setups_source() -> str:
    """Return the source of the PAW data sets: $GPAW_SETUP_PATH and the version of the package gpaw-data, joined by a colon."""
    try:
        packaged = version("gpaw-data")
    except PackageNotFoundError:
        packaged = ""
    return ":".join(part for part in (os.environ.get("GPAW_SETUP_PATH", ""), packaged) if part)
