"""Magnons against closed forms, symmetries and the package's own dynamics.

For one sublattice with exchange J(q) and moment m, g = hbar gamma / mu_B:
    ferromagnet   omega = (g / m) [J(0) - J(q)]
    spiral        omega = (g / m) sqrt{[J(Q) - J(q)] [J(Q) - (J(q + Q) + J(q - Q)) / 2]}, antiferromagnets included.
"""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.errors import BadInput, NucleateError
from nucleate.spins import api
from nucleate.spins.couplings import Couplings, tensor, uniaxial
from nucleate.spins.files.table import table_text
from nucleate.spins.order.curie import coupling_waves
from nucleate.spins.simulate.dynamics import Dynamics
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.waves.frames import supercell
from nucleate.spins.waves.modes import G, Modes
from nucleate.spins.waves.state import ordered_state
from nucleate.units import HBAR, MU_B

Q = np.random.default_rng(0).uniform(-1, 1, (40, 3))
Z = np.array([0, 0, 1.0])


def lattice(bonds, j, m=2.0, cell=None, dm=None, **more):
    """One sublattice with the bonds (p, 3) and couplings (p,)."""
    n = len(bonds)
    cell = 3 * np.eye(3) if cell is None else cell
    return Couplings(cell, np.zeros((1, 3)), ("Fe",), [m], [0] * n, [0] * n, bonds, tensor(np.full(n, j, dtype=float), dm), **more)


def chain(*js, **more):
    return lattice([[k + 1, 0, 0] for k in range(len(js))], np.array(js), **more)


def square(j, **more):
    return lattice([[1, 0, 0], [0, 1, 0]], j, **more)


def cubic(j, **more):
    return lattice(np.eye(3, dtype=int), j, **more)


BCC = 1.5 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1.0]])
BCC_BONDS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]
FCC = 2.0 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0.0]])
FCC_NEAR = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 0], [1, 0, -1], [0, 1, -1]]
FCC_FAR = [[1, 1, -1], [1, -1, 1], [-1, 1, 1]]


def spiral_form(couplings, wave, q=Q):
    j = [coupling_waves(couplings, k)[:, 0, 0].real for k in (wave[None], q, q + wave, q - wave)]
    return G / couplings.moments[0] * np.sqrt(np.maximum((j[0] - j[1]) * (j[0] - (j[2] + j[3]) / 2), 0))


def energies(state, q=Q):
    return state.modes.energies(state.to_frame(q))


@pytest.mark.parametrize(
    "couplings",
    [chain(1.0), square(2.0, m=3.0), cubic(1.5), lattice(BCC_BONDS, 4.0, cell=BCC, m=2.2)],
    ids=["chain", "square", "sc", "bcc"],
)
def test_a_ferromagnet_has_its_closed_form(couplings):
    state = ordered_state(couplings)
    assert state.kind == "ferromagnet"
    j = coupling_waves(couplings, np.vstack([np.zeros(3), Q]))[:, 0, 0].real
    assert np.allclose(energies(state)[:, 0], G / couplings.moments[0] * (j[0] - j[1:]), atol=1e-9)


def test_bcc_energies_are_cosines_of_the_cubic_cell():
    x = np.pi * Q @ np.linalg.inv(BCC).T * 3.0
    expected = G / 2.2 * 4.0 * 8 * (1 - np.cos(x).prod(axis=1))
    assert np.allclose(energies(ordered_state(lattice(BCC_BONDS, 4.0, cell=BCC, m=2.2)))[:, 0], expected, atol=1e-9)


@pytest.mark.parametrize(("couplings", "z"), [(square(-1.0), 2), (cubic(-1.5), 3)], ids=["square", "sc"])
def test_an_antiferromagnet_has_its_closed_form(couplings, z):
    """omega = (g / m) 2 z |J| sqrt(1 - gamma^2) with the mean gamma of cosines over z pairs of neighbours."""
    state = ordered_state(couplings)
    assert state.kind == "antiferromagnet"
    gamma = np.cos(2 * np.pi * Q[:, :z]).mean(axis=1)
    expected = G / 2.0 * 2 * z * abs(couplings.isotropic[0]) * np.sqrt(1 - gamma**2)
    assert np.allclose(energies(state)[:, 0], expected, atol=1e-8)


def test_antiferromagnetic_resonance_with_an_easy_axis():
    """sqrt(2 w_E w_A + w_A^2) with w_E = g z J / m and w_A = 2 g K / m; a field along the axis splits it by g mu_B B."""
    couplings = square(-1.0, anisotropy=[uniaxial(0.1, Z)])
    we, wa = G / 2 * 4.0, G / 2 * 0.2
    resonance = np.sqrt(2 * we * wa + wa**2)
    state = ordered_state(couplings)
    assert state.frame.cells == 1
    assert energies(state, np.zeros((1, 3)))[0] == pytest.approx([resonance], abs=1e-9)
    assert api.magnons(couplings).gap == pytest.approx(resonance, abs=1e-9)
    # The field does not commute with rotations by pi that reverse the moments: a supercell.
    split = ordered_state(couplings, (0, 0, 3.0))
    assert split.frame.axis is None
    assert split.kind == "antiferromagnet"
    assert np.sort(energies(split, np.zeros((1, 3)))[0])[:2] == pytest.approx(
        [resonance - G * MU_B * 3, resonance + G * MU_B * 3], abs=1e-8
    )
    # Beyond the spin-flop field the moments turn across it, and one mode is soft.
    flopped = ordered_state(couplings, (0, 0, 1.2 * resonance / (G * MU_B)))
    assert abs(flopped.directions[0, 2]) < 0.5
    assert energies(flopped, np.zeros((1, 3)))[0, 0] == pytest.approx(0, abs=1e-5)


def test_ferromagnetic_resonance_with_two_axes_and_a_field():
    """sqrt[(H + 2 Kx) (H + 2 Ky)] for an easy axis z and anisotropy energies Kx, Ky of the other axes above it (C. Kittel's form)."""
    kx, ky, field, m = 0.3, 0.1, 2.0, 2.0
    anisotropy = -kx * np.outer(np.eye(3)[0], np.eye(3)[0]) - ky * np.outer(np.eye(3)[1], np.eye(3)[1])
    couplings = cubic(1.0, m=m, anisotropy=[anisotropy])
    h = MU_B * m * field
    expected = G / m * np.sqrt((h + 2 * kx) * (h + 2 * ky))
    assert api.magnons(couplings, field=(0, 0, field)).gap == pytest.approx(expected, abs=1e-9)
    # A field along the hard axis below saturation: cos = h / 2 kx.
    low = 0.5 * 2 * kx / (MU_B * m)
    tilted = ordered_state(couplings, (low, 0, 0))
    assert abs(tilted.directions[0, 0]) == pytest.approx(0.5, abs=1e-9)


def test_d_vectors_shift_the_energies_by_their_exact_amount():
    """A chain along D and the moments: omega(q) - omega(-q) = (g / m) 4 D sin(2 pi q) for moments along +D.

    Moments along +z turn counter-clockwise in time, so a wave exp(i (q R - omega t)) winds clockwise along the chain, which costs D.
    """
    d, k = 0.1, 0.3
    couplings = chain(1.0, dm=[[0, 0, d]], anisotropy=[uniaxial(k, Z)])
    state = ordered_state(couplings)
    assert state.kind == "ferromagnet"
    sign = np.sign(state.directions[0, 2])
    plus, minus = energies(state)[:, 0], energies(state, -Q)[:, 0]
    assert np.allclose(plus - minus, sign * G / 2 * 4 * d * np.sin(2 * np.pi * Q[:, 0]), atol=1e-10)
    assert np.allclose((plus + minus) / 2, G / 2 * (2 * k + 2 * (1 - np.cos(2 * np.pi * Q[:, 0]))), atol=1e-10)


@pytest.mark.parametrize("ratio", [-0.5, -0.37, -0.9])
def test_a_spiral_of_the_j1_j2_chain(ratio):
    couplings = chain(1.0, ratio)
    state = ordered_state(couplings)
    assert state.kind == "spiral"
    wave = np.array([np.arccos(-1 / (4 * ratio)) / (2 * np.pi), 0, 0])
    assert abs(state.frame.wave_vector[0]) == pytest.approx(wave[0], abs=1e-9)
    assert np.allclose(energies(state)[:, 0], spiral_form(couplings, wave), atol=1e-7)


def test_a_spiral_of_d_vectors_keeps_the_crystals_cell():
    """The rotating frame removes D: exchange sqrt(J^2 + D^2) in the plane and J across it."""
    j, d = 1.0, 0.4
    state = ordered_state(chain(j, dm=[[0, 0, d]]))
    strong = np.hypot(j, d)
    c = np.cos(2 * np.pi * Q[:, 0])
    expected = G / 2 * 2 * np.sqrt((strong - strong * c) * (strong - j * c))
    assert np.allclose(energies(state)[:, 0], expected, atol=1e-7)
    assert state.frame.axis is not None


def test_a_triangular_antiferromagnet_has_the_wave_of_three_sublattices():
    cell = np.array([[3, 0, 0], [1.5, 1.5 * 3**0.5, 0], [0, 0, 9]])
    couplings = lattice([[1, 0, 0], [0, 1, 0], [1, -1, 0]], -1.0, cell=cell)
    state = ordered_state(couplings)
    assert np.allclose(energies(state)[:, 0], spiral_form(couplings, np.array([1 / 3, 2 / 3, 0])), atol=1e-6)


def ferrimagnet(m1=2.0, m2=5.0, j=-1.0):
    """Two sublattices of the CsCl lattice."""
    shifts = -np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    return Couplings(3 * np.eye(3), [[0, 0, 0], [1.5] * 3], ("Fe", "Mn"), [m1, m2], [0] * 8, [1] * 8, shifts, tensor(np.full(8, j)))


def test_a_ferrimagnet_has_two_branches():
    """omega = |Delta| / 2 +- ..., from the 2 x 2 problem of sublattices with frequencies a = 8 g |J| / m."""
    m1, m2 = 2.0, 5.0
    state = ordered_state(ferrimagnet(m1, m2))
    assert state.kind == "ferrimagnet"
    assert state.moment == pytest.approx(3.0)
    gamma = np.cos(np.pi * Q).prod(axis=1)
    a, b = 8 * G / m1, 8 * G / m2
    root = np.sqrt((a + b) ** 2 - 4 * a * b * gamma**2)
    expected = np.stack([(root - (a - b)) / 2, (root + (a - b)) / 2], axis=1)
    assert np.allclose(energies(state), expected, atol=1e-8)
    # Expansion at q = 0: D = a b a^2 / (4 |a - b|) with gamma^2 = 1 - (pi q)^2 and the lattice constant of 3 Å.
    stiffness = api.magnons(ferrimagnet(m1, m2)).stiffness
    assert stiffness.mean == pytest.approx(a * b * 9 / 4 / (a - b), rel=1e-6)


def test_a_type_ii_antiferromagnet_of_the_fcc_lattice():
    couplings = lattice(FCC_NEAR + FCC_FAR, np.array([-1.0] * 6 + [-1.5] * 3), cell=FCC, m=4.5)
    state = ordered_state(couplings)
    assert state.kind == "antiferromagnet"
    assert np.allclose(np.sort(np.abs(state.frame.wave_vector)), [0, 0, 0.5]) or np.allclose(np.abs(state.frame.wave_vector), 0.5)
    assert np.allclose(energies(state)[:, 0], spiral_form(couplings, state.frame.wave_vector), atol=1e-7)


def anisotropic():
    """Antiferromagnet with an easy axis, D vectors and anisotropic couplings along odd directions."""
    rng = np.random.default_rng(3)
    tensors = tensor(np.array([-1.0, -1.2, -0.8]))
    extra = 0.02 * rng.normal(size=(3, 3, 3))
    axis = np.array([0.3, -0.5, 0.8])
    return Couplings(
        3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [2.0], [0] * 3, [0] * 3, np.eye(3), tensors + extra + extra.transpose(0, 2, 1),
        [uniaxial(0.2, axis)],
    )  # fmt: skip


def test_rotation_of_the_crystal_leaves_the_energies():
    before, field = anisotropic(), np.array([1.0, 2.0, -1.0])
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    after = Couplings(
        before.cell @ turn.T, before.positions, before.symbols, before.moments, before.first, before.second, before.shifts,
        turn @ before.tensors @ turn.T, turn @ before.anisotropy @ turn.T,
    )  # fmt: skip
    assert np.allclose(energies(ordered_state(before, field)), energies(ordered_state(after, turn @ field)), atol=1e-8)


@pytest.mark.parametrize("couplings", [square(-1.0, anisotropy=[uniaxial(0.1, Z)]), chain(1.0, -0.5)], ids=["collinear", "spiral"])
def test_a_supercell_and_the_rotating_frame_agree(couplings):
    """The bands of the supercell are those of the frame at q + k Q."""
    state = ordered_state(couplings)
    wave, axis = state.frame.wave_vector, state.frame.axis
    count = 2 if np.allclose(2 * wave, np.round(2 * wave)) else 6
    size = tuple(int(count if abs(x) > 1e-9 else 1) for x in wave)
    larger = supercell(couplings, size)
    cells = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).reshape(-1, 3)
    turned = Rotation.from_rotvec(2 * np.pi * (cells @ wave)[:, None] * axis).apply(np.tile(state.directions, (len(cells), 1)))
    found = Modes.about(larger.couplings, turned, np.zeros(3)).energies(Q * size)
    grid = cells / np.array(size)
    expected = np.sort(np.concatenate([energies(state, Q + k) for k in grid], axis=1), axis=1)
    assert np.allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize(
    ("couplings", "expected"),
    [
        (chain(2.0), [18.0, 0, 0]),
        (square(2.0), [18.0, 18.0, 0]),
        (cubic(2.0), [18.0, 18.0, 18.0]),
    ],
    ids=["chain", "square", "sc"],
)
def test_the_stiffness_is_that_of_the_closed_form(couplings, expected):
    """D = (g / m) J a^2 along each direction of the couplings."""
    result = api.magnons(couplings)
    assert np.allclose(result.stiffness.tensor, np.diag(expected) * G / 2, atol=1e-7)
    assert result.stiffness.mean == pytest.approx(18.0 * G / 2, rel=1e-8)
    assert result.stiffness.shorter_mean is None
    assert result.velocity is None
    area = result.dos.sum() * (result.dos_energies[1] - result.dos_energies[0])
    assert area == pytest.approx(1.0)


def test_the_stiffness_shows_the_share_of_the_longest_shell():
    near = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    far = [[1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1]]
    stiffness = api.magnons(lattice(near + far, np.array([2.0] * 3 + [0.5] * 6))).stiffness
    assert stiffness.mean == pytest.approx(G / 2 * 9 * (2.0 + 4 * 0.5), rel=1e-7)
    assert stiffness.shorter_mean == pytest.approx(G / 2 * 9 * 2.0, rel=1e-7)
    assert stiffness.shorter_distance == pytest.approx(3.0)


def test_the_velocity_of_a_cubic_antiferromagnet():
    """c = (g / m) 2 z |J| a / sqrt(3) with z = 3 pairs per site."""
    result = api.magnons(cubic(-1.0))
    assert result.velocity.mean == pytest.approx(G / 2 * 6 * 3 / 3**0.5, rel=1e-6)
    assert result.gap == 0


def test_energies_scale_with_the_inverse_moment():
    small, large = (ordered_state(ferrimagnet(2.0 * f, 5.0 * f)) for f in (1, 3))
    assert np.allclose(energies(small), 3 * energies(large), atol=1e-8)


def test_an_unstable_order_is_refused_with_its_mode():
    """Sites without a share in the leading order start parallel, but their chain is antiferromagnetic."""
    shifts = [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    two = Couplings(
        3 * np.eye(3), [[0, 0, 0], [1.5] * 3], ("Fe", "Mn"), [2.0, 2.0], [0, 0, 1], [0, 0, 1], shifts, tensor(np.array([5.0, 5.0, -1.0]))
    )
    with pytest.raises(NucleateError, match=r"unstable: its mode at q = \(.*0\.5000, .*\) has the energy curvature -4 meV"):
        ordered_state(two)


def test_an_order_that_no_frame_holds_is_refused():
    """An incommensurate spiral with anisotropy in its plane."""
    wave = chain(1.0, -0.4, anisotropy=[uniaxial(-0.3, Z) + uniaxial(0.01, np.eye(3)[0])])
    with pytest.raises(NucleateError, match="because of the on-site anisotropy no frame"):
        ordered_state(wave)


def test_a_ferromagnet_above_a_spiral_is_refused():
    """D vectors in the plane do not act on moments across it; such a ferromagnet has no soft mode, but a cycloid is lower in energy."""
    cell = np.array([[3, 0, 0], [1.5, 1.5 * 3**0.5, 0], [0, 0, 9]])
    bonds = np.array([[1, 0, 0], [0, 1, 0], [1, -1, 0]])
    dm = np.cross(Z, bonds @ cell) / 3
    with pytest.raises(NucleateError, match="because of the anisotropic couplings no frame"):
        ordered_state(lattice(bonds, 1.0, cell=cell, dm=0.5 * dm))
    # An easy axis makes the ferromagnet the state of lowest energy if D is small.
    assert ordered_state(lattice(bonds, 1.0, cell=cell, dm=0.1 * dm, anisotropy=[uniaxial(0.2, Z)])).kind == "ferromagnet"
    # In a field above saturation the antiferromagnet has the crystal's own cell.
    assert ordered_state(square(-1.0), (0, 0, 200.0)).frame.cells == 1


@pytest.mark.parametrize(("j", "d"), [(3.0, 0.0), (-3.0, 0.0), (3.0, 0.8)], ids=["ferromagnet", "antiferromagnet", "D vectors"])
def test_the_dynamics_of_the_package_has_the_same_frequencies(j, d):
    """A chain excited by small random deviations without damping: the spectrum of each wave vector peaks at omega(q)."""
    n, dt, every, samples = 16, 2.0, 2, 2048
    couplings = chain(j, m=2.0, dm=[[0, 0, d]], anisotropy=[uniaxial(abs(d), Z)])
    spins_on = SpinLattice.build(couplings, (n, 1, 1))
    rng = np.random.default_rng(1)
    spins = np.tile(Z, (n, 1)) * np.where(np.arange(n) % 2, np.sign(j), 1)[:, None] + 0.01 * rng.normal(size=(n, 3))
    spins /= np.linalg.norm(spins, axis=1, keepdims=True)
    move = Dynamics(spins_on, dt, 0.0)
    record = np.empty((samples, n), dtype=complex)
    for k in range(samples):
        record[k] = spins[:, 0] + 1j * spins[:, 1]
        move.run(spins, every, rng)
    window = np.hanning(samples)[:, None]
    spectrum = np.abs(np.fft.fft(window * np.fft.fft(record, axis=1), axis=0)) ** 2
    frequencies = HBAR * 2 * np.pi * np.fft.fftfreq(samples, dt * every)
    # Moments along +z turn as exp(i (omega t - q R)), which the transform over the chain counts as -q.
    state = ordered_state(couplings)
    sign = -1.0 if state.directions[0, 2] > 0 else 1.0
    expected = energies(state, sign * np.stack([np.arange(n) / n, np.zeros(n), np.zeros(n)], axis=1))[:, 0]
    resolution = frequencies[1]
    for q in range(1, n):
        if expected[q] > 3 * resolution:
            assert abs(frequencies[spectrum[:, q].argmax()]) == pytest.approx(expected[q], abs=1.5 * resolution)


def test_the_verb_prints_and_writes_everything(tmp_path):
    (tmp_path / "fe.csv").write_text(table_text(cubic(2.0)))
    command = ["spins", "magnons", str(tmp_path / "fe.csv"), "--path", "GXM,GR", "--points", "31"]
    more = ["--out", str(tmp_path / "bands.csv"), "--plot", str(tmp_path / "bands.svg")]
    shown = CliRunner().invoke(app, [*command, *more])
    assert shown.exit_code == 0
    assert "stiffness" in shown.output
    lines = (tmp_path / "bands.csv").read_text().splitlines()
    assert lines[0] == "label,distance,q_a,q_b,q_c,energy_1"
    assert len(lines) == 32
    assert (tmp_path / "bands.svg").stat().st_size > 1000
    data = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert data["kind"] == "ferromagnet"
    assert [label for label in data["labels"] if label] == ["G", "X", "M", "G", "R"]
    assert np.shape(data["energies"]) == (31, 1)


@pytest.mark.parametrize(
    ("options", "pairs", "message"),
    [
        (["--path", "GQ"], 3, "special points"),
        (["--points", "-3"], 3, "at least two"),
        ([], 0, "no pairs"),
        (["--field", "nan", "0", "0"], 3, "finite"),
        (["--out", "bands.txt"], 3, "csv"),
        (["--plot", "bands.xyz"], 3, "format"),
    ],
)
def test_bad_input_ends_with_one_line(tmp_path, options, pairs, message):
    text = table_text(cubic(2.0)).splitlines(keepends=True)
    (tmp_path / "fe.csv").write_text("".join(text if pairs else text[:-3]))
    ended = CliRunner().invoke(app, ["spins", "magnons", str(tmp_path / "fe.csv"), *options])
    assert ended.exit_code == 2
    lines = ended.output.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_films_and_chains_have_paths_of_their_own_dimension():
    film = lattice([[0, 1, 0], [0, 0, 1]], 1.0, cell=np.diag([20.0, 3, 3]))
    result = api.magnons(film)
    assert not result.wave_vectors[:, 0].any()
    assert {label for label in result.labels if label} == {"G", "X", "M"}
    apart = Couplings(9 * np.eye(3), [[0, 0, 0], [2, 0, 0]], ("Fe", "Fe"), [1, 1], [0], [1], [[0, 0, 0]], tensor(np.ones(1)))
    with pytest.raises(BadInput, match="do not connect cells"):
        api.magnons(apart)
