"""Couplings from Green's functions: against finite differences of the energy of a model, whose sites' fields are turned one by one."""

import numpy as np
import pytest
from ase import Atoms
from scipy.special import expit

from nucleate.errors import BadInput
from nucleate.spins.couplings import tensor
from nucleate.spins.dft.cones import cone_couplings, spiral_energy
from nucleate.spins.dft.liechtenstein import (
    DIRECTIONS,
    PAULI,
    SiteBands,
    free_energy,
    full_tensors,
    isotropic_couplings,
    local_stiffness,
    poles,
    spin_frame,
    transverse_couplings,
)
from nucleate.spins.dft.waves import between_cells, on_waves, static_response

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


def of_pairs(cells):
    """The couplings of `PAIRS`."""
    first, second, shifts = PAIRS
    return cells[(*np.mod(shifts, (CELLS, 1, 1)).T, first, second)]


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
    cells = isotropic_couplings(bands, WIDTH)
    found = of_pairs(cells)
    for k, pair in enumerate(zip(*PAIRS, strict=True)):
        assert found[k] == pytest.approx(mixed_derivative(model, level, pair, (0, 0)), abs=2e-6)
    assert np.abs(found).max() > 1e-3
    # More poles change nothing.
    assert isotropic_couplings(bands, WIDTH, used=160) == pytest.approx(cells, abs=1e-10)


@pytest.mark.parametrize("seed", [0, 1])
def test_turning_all_spins_costs_nothing(seed):
    """Fields that hold the whole splitting: a site's couplings with all others and itself balance its own field."""
    bands = site_bands(chain(seed), 5.3)
    sums = isotropic_couplings(bands, WIDTH).sum(axis=(0, 1, 2, 4))
    assert sums == pytest.approx(local_stiffness(bands, WIDTH), abs=1e-9)


def test_spinors_without_orbit_are_collinear():
    model = chain(2)
    plain = of_pairs(isotropic_couplings(site_bands(model, 5.3), WIDTH))
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
    assert isotropic_couplings(bands, width) == pytest.approx(isotropic_couplings(bands, width, used=400), abs=1e-9)


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


def one_site(seed):
    """The chain whose second site has no field, and its bands."""
    model = chain(seed)
    model[2][1] = 0.0
    bands = site_bands(model, 5.3)
    return model, SiteBands(bands.mesh, bands.energies, bands.projections[..., :1, :], bands.fields[:1], bands.electrons)


@pytest.mark.parametrize("angle", [0.3, 1.2, np.pi / 2])
@pytest.mark.parametrize("wave", [0, 1, 2])
def test_a_spiral_has_the_energy_of_the_whole_ring(angle, wave):
    model, bands = one_site(0)
    turns = 2 * np.pi * wave / CELLS * np.arange(CELLS)
    directions = np.zeros((CELLS, SITES, 3))
    directions[:, 0] = np.stack([np.sin(angle) * np.cos(turns), np.sin(angle) * np.sin(turns), np.full(CELLS, np.cos(angle))], axis=-1)
    levels = np.linalg.eigvalsh(hamiltonian(model, directions)).reshape(CELLS, -1)
    found = spiral_energy(bands, WIDTH, angle, np.array([wave, 0, 0]))
    assert found == pytest.approx(free_energy(levels, bands.electrons, WIDTH), abs=1e-9)


def test_spirals_of_a_small_angle_have_liechtensteins_couplings():
    _, bands = one_site(1)
    small = on_waves(isotropic_couplings(bands, WIDTH)).real
    cone = cone_couplings(bands, WIDTH, 0.5, (CELLS, 1, 1), Atoms("H", cell=[1, 1, 1], pbc=True))
    assert np.ptp(small) > 0.01
    assert cone - cone[0, 0, 0] == pytest.approx(small - small[0, 0, 0], rel=1e-3, abs=1e-3 * np.ptp(small))


@pytest.mark.parametrize("signs", [(1, 1), (1, -1)])
def test_the_static_response_is_that_of_moments_held_in_their_directions(signs):
    """Mean-field energy of a Hubbard ring, whose moments a constraint holds, against that of the couplings of moments."""
    size, level = SITES * CELLS, 0.1
    fields = -3.0 * np.array(signs, dtype=float)
    every = np.tile(fields, CELLS)
    hops = np.tile([0.8, 0.5], CELLS)
    space = np.zeros((size, size))
    for n, hop in enumerate(hops):
        space[n, (n + 1) % size] = space[(n + 1) % size, n] = hop

    def solve(angles):
        """Moments (sites, 2) along x and z, and the potential of the electrons, with the fields turned about y."""
        e = np.stack([np.sin(angles), np.cos(angles)], axis=1)
        whole = np.einsum("ab,st->asbt", space, np.eye(2))
        whole[np.arange(size), :, np.arange(size), :] += np.einsum("nv,vst->nst", every[:, None] / 2 * e, PAULI[[0, 2]].real)
        values, vectors = np.linalg.eigh(whole.reshape(2 * size, -1))
        vectors = vectors.reshape(size, 2, -1)
        density = np.einsum("b,asb,atb->ast", expit((level - values) / WIDTH), vectors, vectors)
        potential = -WIDTH * np.logaddexp(0, (level - values) / WIDTH).sum()
        return np.einsum("ast,vts->av", density, PAULI[[0, 2]].real), potential, every[:, None] * e

    at_rest, _, _ = solve(np.zeros(size))
    repulsion = -every / at_rest[:, 1]
    assert repulsion.min() > 0

    def energy(angles):
        moments, potential, held = solve(angles)
        return potential - (held * moments).sum() / 2 - (repulsion * (moments**2).sum(axis=1)).sum() / 4

    phases = np.exp(2j * np.pi * np.arange(CELLS) / CELLS)
    bloch = np.zeros((CELLS, 2, 2), dtype=complex)
    bloch[:, 0, 1] = hops[0] + hops[1] * phases.conj()
    bloch[:, 1, 0] = bloch[:, 0, 1].conj()
    states = [np.linalg.eigh(bloch + sign * np.diag(fields) / 2) for sign in (1, -1)]
    energies = np.array([values for values, _ in states])
    projections = np.array([vectors.transpose(0, 2, 1) for _, vectors in states])[..., None]
    electrons = expit((level - energies) / WIDTH).sum() / CELLS
    bands = SiteBands((CELLS, 1, 1), energies, projections, fields[:, None, None], electrons)
    couplings = between_cells(static_response(on_waves(isotropic_couplings(bands, WIDTH))))
    cell, site = np.divmod(np.arange(size), SITES)
    matrix = couplings[(cell[None] - cell[:, None]) % CELLS, 0, 0, site[:, None], site[None]]

    angles = 0.02 * np.random.default_rng(5).normal(size=size)
    moments, _, _ = solve(angles)
    directions = np.arctan2(moments[:, 0] / np.sign(at_rest[:, 1]), moments[:, 1] / np.sign(at_rest[:, 1]))
    # Moments follow their fields in part only, and the fields' own couplings give another energy.
    assert np.abs(directions - angles).max() > 0.1 * np.abs(angles).max()
    assert energy(angles) - energy(np.zeros(size)) == pytest.approx(-directions @ matrix @ directions / 2, rel=5e-3)
