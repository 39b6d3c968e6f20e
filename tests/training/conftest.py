"""Small labelled sets made with the analytic pair potential, in files as users bring them."""

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator


@pytest.fixture(scope="module", autouse=True)
def without_figures(undrawn):
    """Figures are drawn by the tests of the page of a training."""


@pytest.fixture(scope="session")
def salt(pair_potential, make_crystal, make_label):
    """30 crystals of six compositions, ten parents."""
    rng = np.random.default_rng(3)
    teacher = pair_potential((11, 17))
    made = []
    for k in range(30):
        sodium, chlorine = 1 + k % 3, 1 + k % 2
        atoms = make_crystal(rng, ["Na"] * sodium + ["Cl"] * chlorine, volume=24, closest=2.3)
        label = make_label(teacher, atoms)
        atoms.calc = SinglePointCalculator(
            atoms, energy=label.energy - 3.0 * sodium - 5.0 * chlorine, forces=label.forces, stress=label.stress
        )
        atoms.info["parent"] = f"p{k // 3}"
        made.append(atoms)
    return made


@pytest.fixture
def salt_file(salt, tmp_path):
    path = tmp_path / "salt.extxyz"
    ase.io.write(path, salt)
    return path
