"""Elastic constants against second derivatives of the energy, relaxed cells and bulk moduli."""

import numpy as np
import pytest
from ase.build import bulk

from nucleate.polymorphs.stability.elastic import Strains, moduli
from nucleate.polymorphs.stability.phonons import Displacements
from nucleate.polymorphs.stability.supercells import primitive_cell
from nucleate.polymorphs.stability.surface import CommitteeForces
from nucleate.relax.batched import relax
from nucleate.relax.settings import RelaxSettings
from nucleate.units import GPA
from tests.conftest import PairPotential

TIGHT = RelaxSettings(fmax=1e-6, smax=1e-6, max_steps=800, patience=800)


def at_rest(atoms, potential, pressure=0.0):
    settings = TIGHT.model_copy(update={"pressure": pressure})
    return primitive_cell(relax([primitive_cell(atoms)], potential, settings)[0].atoms, 1e-3)


def constants_of(atoms, potential, size=1e-3):
    surface = CommitteeForces(potential, "pairs")
    centre = Displacements(atoms, np.eye(3, dtype=int), 0.005)
    zone_centre = centre.phonons(surface.evaluate(centre.structures, "test")).constants
    strains = Strains(atoms, size)
    return strains, strains.constants(surface.evaluate(strains.structures, "test"), zone_centre)


def curvature(atoms, potential, strain, size=1e-3, relaxed=False):
    """Return the second derivative of the energy along a (3, 3) strain, GPa; with the ions at rest if `relaxed`."""
    structures = []
    for sign in (-1, 0, 1):
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ (np.eye(3) + sign * size * strain), scale_atoms=True)
        structures.append(copy)
    if relaxed:
        ends = relax(structures, potential, RelaxSettings(fmax=1e-7, max_steps=800, patience=800, variable_cell=False))
        structures = [end.atoms for end in ends]
    low, middle, high = CommitteeForces(potential, "pairs").evaluate(structures, "test").energy[0]
    return (low + high - 2 * middle) / size**2 / atoms.get_volume() / GPA


def strain(**components):
    tensor = np.zeros((3, 3))
    for name, value in components.items():
        i, j = ("xyz".index(letter) for letter in name)
        tensor[i, j] += value / (1 if i == j else 2)
        if i != j:
            tensor[j, i] += value / 2
    return tensor


@pytest.fixture(scope="module")
def argon():
    potential = PairPotential(depth=(0.3,), cutoff=6.0)
    return at_rest(bulk("Ar", "fcc", a=4.2), potential), potential


def test_fcc_has_the_second_derivatives_of_its_energy(argon):
    atoms, potential = argon
    strains, found = constants_of(atoms, potential)
    c = found.mean
    assert len(strains.structures) == 4
    # At zero pressure the second derivatives of the energy are the elastic constants.
    assert c[0, 0] == pytest.approx(curvature(atoms, potential, strain(xx=1)), rel=2e-3)
    assert c[3, 3] == pytest.approx(curvature(atoms, potential, strain(yz=1)), rel=2e-3)
    both = curvature(atoms, potential, strain(xx=1, yy=1))
    assert c[0, 1] == pytest.approx(0.5 * (both - 2 * c[0, 0]), rel=5e-3)


def test_pair_potentials_satisfy_cauchys_relation(argon):
    _, found = constants_of(*argon)
    assert found.mean[0, 1] == pytest.approx(found.mean[3, 3], rel=2e-3)
    assert found.stable
    assert found.spread is None


@pytest.mark.parametrize("pressure", [0.0, 8.0])
def test_the_bulk_modulus_is_that_of_the_volume(pressure):
    potential = PairPotential(depth=(0.3,), cutoff=6.0)
    atoms = at_rest(bulk("Ar", "fcc", a=4.2), potential, pressure)
    _, found = constants_of(atoms, potential)
    pressures = []
    for ratio in (0.999, 1.001):
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array * ratio ** (1 / 3), scale_atoms=True)
        pressures.append(-np.trace(CommitteeForces(potential, "pairs").evaluate([copy], "test").stress[0, 0]) / 3 / GPA)
    bulk_modulus = (pressures[0] - pressures[1]) / 0.002
    assert moduli(found.mean).bulk == pytest.approx(bulk_modulus, rel=2e-3)
    if pressure:
        # Under a pressure Cauchy's relation is C12 = C44 + 2p.
        assert found.mean[0, 1] == pytest.approx(found.mean[3, 3] + 2 * pressure, rel=5e-3)


def test_relaxed_ions_are_those_of_a_relaxation():
    """In hcp the ions move under shears in the basal plane; the response must be that of relaxed cells."""
    potential = PairPotential(depth=(0.3,), cutoff=6.0)
    atoms = at_rest(bulk("Ar", "hcp", a=2.97, c=4.85), potential)
    strains, found = constants_of(atoms, potential)
    assert len(strains.structures) == 6
    c = found.mean
    for tensor, value in (
        (strain(xx=1), c[0, 0]), (strain(xy=1), c[5, 5]), (strain(zz=1), c[2, 2]), (strain(xz=1), c[4, 4]),
    ):  # fmt: skip
        assert value == pytest.approx(curvature(atoms, potential, tensor, relaxed=True), rel=5e-3)
    assert found.clamped[0, 0, 0] > c[0, 0] + 1
    # Symmetry of the hexagonal Laue class.
    assert c[5, 5] == pytest.approx(0.5 * (c[0, 0] - c[0, 1]), rel=1e-6)
    assert c[0, 2] == pytest.approx(c[1, 2], rel=1e-9)


def test_members_have_their_own_constants(argon):
    atoms, _ = argon
    _, found = constants_of(atoms, PairPotential(depth=(0.3, 0.36), cutoff=6.0))
    assert found.members[1] == pytest.approx(1.2 * found.members[0], rel=1e-6, abs=1e-6)
    assert found.spread[0, 0] == pytest.approx(0.2 * found.members[0][0, 0] / np.sqrt(2), rel=1e-6)


def test_constants_turn_with_the_crystal(argon):
    """The patterns that are applied and their number depend on the orientation; the moduli do not."""
    atoms, potential = argon
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    _, found = constants_of(atoms, potential)
    _, other = constants_of(turned, potential)
    one, two = moduli(found.mean), moduli(other.mean)
    assert two.bulk == pytest.approx(one.bulk, rel=1e-4)
    assert two.shear_bounds == pytest.approx(one.shear_bounds, rel=1e-3)


def test_a_crystal_that_shears_is_not_stable():
    """A body-centred crystal of pairs shears along its path to the close-packed one."""
    potential = PairPotential(depth=(0.3,), cutoff=6.0)
    atoms = at_rest(bulk("Ar", "bcc", a=3.4), potential)
    _, found = constants_of(atoms, potential)
    assert not found.stable
    assert found.stable_members == 0
    assert moduli(found.mean) is None
