"""Functions of vectorised loops against the mathematical library, and their random numbers."""

import numpy as np
from numba import njit
from scipy.stats import kstest

from nucleate.spins.simulate import vector_math
from nucleate.spins.simulate.vector_math import KERNEL, normals


@njit(**{**KERNEL, "cache": False})
def _all(x, y, found):
    for i in range(len(x)):
        found[0, i] = vector_math.log(x[i])
        found[1, i] = vector_math.exp_negative(y[i])
        found[2, i], found[3, i] = vector_math.sine_cosine(x[i])


def test_functions_agree_with_the_library():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.random(10000), [1e-300, 2.0**-53, 0.5, 0.125, 1.0 - 2.0**-53, 1.0], np.linspace(0.0625, 1, 16)])
    y = np.concatenate([-np.geomspace(1e-12, 690, 10000), -rng.random(len(x) - 10001) * 40, [0.0]])
    found = np.empty((4, len(x)))
    _all(x, y, found)
    assert np.allclose(found[0], np.log(x), rtol=1e-14, atol=1e-15)
    assert np.allclose(found[1], np.exp(y), rtol=1e-13, atol=0)
    assert np.allclose(found[2], np.sin(2 * np.pi * x), rtol=0, atol=1e-14)
    assert np.allclose(found[3], np.cos(2 * np.pi * x), rtol=0, atol=1e-14)


def test_normal_numbers_are_normal_and_independent():
    found = np.empty(40001)
    normals(found, 2.0, np.empty(512), np.random.default_rng(1))
    assert kstest(found / 2, "norm").pvalue > 1e-3
    for lag in (1, 256, 512):
        assert abs(np.corrcoef(found[:-lag], found[lag:])[0, 1]) < 5 / 200
        assert abs(np.corrcoef(found[:-lag] ** 2, found[lag:] ** 2)[0, 1]) < 5 / 200
