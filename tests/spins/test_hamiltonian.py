"""The stored convention, what it refuses, and the tables that carry it."""

import numpy as np
import pytest
from ase import Atoms

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings, tensor, uniaxial
from nucleate.spins.files.table import read_table, table_text
from nucleate.spins.simulate.dynamics import Dynamics
from nucleate.spins.simulate.fields import energy, fields
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.units import MU_B


def pair(j=1.0, dm=(0.0, 0.0, 0.0), **more):
    return Couplings(10 * np.eye(3), [[0, 0, 0], [2, 0, 0]], ("Mn", "Fe"), [2.0, 3.0], [0], [1], [[0, 0, 0]], tensor([j], [dm]), **more)


def messy(seed=0, sites=3, pairs=12):
    """Random tensors between random sites: nothing that symmetry could hide."""
    rng = np.random.default_rng(seed)
    seen, first, second, shifts = set(), [], [], []
    while len(first) < pairs:
        i, j = rng.integers(sites, size=2)
        r = tuple(int(x) for x in rng.integers(-2, 3, size=3))
        if (i == j and r == (0, 0, 0)) or (i, j, r) in seen or (j, i, tuple(-x for x in r)) in seen:
            continue
        seen.add((i, j, r))
        first.append(i), second.append(j), shifts.append(r)
    onsite = rng.normal(size=(sites, 3, 3))
    return Couplings(
        4 * np.eye(3) + 0.2 * rng.normal(size=(3, 3)), rng.uniform(0, 4, (sites, 3)), ("Fe",) * sites, rng.uniform(1, 3, sites),
        first, second, shifts, rng.normal(size=(pairs, 3, 3)), onsite + onsite.transpose(0, 2, 1),
    )  # fmt: skip


def test_two_spins_have_the_energies_that_the_convention_says():
    up, down, x, y = np.array([0, 0, 1.0]), np.array([0, 0, -1.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    assert pair(2.5).energy([up, up]) == pytest.approx(-2.5)
    assert pair(2.5).energy([up, down]) == pytest.approx(2.5)
    # -D . (e_1 x e_2) with D along z and e_1 x e_2 along z.
    assert pair(0.0, (0, 0, 0.7)).energy([x, y]) == pytest.approx(-0.7)
    assert pair(0.0, (0, 0, 0.7)).energy([y, x]) == pytest.approx(0.7)
    easy = pair(0.0, anisotropy=[uniaxial(0.3, [0, 0, 2]), np.zeros((3, 3))])
    assert easy.energy([down, x]) == pytest.approx(-0.3)
    assert easy.energy([x, x]) == pytest.approx(0.0)
    assert pair(0.0).energy([up, up], (0, 0, 2.0)) == pytest.approx(-MU_B * 2 * 5)


def test_parts_of_a_tensor_come_back():
    rng = np.random.default_rng(0)
    j, d = rng.normal(size=5), rng.normal(size=(5, 3))
    c = Couplings(5 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1], [0] * 5, [0] * 5, np.arange(15).reshape(5, 3), tensor(j, d))
    assert np.allclose(c.isotropic, j)
    assert np.allclose(c.dm, d)


@pytest.mark.parametrize("size", [(4, 4, 4), (1, 1, 1), (2, 3, 1)])
def test_a_supercell_has_the_energy_of_its_pairs(size):
    couplings = messy()
    lattice = SpinLattice.build(couplings, size, (1.0, -2.0, 30.0))
    spins = lattice.random(np.random.default_rng(1))
    of = spins.reshape(*size, 3, 3)
    expected = 0.0
    for index in np.ndindex(*size):
        for i, j, r, t in zip(couplings.first, couplings.second, couplings.shifts, couplings.tensors, strict=True):
            expected -= of[index][i] @ t @ of[tuple((np.array(index) + r) % size)][j]
        for i in range(3):
            e = of[index][i]
            expected -= e @ couplings.anisotropy[i] @ e + MU_B * couplings.moments[i] * e @ [1.0, -2.0, 30.0]
    assert energy(lattice, spins) == pytest.approx(expected, abs=1e-10)


def test_fields_are_derivatives_of_the_energy():
    lattice = SpinLattice.build(messy(), (2, 2, 2), (3.0, 1.0, -20.0))
    spins = lattice.random(np.random.default_rng(2))
    found = fields(lattice, spins)
    for i, a in ((0, 0), (7, 1), (20, 2)):
        ends = []
        for step in (1e-4, -1e-4):
            moved = spins.copy()
            moved[i, a] += step
            ends.append(energy(lattice, moved))
        assert found[i, a] == pytest.approx(-(ends[0] - ends[1]) / 2e-4, abs=1e-7)


def test_open_ends_lose_the_pairs_that_leave():
    chain = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1], [0], [0], [[1, 0, 0]], tensor([1.0]))
    for periodic, bonds in (((True, True, True), 5), ((False, True, True), 4)):
        lattice = SpinLattice.build(chain, (5, 1, 1), periodic=periodic)
        assert energy(lattice, lattice.aligned()) == pytest.approx(-bonds)


@pytest.mark.parametrize("couplings", [pair(1.0), pair(1.0, (0.1, 0.2, 0.3)), messy()], ids=["isotropic", "dm", "tensor"])
def test_a_table_reads_back_exactly(tmp_path, couplings):
    path = tmp_path / "couplings.csv"
    path.write_text(table_text(couplings))
    back = read_table(path)
    for name in ("cell", "positions", "moments", "first", "second", "shifts", "anisotropy"):
        assert np.array_equal(getattr(back, name), getattr(couplings, name)), name
    assert np.allclose(back.tensors, couplings.tensors, rtol=0, atol=1e-12)
    assert table_text(back) == table_text(couplings)


HEADER = """# pairs = "{pairs}"
# sign = "{sign}"
# spins = "{spins}"
# unit = "{unit}"
# cell = [[9, 0, 0], [0, 9, 0], [0, 0, 9]]
# [[site]]
# symbol = "Mn"
# position = [0, 0, 0]
# moment = 2.0
# [[site]]
# symbol = "Fe"
# position = [2, 0, 0]
# moment = 3.0
"""
STATED = {"pairs": "once", "sign": "minus", "spins": "unit", "unit": "meV"}
TWICE = "i,j,a,b,c,J,Dx,Dy,Dz\n0,1,0,0,0,1.0,0,0,0.5\n1,0,0,0,0,1.0,0,0,-0.5\n"


@pytest.mark.parametrize(
    ("stated", "body", "j"),
    [
        ({}, "i,j,a,b,c,J\n0,1,0,0,0,1.5\n", 1.5),
        ({"sign": "plus"}, "i,j,a,b,c,J\n0,1,0,0,0,1.5\n", -1.5),
        ({"unit": "eV"}, "i,j,a,b,c,J\n0,1,0,0,0,0.0015\n", 1.5),
        ({"spins": "moment"}, "i,j,a,b,c,J\n0,1,0,0,0,0.25\n", 1.5),
        ({"pairs": "twice"}, "i,j,a,b,c,J\n0,1,0,0,0,0.75\n1,0,0,0,0,0.75\n", 1.5),
    ],
)
def test_conventions_of_tables_end_in_one(tmp_path, stated, body, j):
    path = tmp_path / "c.csv"
    path.write_text(HEADER.format(**{**STATED, **stated}) + body)
    found = read_table(path)
    assert found.isotropic == pytest.approx([j])
    # The energy of the two states says the same as the number.
    e = [[0, 0, 1.0], [0, 0, 1.0]], [[0, 0, 1.0], [0, 0, -1.0]]
    assert found.energy(e[1]) - found.energy(e[0]) == pytest.approx(2 * j)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("i,j,a,b,c,J\n0,1,0,0,0,1\n", "unknown convention"),
        (HEADER.format(**{**STATED, "pairs": "thrice"}) + "i,j,a,b,c,J\n0,1,0,0,0,1\n", "unknown convention"),
        (HEADER.format(**{**STATED, "pairs": "twice"}) + "i,j,a,b,c,J\n0,1,0,0,0,1\n", "has no reverse pair"),
        (HEADER.format(**{**STATED, "pairs": "twice"}) + TWICE.replace("-0.5", "0.5"), "D vector is not minus"),
        (HEADER.format(**{**STATED, "pairs": "twice"}) + TWICE.replace("1,0,0,0,0,1.0", "1,0,0,0,0,2.0"), "coupling differs"),
        (HEADER.format(**STATED) + TWICE, "occurs twice"),
        (HEADER.format(**STATED) + "i,j,a,b,c,J\n0,1,0,0,0,nan\n", "not a finite number"),
        (HEADER.format(**STATED) + "i,j,a,b,c,J\n0,1,0,0,0,x\n", "not a number"),
        (HEADER.format(**STATED) + "i,j,a,b,c,J\n0,7,0,0,0,1\n", "beyond the 2"),
        (HEADER.format(**STATED) + "i,j,a,b,c,J\n", "no pairs"),
        (HEADER.format(**STATED) + "i,j,a,b,c,J\n0,0,0,0,0,1\n", "coupled with itself"),
        (HEADER.format(**STATED).replace("moment = 3.0", "moment = 0.0") + "i,j,a,b,c,J\n0,1,0,0,0,1\n", "no positive magnetic moment"),
    ],
)
def test_tables_that_cannot_be_trusted_are_refused(tmp_path, text, words):
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        read_table(path)


def test_atoms_give_their_sites():
    atoms = Atoms("OFeMn", positions=[[0, 0, 0], [1, 1, 1], [3, 1, 1]], cell=[6, 6, 6], pbc=True)
    found = Couplings.from_atoms(atoms, np.array([1, 2]), [-2.0, 3.0], first=[0], second=[1], shifts=[[0, 0, 0]], tensors=tensor([1.0]))
    assert found.symbols == ("Fe", "Mn")
    assert found.moments.tolist() == [2.0, 3.0]
    assert found.distances == pytest.approx([2.0])


@pytest.mark.parametrize("wrong", [{"timestep": 0.0}, {"damping": -1.0}, {"temperature": -1.0}, {"scheme": "euler"}])
def test_dynamics_refuses_what_it_cannot_run(wrong):
    lattice = SpinLattice.build(pair(), (2, 1, 1))
    with pytest.raises(BadInput):
        Dynamics(lattice, **{"timestep": 1.0, "damping": 0.1, **wrong})


def test_no_couplings_no_lattice():
    lonely = Couplings(np.eye(3), np.zeros((1, 3)), ("Fe",), [1], [], [], np.zeros((0, 3)), np.zeros((0, 3, 3)))
    with pytest.raises(BadInput, match="no couplings"):
        SpinLattice.build(lonely, (2, 2, 2))
