"""Pretrained potentials posing as references, for tests and benchmarks: always named as surrogates.

CHGNet: B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi 10.1038/s42256-023-00716-3.
7net-0: Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi 10.1021/acs.jctc.4c00190.
"""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.stress import full_3x3_to_voigt_6_stress

from nucleate.errors import MissingDependency, ReferenceFailed
from nucleate.reference.base import Label


@lru_cache(maxsize=4)
def _calculator(name: str) -> Calculator:
    """Loaded once a process; the packages' own chatter is kept off the terminal."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if name == "chgnet":
            from chgnet.model.dynamics import CHGNetCalculator

            return CHGNetCalculator(use_device="cpu")
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator("7net-0", device="cpu")


class SurrogateReference:
    """CHGNet or 7net-0 as a reference.

    Args:
        name: `chgnet` or `sevennet`.

    Raises:
        MissingDependency: the package is not installed.
    """

    surrogate = True

    def __init__(self, name: str):
        self.name = name
        package = {"chgnet": "chgnet", "sevennet": "sevenn"}[name]
        if find_spec(package) is None:
            raise MissingDependency(f"{package} is not installed; run: pip install 'nucleate[surrogates]'")
        self._version = version(package)

    def settings(self) -> dict[str, Any]:
        """Name and version: they decide everything."""
        return {"engine": self.name, "version": self._version}

    def label(self, atoms: Atoms) -> Label:
        """One evaluation."""
        started = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                calculator = _calculator(self.name)
                calculator.calculate(atoms, ["energy", "forces", "stress"], ["positions"])
                results = calculator.results
            stress = np.array(results["stress"], dtype=float)
            if stress.shape == (3, 3):
                stress = full_3x3_to_voigt_6_stress(stress)
            label = Label(
                float(results["energy"]),
                np.array(results["forces"], dtype=float),
                stress,
                core_seconds=time.process_time() - started,
            )
        except Exception as error:  # The packages raise bare exceptions, for isolated atoms among others.
            raise ReferenceFailed(f"{self.name}: {type(error).__name__}: {error}") from error
        if not (np.isfinite(label.energy) and np.isfinite(label.forces).all() and np.isfinite(label.stress).all()):
            raise ReferenceFailed(f"{self.name}: a result is not a finite number")
        return label
