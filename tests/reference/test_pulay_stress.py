"""The Pulay stress from the wave functions at the cutoff, against differences of energies at a fixed cutoff."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

from nucleate.gpaw.pulay import WINDOW, _at_cutoff, _sums, pulay_stress
from nucleate.reference import make_reference
from nucleate.reference.settings import ReferenceSettings


@pytest.mark.parametrize("rate", [-2.0, 0.0, 3.0, 12.0])
def test_a_decay_of_the_assumed_form_is_extrapolated_exactly(rate):
    x = np.linspace(1 - WINDOW, 1.0, 20001)
    weights = 0.7 * np.exp(rate * (1 - x**2)) * (x[1] - x[0])
    assert _at_cutoff(*_sums(x, weights)) == pytest.approx(0.7, rel=1e-3)


def test_plane_waves_that_cross_the_cutoff_change_nothing_at_once():
    x = np.linspace(1 - WINDOW, 1.0, 11)
    weights = np.exp(3 * (1 - x**2))
    assert _at_cutoff(*_sums(x[1:-1], weights[1:-1])) == pytest.approx(_at_cutoff(*_sums(x, weights)), rel=1e-12)


def test_a_basis_without_plane_waves_near_the_cutoff_has_none():
    assert _at_cutoff(*_sums(np.empty(0), np.empty(0))) == 0.0


def test_stress_is_the_derivative_of_energies_at_the_cutoff():
    """At 450 eV oxygen is far from converged: without the Pulay stress, the error is 33 GPa."""
    pytest.importorskip("gpaw")
    reference = make_reference(ReferenceSettings(engine="gpaw", preset="fast", k_spacing=0.6))
    assert reference.settings()["stress"] == "fixed cutoff"
    cell = bulk("MgO", "rocksalt", a=4.25)
    volumes, energies, labels = [], [], []
    for factor in (0.97, 1.0, 1.03):
        atoms = cell.copy()
        atoms.set_cell(cell.cell * factor ** (1 / 3), scale_atoms=True)
        labels.append(reference.label(atoms))
        volumes.append(atoms.get_volume())
        energies.append(labels[-1].energy)
    slope = (energies[2] - energies[0]) / (volumes[2] - volumes[0])
    stress, pulay = labels[1].stress[:3].mean(), labels[1].details["pulay_stress"]
    assert np.ptp(labels[1].stress[:3]) < 1e-5
    # Energies jump when plane waves cross the cutoff, and the extrapolation is good to about a tenth of the Pulay stress.
    assert abs(stress - slope) < 0.25 * abs(pulay)
    assert abs(stress - pulay - slope) > 0.75 * abs(pulay)
    assert pulay < -0.1


def test_cells_of_one_crystal_have_one_pulay_stress():
    """Two k-points and a doubled cell with real wave functions are one calculation, with and without symmetry and spins."""
    pytest.importorskip("gpaw")
    from gpaw import GPAW, PW

    cell = bulk("SiC", "zincblende", a=4.38)

    def calculated(atoms, **keywords):
        atoms.calc = GPAW(mode=PW(350), xc="LDA", txt=None, convergence={"density": 1e-5, "eigenstates": 1e-8}, **keywords)
        atoms.get_potential_energy()
        return pulay_stress(atoms.calc)

    points = {"size": (2, 1, 1), "gamma": True}
    found = [
        calculated(cell, kpts=points),
        calculated(cell, kpts=points, symmetry={"point_group": False}),
        calculated(cell, kpts=points, spinpol=True),
        calculated(make_supercell(cell, np.diag([2, 1, 1])), kpts=(1, 1, 1)),
    ]
    np.testing.assert_allclose(found, found[0], rtol=1e-3)
    assert found[0] < 0


@pytest.mark.slow
def test_the_stress_of_a_layer_is_the_derivative_in_its_plane():
    """A sheet of boron nitride with vacuum, which has no stress along its normal."""
    pytest.importorskip("gpaw")
    reference = make_reference(ReferenceSettings(engine="gpaw", preset="fast"))
    strains, energies, labels = np.array([-0.01, 0.0, 0.01]), [], []
    for strain in strains:
        a = 2.51 * (1 + strain)
        cell = [[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, 12.0]]
        sheet = Atoms("BN", cell=cell, scaled_positions=[[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]], pbc=[True, True, False])
        labels.append(reference.label(sheet))
        energies.append(labels[-1].energy)
        if strain == 0:
            volume = sheet.get_volume()
    slope = (energies[2] - energies[0]) / 0.02
    stress, pulay = labels[1].stress, labels[1].details["pulay_stress"]
    assert abs(2 * volume * stress[0] - slope) < 0.25 * abs(2 * volume * pulay)
    assert abs(stress[2]) < 0.25 * abs(pulay)
