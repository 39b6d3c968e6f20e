"""A reference that sleeps: its labels cost no CPU time, so that many workers run on few cores."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.reference.base import Label


class Sleeping:
    """Reference whose labels take a given time and name the worker.

    Args:
        seconds: time of a label, s.
    """

    name = "sleeping"
    surrogate = True

    def __init__(self, seconds: float):
        self.seconds = seconds

    def settings(self) -> dict[str, Any]:
        """Return the settings that determine the result."""
        return {"engine": "sleeping", "seconds": self.seconds}

    def k_points(self, atoms: Atoms) -> None:
        """Return None: there are no k-points."""

    def label(self, atoms: Atoms) -> Label:
        """Sleep; return zero energy, forces and stress."""
        time.sleep(self.seconds)
        return Label(0.0, np.zeros((len(atoms), 3)), np.zeros(6), details={"worker": os.getpid()})
