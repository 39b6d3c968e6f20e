"""Couplings from Green's functions: against finite differences of the energy of a model, whose sites' fields are turned one by one."""

import numpy as np
import pytest
from scipy.special import expit

from nucleate.errors import BadInput
from nucleate.spins.couplings import tensor
from nucleate.spins.dft.liechtenstein import (
    DIRECTIONS,
    PAULI,
    SiteBands,
    full_tensors,
    isotropic_couplings,
    local_stiffness,
    poles,
    spin_frame,
    summed_couplings,
    transverse_couplings,
)

WIDTH = 0.05
SITES, FUNCTIONS, CELLS = 2, 3, 4


def chain(seed: int, orbit: float = 0.0):
    """A ring of cells of two sites with three orbitals each: (cells, 2, M, M) hopping by distance with spin, and each site's field."""
    rng = np.random.default_rng(seed)
    size = SITES * FUNCTIONS
    own = rng.normal(size=(size, size))
    own = own + own.T
    hop = rng.normal(size=(size, size)) * 0.5
    fields = rng.normal(size=(SITES, FUNCTIONS, FUNCTIONS))
    fields = -2 * np.eye(FUNCTIONS) + 0.3 * (fields + fields.transpose(0, 2, 1))
    axis = rng.normal(size=(3, size, size)) * orbit
    # i (a - a^T) . sigma between orbitals is Hermitian and even under time reversal.
    coupling = 1j * (axis - axis.transpose(0, 2, 1))
    return own, hop, fields, coupling


def hamiltonian(model, directions):
    """Of the whole ring, (cells * size * 2) square; directions (cells, sites, 3)."""
    own, hop, fields, coupling = model
    size = SITES * FUNCTIONS
    space = np.zeros((CELLS, size, CELLS, size))
    for c in range(CELLS):
        space[c, :, c, :] += own
        space[c, :, (c + 1) % CELLS, :] += hop
        space[(c + 1) % CELLS, :, c, :] += hop.T
    whole = np.einsum("aibj,st->saitbj", space, np.eye(2)).astype(complex)
    for c in range(CELLS):
        whole[:, c, :, :, c, :] += np.einsum("vij,vst->sitj", coupling, PAULI)
        for n in range(SITES):
            rows = slice(n * FUNCTIONS, (n + 1) * FUNCTIONS)
            spin = np.einsum("v,vst->st", directions[c, n], PAULI)
            whole[:, c, rows, :, c, rows] += np.einsum("ij,st->sitj", fields[n], spin) / 2
    return whole.reshape(CELLS * size * 2, -1)


def potential(model, directions, level):
    """Grand potential, eV."""
    return -WIDTH * np.logaddexp(0, (level - np.linalg.eigvalsh(hamiltonian(model, directions))) / WIDTH).sum()


def site_bands(model, electrons, spinors=False):
    """Its eigenstates on the mesh of k-points that the ring stands for, moments along z."""
    own, hop, fields, coupling = model
    size = SITES * FUNCTIONS
    up = np.zeros((CELLS, SITES, 3))
    up[..., 2] = 1.0
    k = np.arange(CELLS) / CELLS
    local = np.zeros((size, size))
    for n in range(SITES):
        rows = slice(n * FUNCTIONS, (n + 1) * FUNCTIONS)
        local[rows, rows] = fields[n] / 2
    bloch = own + np.exp(2j * np.pi * k)[:, None, None] * hop + np.exp(-2j * np.pi * k)[:, None, None] * hop.T
    if not spinors:
        energies, vectors = zip(*(np.linalg.eigh(bloch + sign * local) for sign in (1, -1)), strict=True)
        projections = np.array(vectors).transpose(0, 1, 3, 2).reshape(2, CELLS, size, SITES, FUNCTIONS)
        return SiteBands((CELLS, 1, 1), np.array(energies), projections, fields, electrons)
    whole = np.einsum("kij,st->ksitj", bloch, np.eye(2)) + np.einsum("ij,st->sitj", local, PAULI[2])
    whole = (whole + np.einsum("vij,vst->sitj", coupling, PAULI)).reshape(CELLS, 2 * size, 2 * size)
    energies, vectors = np.linalg.eigh(whole)
    projections = vectors.transpose(0, 2, 1).reshape(1, CELLS, 2 * size, 2, SITES, FUNCTIONS).transpose(0, 1, 2, 4, 3, 5)
    return SiteBands((CELLS, 1, 1), energies[None], projections, fields, electrons)


PAIRS = (np.array([0, 0, 1, 0, 1]), np.array([1, 0, 0, 1, 1]), np.array([[0, 0, 0], [1, 0, 0], [1, 0, 0], [2, 0, 0], [2, 0, 0]]))


def mixed_derivative(model, level, pair, axes, step=2e-3):
    """-d2 Omega / d e_i d e_j by moving the directions across z."""
    i, j, shift = pair
    total = 0.0
    for a in (1, -1):
        for b in (1, -1):
            directions = np.zeros((CELLS, SITES, 3))
            directions[..., 2] = 1.0
            # Lengths stay one to first order in each: the second-order change of one site's length is no mixed derivative.
            directions[0, i, axes[0]] += a * step
            directions[shift[0] % CELLS, j, axes[1]] += b * step
            total += a * b * potential(model, directions, level)
    return -total / (4 * step**2)


def test_poles_are_the_fermi_function():
    x, residue = poles(60)
    energies = np.array([-800.0, -30.0, -1.0, 0.0, 2.0, 500.0])
    fraction = 0.5 - (residue * (1 / (energies[:, None] - 1j * x) + 1 / (energies[:, None] + 1j * x))).sum(axis=1).real
    assert fraction == pytest.approx(expit(-energies), abs=1e-11)


@pytest.mark.parametrize("seed", [0, 1])
def test_couplings_are_second_derivatives_of_the_energy(seed):
    model = chain(seed)
    bands = site_bands(model, 5.3)
    level = bands.fermi_level(WIDTH)
    found = isotropic_couplings(bands, WIDTH, *PAIRS)
    for k, pair in enumerate(zip(*PAIRS, strict=True)):
        assert found[k] == pytest.approx(mixed_derivative(model, level, pair, (0, 0)), abs=2e-6)
    assert np.abs(found).max() > 1e-3
    # More poles change nothing.
    assert isotropic_couplings(bands, WIDTH, *PAIRS, used=160) == pytest.approx(found, abs=1e-10)


@pytest.mark.parametrize("seed", [0, 1])
def test_turning_all_spins_costs_nothing(seed):
    """Fields that hold the whole splitting: a site's couplings with all others and itself balance its own field."""
    bands = site_bands(chain(seed), 5.3)
    j, cell = (a.ravel() for a in np.meshgrid(np.arange(SITES), np.arange(CELLS), indexing="ij"))
    shifts = np.column_stack([cell, 0 * cell, 0 * cell])
    sums = summed_couplings(bands, WIDTH)
    for i in range(SITES):
        every = isotropic_couplings(bands, WIDTH, np.full(len(j), i), j, shifts)
        assert [every[j == other].sum() for other in range(SITES)] == pytest.approx(sums[i], abs=1e-10)
        assert every.sum() == pytest.approx(local_stiffness(bands, WIDTH)[i], abs=1e-9)


def test_spinors_without_orbit_are_collinear():
    model = chain(2)
    plain = isotropic_couplings(site_bands(model, 5.3), WIDTH, *PAIRS)
    found = transverse_couplings(site_bands(model, 5.3, spinors=True), WIDTH, *PAIRS)
    assert found == pytest.approx(plain[:, None, None] * np.eye(2), abs=1e-10)


def test_spin_orbit_couplings_are_second_derivatives_too():
    model = chain(3, orbit=0.4)
    bands = site_bands(model, 5.3, spinors=True)
    level = bands.fermi_level(WIDTH)
    found = transverse_couplings(bands, WIDTH, *PAIRS)
    for k, pair in enumerate(zip(*PAIRS, strict=True)):
        for a in range(2):
            for b in range(2):
                assert found[k, a, b] == pytest.approx(mixed_derivative(model, level, pair, (a, b)), abs=5e-6)
    assert np.abs(found[:, 0, 1] - found[:, 1, 0]).max() > 1e-3


@pytest.mark.parametrize("width", [0.002, 0.3])
def test_poles_are_as_many_as_the_width_asks_for(width):
    bands = site_bands(chain(0), 5.3)
    assert isotropic_couplings(bands, width, *PAIRS) == pytest.approx(isotropic_couplings(bands, width, *PAIRS, used=400), abs=1e-9)


def test_bands_must_hold_the_electrons():
    with pytest.raises(BadInput, match="use more bands"):
        site_bands(chain(0), 12.0).fermi_level(WIDTH)


def test_a_hop_that_turns_spins_makes_a_dzyaloshinskii_moriya_vector():
    """Spins that turn by 2a about n on the way see the neighbour in a turned frame: to first order D = 2 a J n, and J stays."""
    field, hop, angle = -1.5, 0.4, 1e-4
    axis = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    fields = np.full((2, 1, 1), field)
    pair = (np.array([0]), np.array([1]), np.zeros((1, 3), dtype=int))
    across = []
    for direction in DIRECTIONS:
        # In the frame of the moments.
        n = spin_frame(direction) @ axis
        turn = np.cos(angle) * np.eye(2) + 1j * np.sin(angle) * np.einsum("v,vst->st", n, PAULI)
        own = field / 2 * PAULI[2]
        energies, vectors = np.linalg.eigh(np.block([[own, hop * turn], [hop * turn.conj().T, own]]))
        projections = vectors.T.reshape(1, 1, 4, 2, 2, 1)
        across.append(transverse_couplings(SiteBands((1, 1, 1), energies[None, None], projections, fields, 2.0), WIDTH, *pair))
    (found,) = full_tensors(np.array(across))
    j = np.trace(found) / 3
    assert abs(j) > 0.01
    assert found == pytest.approx(tensor(j, 2 * angle * j * axis), abs=1e-7 * abs(j))
