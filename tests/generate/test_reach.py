"""Every known ground state can come out of the symmetric generator."""

from collections import Counter

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.io import read
from ase.spacegroup import crystal
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from nucleate.generate import GenerateSettings, SymmetricGenerator
from nucleate.generate.wyckoff import space_group_sites

SYMPREC = 0.01


def dataset(atoms: Atoms):
    found = spglib.get_symmetry_dataset(
        (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist()), symprec=SYMPREC
    )
    assert found is not None
    return found


def sites_of(atoms: Atoms) -> tuple[int, Counter]:
    """Space group and multiset of (element, multiplicity, site symmetry); letters depend on the origin."""
    found = dataset(atoms)
    table = {s.letter: s for s in space_group_sites(48)[found.number - 1].sites}
    orbits = {orbit: i for i, orbit in enumerate(found.crystallographic_orbits)}
    sites: Counter = Counter()
    for i in orbits.values():
        site = table[found.wyckoffs[i]]
        sites[atoms.get_chemical_symbols()[i], site.multiplicity, site.symmetry] += 1
    return found.number, sites


def check_reachable(target: Atoms, counts: dict[str, int], *, match: bool) -> None:
    number, wanted = sites_of(target)
    generator = SymmetricGenerator(counts, GenerateSettings(workers=1))
    assert number in generator.space_groups
    filling = next(f for f in generator.builder.fillings if f.group.number == number)
    symbols = list(counts)

    def described(combination) -> Counter:
        sites = [(symbols[kind], filling.group.sites[index]) for kind, index in combination]
        return Counter((symbol, site.multiplicity, site.symmetry) for symbol, site in sites)

    combinations = [c for c in filling.every() if described(c) == wanted]
    assert combinations, f"{wanted} is not among the ways to fill {filling.group.symbol}"
    matcher = StructureMatcher(primitive_cell=True, scale=True)
    convert = AseAtomsAdaptor.get_structure
    rng = np.random.default_rng(0)
    right_group = False
    for _ in range(400):
        combination = combinations[int(rng.integers(len(combinations)))]
        candidate = generator.builder.place(filling, combination, rng)
        if candidate is None:
            continue
        found = sites_of(candidate.atoms)
        if found == (number, wanted):
            right_group = True
            if not match or matcher.fit(convert(candidate.atoms), convert(target)):
                return
    assert right_group, f"no cell with {wanted} in space group {number}"
    pytest.fail("right space group and sites, but never the target's coordinates")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("Si", {"Si": 2}),
        ("NaCl", {"Na": 1, "Cl": 1}),
        ("GaAs", {"Ga": 1, "As": 1}),
        ("Al2O3", {"Al": 4, "O": 6}),
        ("MgO", {"Mg": 1, "O": 1}),
        ("AlN", {"Al": 2, "N": 2}),
        ("CaF2", {"Ca": 1, "F": 2}),
    ],
)
def test_targets(targets, name, counts):
    check_reachable(read(targets / f"{name}.cif"), counts, match=True)


def test_spinel():
    spinel = crystal(
        ["Mg", "Al", "O"],
        [(1 / 8, 1 / 8, 1 / 8), (1 / 2, 1 / 2, 1 / 2), (0.2624, 0.2624, 0.2624)],
        spacegroup=227,
        setting=2,
        cellpar=[8.08, 8.08, 8.08, 90, 90, 90],
    )
    assert len(spinel) == 56
    check_reachable(spinel, {"Mg": 2, "Al": 4, "O": 8}, match=True)


def test_alpha_boron():
    boron = crystal(
        ["B", "B"],
        [(0.1188, 0.2376, 0.8913), (0.1967, 0.3934, 0.0243)],
        spacegroup=166,
        cellpar=[4.908, 4.908, 12.567, 90, 90, 120],
    )
    assert len(boron) == 36
    check_reachable(boron, {"B": 12}, match=False)
