"""The wall, and that no network, however wild, can pull atoms through it."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.data import covalent_radii

from nucleate.crystals import CrystalBatch
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import ModelSettings
from nucleate.potentials.wall import wall_energy, wall_ranges

PAIRS = [(1, 1), (8, 13), (14, 14), (55, 9), (79, 79)]


def wall(distance, pair, strength=4.0):
    z_i, z_j = (torch.full_like(distance, z).long() for z in pair)
    reach = torch.full_like(distance, 0.8 * (covalent_radii[pair[0]] + covalent_radii[pair[1]]))
    return wall_energy(distance, z_i, z_j, reach, strength)


def test_ranges():
    ranges = wall_ranges((1, 8), 0.8)
    assert float(ranges[0, 1]) == pytest.approx(0.8 * (covalent_radii[1] + covalent_radii[8]))
    assert torch.equal(ranges, ranges.T)


@pytest.mark.parametrize("pair", PAIRS)
def test_monotone_and_gone_at_its_reach(pair):
    end = 0.8 * (covalent_radii[pair[0]] + covalent_radii[pair[1]])
    distance = torch.linspace(0.05, end + 0.5, 500, dtype=torch.float64)
    energy, slope = wall(distance, pair)
    inside = distance < end
    assert bool((energy[inside] > 0).all())
    assert bool((energy[inside].diff() < 0).all())
    assert bool((slope[inside] < 0).all())
    assert float(energy[~inside].abs().max()) == float(slope[~inside].abs().max()) == 0.0


@pytest.mark.parametrize("pair", PAIRS)
def test_slope_is_the_derivative(pair):
    distance = torch.linspace(0.1, 3.0, 100, dtype=torch.float64)
    h = 1e-5
    _, slope = wall(distance, pair)
    numeric = (wall(distance + h, pair)[0] - wall(distance - h, pair)[0]) / (2 * h)
    assert torch.allclose(slope, numeric, rtol=1e-5, atol=1e-5)


def test_bare_nuclei_close_by():
    """Within a hundredth of an Å screening is nearly gone: Z Z e^2 / r."""
    distance = torch.tensor([1e-3], dtype=torch.float64)
    energy, _ = wall(distance, (14, 14), strength=1.0)
    assert float(energy[0]) == pytest.approx(14 * 14 * 14.399645 / 1e-3, rel=0.03)


def wild(species, seed, dtype=torch.float64, factor=5.0):
    """A committee with output weights far larger than any training leaves, and the others `factor` times the usual."""
    model = ManyBodyCommittee(species, ModelSettings(members=3, cutoff=4.5), seed=seed, dtype=dtype)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor)
        model.weight3.copy_(torch.randn(model.weight3.shape, generator=rng, dtype=torch.float64).to(dtype))
        model.energy_scale.fill_(3.0)
    return model


def pulled_together(species, shares):
    touch = covalent_radii[species[0]] + covalent_radii[species[1]]
    return CrystalBatch.from_atoms([Atoms(species, [[0, 0, 0], [x * touch, 0, 0]], cell=[12, 12, 12], pbc=True) for x in shares])


@pytest.mark.parametrize("species", [(14, 14), (1, 8), (11, 17), (13, 13)])
@pytest.mark.parametrize("seed", range(3))
def test_two_atoms_pushed_together_repel(species, seed):
    """In every member, within 0.45 of the sum of covalent radii, with wells a hundred eV deep."""
    model = wild(tuple(set(species)), seed, factor=1.0)
    prediction = model.energy_forces_stress(pulled_together(species, np.linspace(0.45, 0.02, 60)))
    apart = prediction.forces.view(3, 60, 2, 3)[:, :, 1, 0]
    assert bool((apart > 0).all())
    assert bool((prediction.energy.diff(dim=1) > 0).all())


@pytest.mark.parametrize("species", [(14, 14), (1, 8), (11, 17), (13, 13)])
@pytest.mark.parametrize("seed", range(3))
def test_no_hole_under_the_wildest_network(species, seed):
    """Steep inner weights may put ripples on the wall, but every further seventh inwards costs more than any ripple gains."""
    model = wild(tuple(set(species)), seed)
    shares = 0.3 * 0.85 ** np.arange(16)
    energy = model.energy_forces_stress(pulled_together(species, shares)).energy
    assert bool((energy > 0).all())
    assert bool((energy.diff(dim=1) > 0).all())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("factor", [1.0, 5.0])
def test_collapsed_cell_has_growing_energy(seed, factor):
    model = wild((14,), seed, factor=factor)
    cells = []
    for share in np.linspace(0.4, 0.12, 12):
        atoms = bulk("Si")
        atoms.set_cell(share * atoms.cell.array, scale_atoms=True)
        cells.append(atoms)
    prediction = model.energy_forces_stress(CrystalBatch.from_atoms(cells))
    assert bool((prediction.energy > 0).all())
    assert bool((prediction.energy.diff(dim=1) > 0).all())
    if factor == 1.0:
        # Compressed: the stress pushes outwards.
        assert bool((prediction.stress.diagonal(dim1=-2, dim2=-1).sum(-1) < 0).all())


def test_well_has_a_floor():
    """Energies of random cells never fall below what bounded units allow."""
    model = wild((14,), 0)
    rng = np.random.default_rng(0)
    cells = [Atoms("Si6", scaled_positions=rng.random((6, 3)), cell=rng.uniform(2, 6, 3), pbc=True) for _ in range(40)]
    prediction = model.energy_forces_stress(CrystalBatch.from_atoms(cells))
    floor = -3.0 * float((model.weight3.abs().sum(2) + model.bias3.abs().sum(2)).max())
    assert bool((prediction.energy / 6 > floor).all())


def test_single_precision_survives_coinciding_atoms():
    model = wild((14,), 1, dtype=torch.float32)
    atoms = Atoms("Si2", [[0, 0, 0], [1e-5, 0, 0]], cell=[5, 5, 5], pbc=True)
    prediction = model.energy_forces_stress(CrystalBatch.from_atoms([atoms]))
    assert bool(torch.isfinite(prediction.energy).all())
    assert bool((prediction.energy > 1e3).all())
    assert bool(torch.isfinite(prediction.forces).all())
