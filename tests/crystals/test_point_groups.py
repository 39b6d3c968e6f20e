"""Point groups of molecules and clusters: known symbols, exact symmetrisation, superposition of copies."""

import numpy as np
import pytest
from ase.build import molecule
from ase.cluster import Icosahedron, Octahedron

from nucleate.crystals.point_groups import linear, point_group, superpositions, symbol_of, symmetrised_positions, turned

KNOWN = [
    ("CH4", "Td"), ("NH3", "C3v"), ("H2O", "C2v"), ("C6H6", "D6h"), ("C2H4", "D2h"), ("CO2", "Dinfh"), ("HCl", "Cinfv"), ("C60", "Ih"),
    ("C2H6", "D3d"), ("BF3", "D3h"), ("H2O2", "C2"), ("CH3OH", "Cs"), ("C3H4_D2d", "D2d"), ("N2H4", "C2"), ("trans-butane", "C2h"),
]  # fmt: skip


def centred(atoms):
    return atoms.positions - atoms.positions.mean(0)


def rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


@pytest.mark.parametrize(("name", "symbol"), KNOWN)
def test_known_molecules(name, symbol):
    atoms = molecule(name)
    positions = centred(atoms) @ rotation(1).T
    # G2 geometries are those of calculations, symmetric to a few hundredths of an ångström.
    assert symbol_of(point_group(atoms.numbers, positions, 0.05), linear(positions)) == symbol


SETS = {"icosahedron": Icosahedron("Cu", 3), "octahedron": Octahedron("Cu", 4, 1), "ring": molecule("C6H6")}


@pytest.mark.parametrize("atoms", SETS.values(), ids=list(SETS))
def test_symmetry_is_made_exact(atoms):
    rng = np.random.default_rng(2)
    positions = centred(atoms) @ rotation(3).T
    order = len(point_group(atoms.numbers, positions, 0.05))
    moved = positions + rng.normal(0, 0.02, positions.shape)
    moved -= moved.mean(0)
    assert len(point_group(atoms.numbers, moved, 1e-4)) == 1
    exact = symmetrised_positions(atoms.numbers, moved, point_group(atoms.numbers, moved, 0.2), 0.2)
    assert len(point_group(atoms.numbers, exact, 1e-7)) == order
    assert np.linalg.norm(exact - moved, axis=1).max() < 0.12


def test_linear_sets_are_made_straight():
    positions = np.array([[0.01, 0.0, -1.2], [0.0, 0.01, 0.0], [0.0, 0.0, 1.17]])
    positions -= positions.mean(0)
    numbers = np.array([8, 6, 8])
    exact = symmetrised_positions(numbers, positions, point_group(numbers, positions, 0.1), 0.1)
    assert np.linalg.svd(exact, compute_uv=False)[1] < 1e-9
    assert exact[1] == pytest.approx([0, 0, 0], abs=1e-9)


def test_copies_are_superposed():
    atoms = Octahedron("Cu", 4, 1)
    rng = np.random.default_rng(4)
    positions = centred(atoms) + rng.normal(0, 0.3, (len(atoms), 3))
    positions -= positions.mean(0)
    numbers = np.full(len(atoms), 29)
    order = rng.permutation(len(atoms))
    mirrored = (positions @ rotation(5).T)[order] * [1, 1, -1]
    (found,) = superpositions(numbers, positions, mirrored, 0.05, enough=1)
    assert np.sort((positions @ found.T)[:, 0]) == pytest.approx(np.sort(mirrored[:, 0]), abs=1e-6)
    other = positions + rng.normal(0, 0.3, positions.shape)
    assert superpositions(numbers, positions, other - other.mean(0), 0.05) == []


@pytest.mark.parametrize("n", [3, 5, 8, 18, 24, 30])
def test_rings(n):
    angles = 2 * np.pi * np.arange(n) / n
    ring = 1.4 * n / (2 * np.pi) * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1) @ rotation(n).T
    assert symbol_of(point_group(np.full(n, 6), ring, 0.1)) == f"D{n}h"


def test_large_shells_are_equal_to_themselves():
    rng = np.random.default_rng(8)
    shell = rng.normal(size=(160, 3))
    shell *= 6.0 / np.linalg.norm(shell, axis=1)[:, None]
    shell -= shell.mean(0)
    assert superpositions(np.full(160, 6), shell, shell, 0.3, enough=1)


def test_two_chains():
    line = np.outer([-1.5, 0.0, 1.5], [0, 0, 1.0])
    bent = np.array([[-1.5, 0, 0], [0, 0.6, 0], [1.5, 0, 0]])
    numbers = np.array([6, 6, 6])
    assert superpositions(numbers, line, line @ turned(np.array([1.0, 0, 0]), 0.7).T, 0.1)
    assert not superpositions(numbers, line, bent - bent.mean(0), 0.1)
    assert not superpositions(numbers, bent - bent.mean(0), line, 0.1)


def test_parity_with_pymatgen():
    """Symbols and orders beside those of another program."""
    from pymatgen.core import Molecule
    from pymatgen.symmetry.analyzer import PointGroupAnalyzer

    for name in ("CH4", "C6H6", "C2H6", "BF3", "C3H4_D2d", "Si2H6", "cyclobutane", "P2", "SiF4", "AlCl3"):
        atoms = molecule(name)
        positions = centred(atoms)
        if linear(positions):
            continue
        theirs = PointGroupAnalyzer(Molecule(atoms.numbers, positions), tolerance=0.1)
        ours = point_group(atoms.numbers, positions, 0.1)
        assert symbol_of(ours) == theirs.sch_symbol
        assert len(ours) == len(theirs.get_pointgroup())


def test_one_atom_has_one_operation():
    assert len(point_group(np.array([6]), np.zeros((1, 3)), 0.1)) == 1
    assert symbol_of(point_group(np.array([1, 1]), np.array([[0, 0, 0.4], [0, 0, -0.4]]), 0.1), straight=True) == "Dinfh"
