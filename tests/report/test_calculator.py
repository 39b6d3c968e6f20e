"""The committee as an ASE calculator."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from nucleate.errors import BadInput
from nucleate.potentials.calculator import NucleateCalculator
from nucleate.potentials.files import save_committee
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import ModelSettings


@pytest.fixture(scope="module")
def committee():
    import torch

    settings = ModelSettings(radial=4, channels=4, hidden=8, members=3)
    return ManyBodyCommittee((13, 29), settings, seed=1, dtype=torch.float64)


def crystal():
    atoms = bulk("Cu", "fcc", a=3.7, cubic=True)
    atoms.symbols[0] = "Al"
    atoms.rattle(0.1, seed=2)
    return atoms


def test_forces_and_stress_are_the_energy_s_derivatives(committee):
    atoms = crystal()
    atoms.calc = NucleateCalculator(committee)
    assert atoms.get_forces() == pytest.approx(atoms.calc.calculate_numerical_forces(atoms, d=1e-4), abs=1e-5)
    numerical = atoms.calc.calculate_numerical_stress(atoms, d=1e-5)
    assert atoms.get_stress() == pytest.approx(numerical, abs=1e-6)


def test_the_committee_s_results(committee, tmp_path):
    save_committee(tmp_path / "m.safetensors", committee, sigma_factor=2.5)
    atoms = crystal()
    atoms.calc = NucleateCalculator(tmp_path / "m.safetensors")
    energy = atoms.get_potential_energy()
    results = atoms.calc.results
    assert results["free_energy"] == energy == pytest.approx(results["energies_committee"].mean())
    assert results["forces"] == pytest.approx(results["forces_committee"].mean(0))
    assert results["forces_committee"].shape == (3, 4, 3)
    assert results["sigma"] == pytest.approx(2.5 * results["energies_committee"].std(ddof=1) / 4)
    assert results["forces_sigma"].shape == (4,)


def test_it_drives_ase_s_optimiser(committee):
    atoms = crystal()
    atoms.calc = NucleateCalculator(committee)
    before = atoms.get_potential_energy()
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-5, steps=15)
    assert atoms.get_potential_energy() < before
    assert np.isfinite(atoms.get_stress()).all()


def test_what_it_cannot_compute_is_said(committee):
    gold = bulk("Au")
    gold.calc = NucleateCalculator(committee)
    with pytest.raises(BadInput, match="not Au"):
        gold.get_potential_energy()
    molecule = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]])
    molecule.calc = NucleateCalculator(committee)
    with pytest.raises(BadInput, match="pbc=True"):
        molecule.get_potential_energy()
    with pytest.raises(BadInput, match="no such model file"):
        NucleateCalculator("nowhere.safetensors")
