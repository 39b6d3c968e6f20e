"""Real engines and surrogates: symmetry, finite differences, and failures in one line."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator

from nucleate.errors import BadInput, MissingDependency, ReferenceFailed
from nucleate.reference import ReferenceSettings, make_reference
from nucleate.reference.kpoints import k_grid


def settings(**given):
    return ReferenceSettings.model_validate(given)


def finite_differences(reference, atoms, step=0.01):
    """Force on atom 0 along x and stress xx, by central differences of the energy."""
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[0, 0] += sign * step
        energies.append(reference.label(moved).energy)
    force = -(energies[0] - energies[1]) / (2 * step)
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strain = np.eye(3)
        strain[0, 0] += sign * step
        strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        energies.append(reference.label(strained).energy)
    return force, (energies[0] - energies[1]) / (2 * step * atoms.get_volume())


def test_k_grid_counts_two_pi():
    cell = bulk("Si", cubic=True, a=5.43)
    # |b| = 2 pi / 5.43 = 1.157 1/Å
    assert k_grid(cell, 0.30) == (4, 4, 4)
    assert k_grid(cell, 1.2) == (1, 1, 1)
    assert k_grid(cell * (2, 1, 1), 0.30) == (2, 4, 4)


@pytest.mark.parametrize("name", ["chgnet", "sevennet"])
def test_surrogate_forces_and_stress_are_derivatives_of_its_energy(name):
    pytest.importorskip({"chgnet": "chgnet", "sevennet": "sevenn"}[name])
    reference = make_reference(settings(engine=name))
    assert reference.surrogate
    atoms = bulk("NaCl", "rocksalt", a=5.5)
    atoms.rattle(0.08, seed=1)
    label = reference.label(atoms)
    force, stress = finite_differences(reference, atoms)
    assert label.forces[0, 0] == pytest.approx(force, abs=2e-2)
    assert label.stress[0] == pytest.approx(stress, abs=1.5e-3)
    assert label.stress.shape == (6,)


def test_gpaw_keeps_the_symmetry_of_diamond():
    pytest.importorskip("gpaw")
    reference = make_reference(settings(preset="fast"))
    label = reference.label(bulk("Si", a=5.47))
    assert not reference.surrogate
    assert np.abs(label.forces).max() < 1e-3
    np.testing.assert_allclose(label.stress[:3], label.stress[0], atol=1e-5)
    np.testing.assert_allclose(label.stress[3:], 0, atol=1e-5)
    # PBE at 5.47 Å is within 1 GPa of its equilibrium.
    assert abs(label.stress[0]) < 0.0062
    assert label.iterations > 3
    assert label.core_seconds > 0


def test_gpaw_that_does_not_converge_says_so():
    pytest.importorskip("gpaw")
    reference = make_reference(settings(preset="fast", max_iterations=2))
    with pytest.raises(ReferenceFailed) as caught:
        reference.label(bulk("Si", a=5.47))
    assert caught.value.kind == "unconverged"


def test_gpaw_is_not_asked_about_overlapping_atoms():
    pytest.importorskip("gpaw")
    atoms = bulk("Si", a=5.47)
    atoms.positions[1] = atoms.positions[0] + 0.2
    with pytest.raises(ReferenceFailed, match="apart"):
        make_reference(settings()).label(atoms)


@pytest.mark.slow
def test_gpaw_forces_and_stress_are_derivatives_of_its_energy():
    pytest.importorskip("gpaw")
    reference = make_reference(settings(cutoff=400, k_spacing=0.6, smearing=0.01))
    atoms = bulk("Si", a=5.3)
    atoms.rattle(0.05, seed=2)
    label = reference.label(atoms)
    force, stress = finite_differences(reference, atoms)
    assert label.forces[0, 0] == pytest.approx(force, abs=0.02)
    # The number of plane waves changes with the cell at fixed cutoff: Pulay stress of a few tenths of a GPa is left.
    assert label.stress[0] == pytest.approx(stress, abs=0.003)


def test_any_ase_calculator():
    reference = make_reference(settings(engine="ase", calculator="ase.calculators.emt:EMT"))
    atoms = bulk("Cu", a=3.5, cubic=True)
    atoms.rattle(0.05, seed=0)
    label = reference.label(atoms)
    force, stress = finite_differences(reference, atoms)
    assert label.forces[0, 0] == pytest.approx(force, abs=1e-2)
    assert label.stress[0] == pytest.approx(stress, abs=1e-3)


class WithoutStress(Calculator):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


def test_calculator_without_stress_is_refused():
    with pytest.raises(BadInput, match="stress"):
        make_reference(settings(engine="ase", calculator="tests.reference.test_engines:WithoutStress"))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"engine": "ase"}, BadInput, "module:Class"),
        ({"engine": "ase", "calculator": "ase.calculators.emt:ETM"}, BadInput, "ETM"),
        ({"engine": "ase", "calculator": "no.such.module:X"}, MissingDependency, "pip install"),
        ({"engine": "espresso", "command": "no-such-pw.x"}, MissingDependency, "apt-get install quantum-espresso"),
        ({"engine": "espresso", "command": "true"}, BadInput, "pseudopotentials"),
        ({"engine": "vasp", "command": "no-such-vasp"}, MissingDependency, "VASP"),
        ({"engine": "cp2k", "command": "no-such-cp2k"}, MissingDependency, "cp2k"),
    ],
)
def test_what_is_missing_is_said_in_one_line(given, error, words):
    with pytest.raises(error, match=words) as caught:
        make_reference(settings(**given))
    assert "\n" not in str(caught.value)
