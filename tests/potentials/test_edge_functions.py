"""Radial functions, harmonics, their gradient table and the quadrature: what forces and invariance rest on."""

import numpy as np
import pytest
import torch
from scipy.integrate import lebedev_rule
from scipy.spatial.transform import Rotation

from nucleate.crystals import CrystalBatch, neighbour_edges
from nucleate.potentials.basis import DEGREES, N_LM, harmonics, quadrature, radial, solid_gradient, sphere_rule
from nucleate.potentials.edge_basis import EdgeBasis, make_layout

CUTOFF = 5.0


def test_radial_slope_is_the_derivative():
    r = torch.linspace(0.3, CUTOFF + 0.5, 400, dtype=torch.float64).view(1, -1).requires_grad_(True)
    value, slope = radial(r, 8, CUTOFF)
    for k in range(8):
        (expected,) = torch.autograd.grad(value[:, k].sum(), r, retain_graph=True)
        assert torch.allclose(slope[:, k], expected, rtol=1e-9, atol=1e-9)


def test_radial_is_the_bessel_function():
    r = torch.tensor([[1.3]], dtype=torch.float64)
    value, _ = radial(r, 4, CUTOFF)
    x = 1.3 / CUTOFF
    expected = [np.sqrt(2 / CUTOFF) * np.sin(k * np.pi * x) / 1.3 * (1 - x * x) ** 3 for k in (1, 2, 3, 4)]
    assert np.allclose(value[0, :, 0].numpy(), expected)


def test_radial_vanishes_smoothly_at_the_cutoff():
    """Value, slope and curvature go to zero as the distance to the cutoff to the powers 4, 3 and 2 (the sine adds one)."""
    for gap in (1e-2, 1e-3):
        r = torch.tensor([[CUTOFF - gap]], dtype=torch.float64, requires_grad=True)
        value, slope = radial(r, 8, CUTOFF)
        curvature = torch.stack([torch.autograd.grad(slope[0, k, 0], r, retain_graph=True)[0] for k in range(8)])
        assert float(value.detach().abs().max()) < 5 * gap**3
        assert float(slope.detach().abs().max()) < 15 * gap**2
        assert float(curvature.abs().max()) < 40 * gap
    beyond, slope = radial(torch.tensor([[CUTOFF, CUTOFF + 1e-9, 7.0, 100.0]], dtype=torch.float64), 8, CUTOFF)
    assert float(beyond.abs().max()) == 0.0
    assert float(slope.detach().abs().max()) == 0.0


def test_the_rule_on_the_sphere_is_that_of_lebedev():
    points, weights = sphere_rule()
    theirs, their_weights = lebedev_rule(9)
    rows, their_rows = (np.round(np.column_stack([x, w]), 12) + 0.0 for x, w in ((points, weights), (theirs.T, their_weights)))
    assert np.array_equal(rows[np.lexsort(rows.T)], their_rows[np.lexsort(their_rows.T)])


def test_harmonics_are_orthonormal():
    points, weights = lebedev_rule(9)
    y = harmonics(torch.tensor(points.T)).numpy()
    assert np.allclose(np.einsum("q,qa,qb->ab", weights, y, y), np.eye(N_LM), atol=1e-12)


def test_harmonics_of_one_degree_turn_among_themselves():
    rng = np.random.default_rng(0)
    u = rng.normal(size=(50, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    turn = Rotation.random(random_state=1).as_matrix()
    before, after = harmonics(torch.tensor(u)).numpy(), harmonics(torch.tensor(u @ turn.T)).numpy()
    for degree in range(4):
        block = [lm for lm in range(N_LM) if DEGREES[lm] == degree]
        matrix, *_ = np.linalg.lstsq(before[:, block], after[:, block], rcond=None)
        assert np.allclose(before[:, block] @ matrix, after[:, block], atol=1e-12)
        assert np.allclose(matrix @ matrix.T, np.eye(len(block)), atol=1e-12)
        # Addition theorem.
        assert np.allclose((before[:, block] ** 2).sum(1), (2 * degree + 1) / (4 * np.pi))


def test_solid_gradient():
    rng = np.random.default_rng(2)
    x = torch.tensor(rng.normal(size=(20, 3)), requires_grad=True)
    r = x.norm(dim=1, keepdim=True)
    degree = torch.tensor(DEGREES, dtype=torch.float64)
    solid = harmonics(x / r) * r**degree
    table = solid_gradient()
    for lm in range(N_LM):
        (gradient,) = torch.autograd.grad(solid[:, lm].sum(), x, retain_graph=True)
        # r^(l-1) belongs to the degree being differentiated, whose gradient is of degree l - 1.
        power = r.detach().numpy() ** (DEGREES[lm] - 1)
        expected = np.einsum("ap,np->na", table[:, lm], harmonics((x / r).detach()).numpy()) * power
        assert np.allclose(gradient.numpy(), expected, atol=1e-10), lm
        used = np.abs(table[:, lm]).max(0) > 0
        assert all(DEGREES[p] == DEGREES[lm] - 1 for p in np.flatnonzero(used))


def test_quadrature_of_a_cube_is_rotation_invariant():
    y, weights = quadrature()
    rng = np.random.default_rng(3)
    u = rng.normal(size=(6, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    strength = rng.normal(size=6)

    def integral(turn):
        a = strength @ harmonics(torch.tensor(u @ turn.T)).numpy()
        return weights @ (y @ a) ** 3

    plain = integral(np.eye(3))
    assert abs(plain) > 1e-3
    for seed in range(5):
        assert integral(Rotation.random(random_state=seed).as_matrix()) == pytest.approx(plain, rel=1e-10)


@pytest.mark.parametrize("species", [(14,), (11, 17)])
def test_blocks_hold_every_edge_once_whatever_their_size(make_crystal, species):
    rng = np.random.default_rng(4)
    structures = [make_crystal(rng, list(rng.choice(species, n)), volume=15) for n in (1, 3, 7)]
    batch = CrystalBatch.from_atoms(structures)
    edges = neighbour_edges(batch, CUTOFF)
    index = torch.full((120,), -1)
    index[torch.tensor(species)] = torch.arange(len(species))
    found = []
    for block_edges in (1, 37, 10**6):
        layout = make_layout(batch, edges, index, len(species), block_edges)
        slots = torch.cat([s[~padding] for _, s, padding in layout.blocks])
        assert slots.sort().values.tolist() == list(range(len(edges.centre)))
        found.append(EdgeBasis.compute(layout, edges.vectors(batch), 5, CUTOFF).atomic)
    value, _ = radial(edges.vectors(batch).norm(dim=1).view(1, -1), 5, CUTOFF)
    unit = edges.vectors(batch) / edges.vectors(batch).norm(dim=1, keepdim=True)
    products = harmonics(unit).unsqueeze(2) * value[0].T.unsqueeze(1)
    row = edges.centre * len(species) + index[batch.numbers[edges.neighbour]]
    expected = torch.zeros_like(found[0]).index_add_(0, row, products)
    assert all(torch.allclose(a, expected, rtol=1e-12, atol=1e-13) for a in found)
