"""Compile the kernels of searches and spin simulations, so that processes that start side by side do not each compile them.

    python tools/compile_kernels.py

numba keeps the compiled kernels beside the sources; a second run takes seconds.
"""

import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

SEARCH = {
    "reference": {"calculator": "ase.calculators.emt:EMT", "workers": 0},
    "search": {"pool": 4, "first_batch": 2, "batch": 1, "max_rounds": 1, "proof": False, "check": False},
    "generate": {"workers": 1, "prototype_share": 0.0},
    "model": {"members": 2, "radial": 4, "channels": 4, "hidden": 8},
    "training": {"steps": 2, "warm_steps": 2},
    "relax": {"max_steps": 2, "workers": 1},
}


def search() -> None:
    """Run a tiny search."""
    from nucleate import api

    with tempfile.TemporaryDirectory() as folder:
        api.search("Al2", reference="ase", settings=SEARCH, out=Path(folder) / "run")


def spins() -> None:
    """Run tiny simulations."""
    from ase.build import bulk

    from nucleate.spins import api

    couplings = api.assign_shells(bulk("Fe", cubic=True), {"Fe": 2.2}, [10.0, 5.0])
    short = {"sizes": [3, 8], "temperatures": [300.0, 400.0], "measurements": 64, "interval": 1, "equilibration": 1}
    for how in ({}, {"method": "dynamics"}, {"method": "dynamics", "scheme": "heun"}):
        api.simulate(couplings, settings={**short, **how})


if __name__ == "__main__":
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for task in [pool.submit(search), pool.submit(spins)]:
            task.result()
    sys.exit()
