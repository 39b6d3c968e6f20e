"""References that misbehave on purpose; a module of its own, so that worker processes can import it."""

import os
import time

import numpy as np
from ase.calculators.emt import EMT

from nucleate.errors import ReferenceFailed
from nucleate.reference.base import Label


class Emt:
    """Effective-medium copper; trouble is written into the structure's first coordinate."""

    name = "fake"
    surrogate = True

    def __init__(self, marker=None):
        self.marker = marker

    def settings(self):
        return {"engine": "fake"}

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        if self.marker:
            with open(self.marker, "a") as stream:  # noqa: PTH123
                stream.write("call\n")
        trouble = round(float(atoms.positions[0, 0]), 3)
        if trouble == 0.111:
            raise ReferenceFailed("no convergence after 3 iterations", kind="unconverged")
        if trouble == 0.222:
            time.sleep(30)
        if trouble == 0.333:
            os._exit(7)
        if trouble == 0.444:
            raise ZeroDivisionError("engine bug")
        atoms = atoms.copy()
        atoms.calc = EMT()
        return Label(atoms.get_potential_energy(), np.array(atoms.get_forces()), np.array(atoms.get_stress()))
