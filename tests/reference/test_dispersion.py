"""D3(BJ): derivatives, extensivity, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

from nucleate.errors import BadInput, MissingDependency
from nucleate.reference.base import Label
from nucleate.reference.build import make_reference
from nucleate.reference.settings import ReferenceSettings

pytest.importorskip("dftd3")
from nucleate.reference.dispersion import DispersionReference, d3bj


class Nothing:
    """A reference without energy."""

    name, surrogate = "nothing", True

    def settings(self):
        return {"engine": "nothing"}

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        return Label(0.0, np.zeros((len(atoms), 3)), np.zeros(6))


def dry_ice():
    """Carbon dioxide, Pa-3, with one displaced atom so that no force vanishes by symmetry."""
    from ase.spacegroup import crystal

    atoms = crystal(["C", "O"], [(0, 0, 0), (0.118, 0.118, 0.118)], spacegroup=205, cellpar=[5.6] * 3 + [90] * 3)
    plain = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=True)
    plain.rattle(0.05, seed=3)
    return plain


def test_forces_and_stress_are_derivatives_of_the_energy():
    atoms = dry_ice()
    energy, forces, stress = d3bj(atoms, "PBE")
    # The correction binds: some tenths of an eV per molecule in a molecular crystal.
    assert -1.0 < energy / 4 < -0.1
    h = 1e-3
    for atom, axis in ((0, 0), (3, 1), (7, 2)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * h
            ends.append(d3bj(moved, "PBE")[0])
        assert -(ends[0] - ends[1]) / (2 * h) == pytest.approx(forces[atom, axis], abs=2e-5)
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        ends = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            ends.append(d3bj(moved, "PBE")[0])
        assert (ends[0] - ends[1]) / (2 * h) / atoms.get_volume() == pytest.approx(stress[k], rel=2e-3, abs=2e-6)


def test_a_supercell_has_the_same_energy_per_atom():
    cell = bulk("Ar", a=5.4)
    large = make_supercell(cell, [[1, 1, 0], [0, 2, 0], [0, 0, 1]])
    assert d3bj(large, "PBE")[0] / len(large) == pytest.approx(d3bj(cell, "PBE")[0], rel=1e-4)


def test_the_correction_is_added_and_part_of_the_settings():
    atoms = dry_ice()
    reference = DispersionReference(Nothing(), "PBE")
    energy, forces, stress = d3bj(atoms, "PBE")
    label = reference.label(atoms)
    assert label.energy == energy == label.details["dispersion_energy"]
    assert np.array_equal(label.forces, forces)
    assert np.array_equal(label.stress, stress)
    assert reference.settings()["dispersion"]["method"] == "d3bj"
    assert reference.settings() != DispersionReference(Nothing(), "PBE0").settings()
    # The parameters are those of the functional.
    assert d3bj(atoms, "revPBE")[0] != pytest.approx(energy, rel=0.05)


def test_what_is_refused():
    with pytest.raises(BadInput, match="no D3\\(BJ\\) parameters for the functional 'vdW-DF'"):
        DispersionReference(Nothing(), "vdW-DF")
    with pytest.raises(BadInput, match="dispersion has no effect on engine 'chgnet'"):
        make_reference(ReferenceSettings(engine="chgnet", dispersion="d3bj"))


def test_gpaw_with_dispersion():
    pytest.importorskip("gpaw")
    settings = ReferenceSettings(dispersion="d3bj", preset="fast", cutoff=300.0)
    try:
        reference = make_reference(settings)
    except MissingDependency as error:
        pytest.skip(str(error))
    plain = make_reference(settings.model_copy(update={"dispersion": None}))
    assert reference.settings() == {**plain.settings(), "dispersion": reference.settings()["dispersion"]}
    atoms = bulk("Ar", a=5.4)
    with_it, without = reference.label(atoms), plain.label(atoms)
    assert with_it.energy - without.energy == pytest.approx(d3bj(atoms, "PBE")[0], abs=1e-4)
    # Dispersion pulls the atoms together, so that the cell is under less compression or more tension.
    assert with_it.stress[:3].mean() > without.stress[:3].mean()
