"""The default descriptor: invariances, smoothness, gradients; blocks find every atom."""

import math

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from nucleate.crystals.atom_images import images
from nucleate.electrons.descriptors.power_spectrum import PowerSpectrum
from nucleate.electrons.grid import Grid
from nucleate.electrons.model.blocks import block_indices, neighbourhood
from nucleate.potentials.harmonics import solid_harmonics

SPECIES = torch.tensor([[0, 1, 1, 0, 1, 0, 0, -1]])


def surroundings(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(1, 3, 3))), torch.tensor(rng.normal(size=(1, 8, 3)) * 2)


def test_harmonics_are_orthonormal_and_follow_the_addition_theorem() -> None:
    from scipy.integrate import lebedev_rule

    points, weights = lebedev_rule(17)
    y = solid_harmonics(*torch.tensor(points), 6)
    assert torch.allclose(torch.einsum("ap,bp,p->ab", y, y, torch.tensor(weights)), torch.eye(49, dtype=torch.float64), atol=1e-13)
    for l in range(7):
        own = y[l * l : (l + 1) ** 2]
        cosine = torch.tensor(points[:, 3] @ points[:, 40])
        legendre = torch.special.legendre_polynomial_p(cosine, torch.tensor(l))
        assert float(own[:, 3] @ own[:, 40]) == pytest.approx(float(legendre) * (2 * l + 1) / (4 * math.pi), abs=1e-13)


@pytest.mark.parametrize("n_species", [1, 2])
def test_features_do_not_change_under_rotation_inversion_permutation_and_padding(n_species: int) -> None:
    descriptor = PowerSpectrum(n_species, cutoff=4.5, radial=4, degree=4)
    points, atoms = surroundings()
    species = SPECIES.clamp(max=n_species - 1)
    first = descriptor(points, atoms, species)
    assert first.shape == (1, 3, descriptor.features)
    turn = torch.tensor(Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix())
    order = torch.tensor([3, 0, 2, 1, 7, 6, 4, 5])
    for other in (
        descriptor(points @ turn, atoms @ turn, species),
        descriptor(-points, -atoms, species),
        descriptor(points, atoms[:, order], species[:, order]),
        descriptor(points, atoms[:, :7], species[:, :7]),
    ):
        assert torch.allclose(first, other, atol=1e-10)


def test_features_are_smooth_at_the_cutoff_and_on_a_nucleus() -> None:
    descriptor = PowerSpectrum(1, cutoff=4.0, radial=4, degree=3)
    points = torch.zeros(1, 1, 3, dtype=torch.float64)
    fixed = torch.tensor([[1.0, 0.5, 0.2]], dtype=torch.float64)

    def at(x: float) -> torch.Tensor:
        return descriptor(
            points, torch.stack([fixed, torch.tensor([[x, 0.0, 0.0]], dtype=torch.float64)], dim=1), torch.zeros(1, 2, dtype=torch.int64)
        )

    assert torch.allclose(at(3.99999), at(4.00001), atol=1e-10)
    left, middle, right = at(-1e-4), at(0.0), at(1e-4)
    # A kink would show as a difference of slopes of order one.
    assert float((left - 2 * middle + right).abs().max() / 1e-4) < 1e-2


def test_gradients_are_right_also_on_a_nucleus() -> None:
    descriptor = PowerSpectrum(2, cutoff=4.5, radial=3, degree=3)
    points, atoms = surroundings(3)
    atoms[0, 0] = points[0, 0]
    assert torch.autograd.gradcheck(lambda p, a: descriptor(p, a, SPECIES), (points.requires_grad_(), atoms.requires_grad_()), atol=1e-4)


def test_blocks_cover_the_grid_once_and_see_every_atom_in_reach() -> None:
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.3, seed=2)
    atoms.positions += 20.0
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.2 * np.random.default_rng(0).normal(size=(3, 3))), scale_atoms=True)
    grid, cutoff = Grid(torch.tensor(atoms.cell.array), (9, 7, 10)), 5.3
    blocks = block_indices(grid.shape)
    assert sorted(np.concatenate(blocks)) == list(range(grid.size))
    around = images(torch.tensor(atoms.positions), grid.cell, cutoff)
    for block in blocks[::7]:
        points = grid.points(torch.tensor(block))[None]
        chosen, real = neighbourhood(points, around, cutoff)
        distances = (around.places[chosen[0][real[0]]][None] - points[0][:, None]).norm(dim=2)
        for k in (0, len(block) - 1):
            probe = atoms.copy()
            probe.append("H")
            probe.positions[-1] = points[0, k].numpy()
            expected = neighbor_list("id", probe, cutoff)
            expected = np.sort(expected[1][(expected[0] == len(atoms))])
            # The probe sees its own images too.
            own = np.sort(neighbor_list("d", probe[-1:], cutoff))
            found = np.sort(np.concatenate([distances[k][distances[k] < cutoff].numpy(), own]))
            assert np.allclose(found, expected)
