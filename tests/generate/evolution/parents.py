"""Parents of the operators' tests, and what every child must be."""

from functools import lru_cache

import numpy as np
import spglib
from ase import Atoms
from ase.spacegroup import crystal

from nucleate.generate import GenerateSettings, P1Generator, Packing, SymmetricGenerator, make_packing
from nucleate.generate.distances import closest_fit
from nucleate.generate.evolution.base import limits

SYSTEMS = {"silicon": {"Si": 8}, "alumina": {"Al": 4, "O": 6}, "spinel": {"Mg": 2, "Al": 4, "O": 8}}
ONE = GenerateSettings(workers=1)


@lru_cache
def random_parents(name: str, groups: tuple[int, ...] | None = None) -> list[Atoms]:
    counts = SYSTEMS[name]
    symmetric = SymmetricGenerator(counts, GenerateSettings(workers=1, space_groups=groups)).propose(8, np.random.default_rng(1))
    free = [] if groups else P1Generator(counts, ONE).propose(4, np.random.default_rng(2))
    return [candidate.atoms for candidate in [*symmetric, *free]]


def packing_of(name: str) -> Packing:
    return make_packing(SYSTEMS[name], ONE)


def loose(packing: Packing) -> Packing:
    """Return the packing with distances so small that no atom is ever pushed."""
    return Packing(packing.symbols, packing.counts, np.full_like(packing.min_distances, 0.05), packing.volume_per_atom, packing.model)


def corundum() -> Atoms:
    atoms = crystal(
        ["Al", "O"], [(0, 0, 0.3522), (0.3064, 0, 0.25)], spacegroup=167, cellpar=[4.76, 4.76, 12.99, 90, 90, 120], primitive_cell=True
    )
    return Atoms(atoms.numbers, scaled_positions=atoms.get_scaled_positions(), cell=atoms.cell, pbc=True)


def spinel() -> Atoms:
    sites = [(0.125, 0.125, 0.125), (0.5, 0.5, 0.5), (0.2624, 0.2624, 0.2624)]
    atoms = crystal(["Mg", "Al", "O"], sites, spacegroup=227, setting=2, cellpar=[8.08] * 3 + [90] * 3, primitive_cell=True)
    return Atoms(atoms.numbers, scaled_positions=atoms.get_scaled_positions(), cell=atoms.cell, pbc=True)


def skewed(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Return the same crystal in a thin cell, with its atoms in another order and in other cells."""
    matrix = np.array([[1, 3, 0], [0, 1, 0], [2, 0, 1]])
    scaled = atoms.get_scaled_positions() @ np.linalg.inv(matrix) + rng.integers(-2, 3, (len(atoms), 3))
    order = rng.permutation(len(atoms))
    return Atoms(atoms.numbers[order], scaled_positions=scaled[order], cell=matrix @ atoms.cell.array, pbc=True)


def group(atoms: Atoms, symprec: float = 1e-3) -> int:
    """Return the number of the space group."""
    return int(spglib.get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec).number)


def rotations(atoms: Atoms, symprec: float = 1e-3) -> np.ndarray:
    return spglib.get_symmetry((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec)["rotations"]


def check_child(packing: Packing, parents: list[Atoms], child: Atoms) -> None:
    species = np.repeat(np.arange(len(packing.symbols)), packing.counts)
    assert child.get_chemical_symbols() == [packing.symbols[s] for s in species]
    assert child.pbc.all()
    assert np.isfinite(child.positions).all()
    assert np.linalg.det(child.cell.array) > 0
    scaled = child.get_scaled_positions(wrap=False)
    assert scaled.min() >= -1e-12
    assert scaled.max() <= 1.0 + 1e-12
    smallest = limits(packing, parents)[np.ix_(species, species)]
    assert closest_fit(scaled, child.cell.array, smallest) >= 1.0 - 1e-6


def positions_differ(a: Atoms, b: Atoms) -> np.ndarray:
    """Return the (N, 3) differences of the positions of two structures in the same cell to the nearest images, Å."""
    assert np.allclose(a.cell.array, b.cell.array, atol=1e-8)
    difference = b.get_scaled_positions() - a.get_scaled_positions()
    return (difference - np.round(difference)) @ a.cell.array
