import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from nucleate.potentials.harmonics import solid_harmonics


def vectors(n=40, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=(3, n)))


@pytest.mark.parametrize("l_max", range(9))
def test_values_are_those_of_scipy(l_max):
    x, y, z = vectors().numpy()
    r = np.linalg.norm(vectors(), axis=0)
    theta, phi = np.arccos(z / r), np.arctan2(y, x)
    found = solid_harmonics(*vectors(), l_max).numpy()
    assert found.shape == ((l_max + 1) ** 2, 40)
    for l in range(l_max + 1):
        for m in range(-l, l + 1):
            # scipy has the Condon-Shortley phase (-1)^m, real harmonics do not.
            complex_one = (-1) ** m * sph_harm_y(l, abs(m), theta, phi)
            real = complex_one.real if m == 0 else 2**0.5 * (complex_one.real if m > 0 else complex_one.imag)
            assert np.allclose(found[l * l + l + m], r**l * real, rtol=1e-11, atol=1e-12), (l, m)


def test_harmonics_vanish_at_the_origin_and_scale_with_the_distance():
    zero = torch.zeros(1, dtype=torch.float64)
    assert torch.equal(solid_harmonics(zero, zero, zero, 4)[1:], torch.zeros(24, 1, dtype=torch.float64))
    one, two = solid_harmonics(*vectors(), 5), solid_harmonics(*(2 * vectors()), 5)
    for l in range(6):
        assert torch.allclose(two[l * l : (l + 1) ** 2], 2**l * one[l * l : (l + 1) ** 2])


def test_sums_of_squares_are_invariant_under_rotation():
    turn = torch.tensor(Rotation.random(random_state=4).as_matrix())
    one, two = solid_harmonics(*vectors(), 6), solid_harmonics(*(turn @ vectors()), 6)
    for l in range(7):
        part = slice(l * l, (l + 1) ** 2)
        assert torch.allclose(one[part].square().sum(0), two[part].square().sum(0))


def test_the_axis_goes_where_it_is_wanted_in_any_precision():
    v = vectors().view(3, 8, 5)
    assert torch.equal(solid_harmonics(*v, 3, dim=1), solid_harmonics(*v, 3).transpose(0, 1))
    single = solid_harmonics(*v.float(), 3)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), solid_harmonics(*v, 3), rtol=1e-4, atol=1e-5)


def test_first_and_second_derivatives():
    v = vectors(6).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: solid_harmonics(*u, 4), v)
    assert torch.autograd.gradgradcheck(lambda u: solid_harmonics(*u, 4), v)
    for k in range(25):
        # Solid harmonics are solutions of Laplace's equation.
        (slope,) = torch.autograd.grad(solid_harmonics(*v, 4)[k].sum(), v, create_graph=True, allow_unused=True, materialize_grads=True)
        if slope.requires_grad:
            parts = [
                torch.autograd.grad(slope[a].sum(), v, retain_graph=True, allow_unused=True, materialize_grads=True)[0][a] for a in range(3)
            ]
            assert torch.allclose(sum(parts), torch.zeros(6, dtype=torch.float64), atol=1e-10)
