import numpy as np
import pytest
import torch
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from scipy.linalg import expm, expm_frechet

from nucleate.crystals import strain
from nucleate.crystals.strain import frechet_adjoint, full_from_voigt, voigt_from_full


@pytest.fixture(params=[True, False], ids=["kernels", "torch"], autouse=True)
def kernels(request, monkeypatch):
    if request.param:
        pytest.importorskip("numba")
    monkeypatch.setattr(strain, "HAS_KERNELS", request.param)


def test_deformation_against_scipy():
    rng = np.random.default_rng(3)
    log = rng.normal(size=(6, 3, 3)) * np.array([0.0, 1e-9, 0.01, 0.3, 2.0, 8.0])[:, None, None]
    found = strain.deformation(torch.as_tensor(log)).numpy()
    for one, expected in zip(found, map(expm, log), strict=True):
        assert np.allclose(one, expected, rtol=1e-11, atol=1e-13 * np.abs(expected).max())
    assert not np.isfinite(strain.deformation(torch.full((1, 3, 3), torch.nan, dtype=torch.float64)).numpy()).any()


def test_frechet_adjoint_against_scipy():
    rng = np.random.default_rng(0)
    log = rng.normal(size=(6, 3, 3)) * np.array([0, 1e-3, 0.1, 0.5, 1.0, 2.0])[:, None, None]
    # The last three are not symmetric: nothing here may rely on symmetry.
    log[:3] = 0.5 * (log[:3] + log[:3].transpose(0, 2, 1))
    outer = rng.normal(size=(6, 3, 3))
    found = frechet_adjoint(torch.as_tensor(log), torch.as_tensor(outer)).numpy()
    for k in range(6):
        for i in range(3):
            for j in range(3):
                direction = np.zeros((3, 3))
                direction[i, j] = 1.0
                derivative = expm_frechet(log[k], direction, compute_expm=False)
                assert np.isclose(found[k, i, j], np.sum(derivative * outer[k]), rtol=1e-10, atol=1e-12)


def test_frechet_adjoint_is_the_gradient():
    rng = np.random.default_rng(1)
    log = torch.as_tensor(0.4 * rng.normal(size=(3, 3, 3))).requires_grad_(True)
    outer = torch.as_tensor(rng.normal(size=(3, 3, 3)))
    (torch.linalg.matrix_exp(log) * outer).sum().backward()
    assert torch.allclose(frechet_adjoint(log.detach(), outer), log.grad, rtol=1e-12)
    assert np.allclose(torch.linalg.matrix_exp(log.detach())[0].numpy(), expm(log[0].detach().numpy()))


def test_voigt_order_is_that_of_ase():
    rng = np.random.default_rng(2)
    full = rng.normal(size=(3, 3))
    full = full + full.T
    voigt = voigt_from_full(torch.as_tensor(full))
    assert np.allclose(voigt.numpy(), full_3x3_to_voigt_6_stress(full))
    assert np.allclose(full_from_voigt(voigt).numpy(), voigt_6_to_full_3x3_stress(voigt.numpy()))
    batch = torch.as_tensor(rng.normal(size=(2, 4, 6)))
    assert torch.equal(voigt_from_full(full_from_voigt(batch)), batch)
