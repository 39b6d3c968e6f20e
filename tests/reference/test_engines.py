"""Real engines and surrogates: symmetry, finite differences, and failures in one line."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator

from nucleate.errors import BadInput, MissingDependency, ReferenceFailed
from nucleate.pretrained import PRETRAINED
from nucleate.reference import ReferenceSettings, make_reference
from nucleate.reference.base import K_POINTS
from nucleate.reference.kpoints import OWN_VECTORS, KGrid


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


@pytest.mark.parametrize("name", [name for name, known in PRETRAINED.items() if known.extra == "surrogates"])
def test_surrogate_forces_and_stress_are_derivatives_of_its_energy(name):
    pytest.importorskip(PRETRAINED[name].package)
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


def almost_cubic():
    """A crystal of the search, symmetric to 1e-7 Å only: GPAW's own tolerance sees operations that are no group."""
    cell = np.array(
        [
            [-1.8430560609046432e-13, 3.6607512894223366e00, 3.6607512237561584e00],
            [3.6607516508390199e00, 6.6824357946857152e-14, 3.6607512237559070e00],
            [3.6607516508388458e00, 3.6607512894219107e00, 2.4031749988521819e-13],
        ]
    )
    scaled = np.array(
        [
            [2.5000000603551359e-01, 2.5000000747873846e-01, 2.4999999472850290e-01],
            [7.5000001063492372e-01, 7.4999999970730513e-01, 7.4999998887558295e-01],
            [9.9999994338343068e-01, 9.9999999142978691e-01, 2.6727577861513886e-08],
            [5.0000002156498102e-01, 5.0000000638716657e-01, 5.0000000207737938e-01],
            [4.9999998686129399e-01, 9.9999997587954281e-01, 9.9999999175029985e-01],
            [9.9999998151235636e-01, 5.0000002447194414e-01, 4.9999997370929578e-01],
            [9.9999998735590045e-01, 5.0000001365274516e-01, 9.9999999792805006e-01],
            [5.0000002195451743e-01, 9.9999998550775726e-01, 5.0000000268257216e-01],
            [2.7668604571378413e-08, 9.9999998638596099e-01, 5.0000000026938818e-01],
            [5.0000001361134949e-01, 5.0000000911772535e-01, 2.0780852751391167e-08],
        ]
    )
    return Atoms("AlAlAlAlOOOOOO", cell=cell, scaled_positions=scaled, pbc=True)


def test_gpaw_takes_a_crystal_that_is_only_almost_symmetric(monkeypatch):
    pytest.importorskip("gpaw")
    reference = make_reference(settings(cutoff=250, k_spacing=2.0))
    crystal = almost_cubic()
    # As it stands, on its own vectors.
    crystal.info[K_POINTS] = KGrid(OWN_VECTORS, (1, 1, 1), (False,) * 3).as_dict()
    label = reference.label(crystal)
    assert "first_try" not in label.details
    # Cubic: no force on any atom, and an isotropic stress.
    assert np.abs(label.forces).max() < 1e-6
    assert np.ptp(label.stress[:3]) < 1e-5
    # At the tolerance of GPAW's own the analysis breaks down, and the calculation is done without it.
    monkeypatch.setattr("nucleate.reference.gpaw.SYMMETRY_TOLERANCE", 1e-7)
    without = reference.label(crystal)
    assert "GPAW" in without.details["first_try"]
    assert without.energy == pytest.approx(label.energy, abs=2e-3)


def test_gpaw_is_asked_about_the_shortest_cell_of_a_lattice():
    """Angles of 26 degrees: GPAW itself warns of wrong results."""
    pytest.importorskip("gpaw")
    reference = make_reference(settings(cutoff=250, k_spacing=1.0))
    atoms = bulk("Si", a=5.43)
    atoms.positions[1] += [0.05, 0.1, 0.0]
    sheared = atoms.copy()
    sheared.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 2, 1]]) @ atoms.cell.array, scale_atoms=False)
    assert sheared.cell.angles().min() < 30
    short, long = reference.label(atoms), reference.label(sheared)
    assert long.energy == pytest.approx(short.energy, abs=5e-3)
    np.testing.assert_allclose(long.forces, short.forces, atol=0.02)
    np.testing.assert_allclose(long.stress, short.stress, atol=1e-3)


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
    # The energy jumps when plane waves cross the cutoff.
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
