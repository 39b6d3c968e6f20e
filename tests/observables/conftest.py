"""Measured patterns made by other codes than ours."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.io.ase import AseAtomsAdaptor


def rutile(a=4.594, c=2.959, x=0.305):
    built = crystal("TiO", [(0, 0, 0), (x, x, 0)], spacegroup=136, cellpar=[a, a, c, 90, 90, 90])
    return Atoms(built.numbers, positions=built.positions, cell=built.cell.array, pbc=True)


def anatase(a=3.785, c=9.514, z=0.208):
    built = crystal("TiO", [(0, 0, 0), (0, 0, z)], spacegroup=141, cellpar=[a, a, c, 90, 90, 90])
    return Atoms(built.numbers, positions=built.positions, cell=built.cell.array, pbc=True)


def pattern_of(atoms, wavelength="CuKa", first=10.0, last=90.0, sigma=0.08, background=0.0, counts=None, rng=None):
    """Peaks of pymatgen with Gaussian profiles, a sloping background and Poisson noise."""
    peaks = XRDCalculator(wavelength).get_pattern(AseAtomsAdaptor.get_structure(atoms), two_theta_range=(first, last))
    x = np.arange(first, last, 0.02)
    y = sum(a * np.exp(-0.5 * ((x - c) / sigma) ** 2) for c, a in zip(peaks.x, peaks.y, strict=True)) / 100
    y = y + background * (1 + np.exp(-x / 20))
    return x, y if counts is None else rng.poisson(counts * y).astype(float)


@pytest.fixture(scope="session")
def polymorphs():
    return {"rutile": rutile(), "anatase": anatase(), "rocksalt": bulk("TiO", "rocksalt", 4.18)}


@pytest.fixture(scope="session")
def measure():
    return pattern_of


@pytest.fixture
def rng():
    return np.random.default_rng(7)
