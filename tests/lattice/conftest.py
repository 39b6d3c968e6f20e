import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from nucleate.lattice.parent import Parent, make_parent


@pytest.fixture(scope="session")
def square() -> Parent:
    """Square lattice gas with a lattice constant of 2 Å."""
    return make_parent(Atoms("Li", cell=[2, 2, 10], pbc=(True, True, False)), {"Li": ["Li", "X"]})


@pytest.fixture(scope="session")
def honeycomb() -> Parent:
    """Lithium above the hexagons of graphene."""
    cell = [[2.466, 0, 0], [-1.233, 2.466 * np.sqrt(3) / 2, 0], [0, 0, 12.0]]
    atoms = Atoms("C2Li", cell=cell, scaled_positions=[[1 / 3, 2 / 3, 0.4], [2 / 3, 1 / 3, 0.4], [0, 0, 0.55]], pbc=(True, True, False))
    return make_parent(atoms, {"Li": ["Li", "X"]})


@pytest.fixture(scope="session")
def fcc() -> Parent:
    return make_parent(bulk("Al", "fcc", a=4.05), {"Al": ["Al", "Li"]})
