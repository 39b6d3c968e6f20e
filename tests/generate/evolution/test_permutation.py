import numpy as np
import pytest
from ase import Atoms

from nucleate.generate import make_packing
from nucleate.generate.evolution.permutation import Permutation, exchanged
from nucleate.generate.evolution.permutation_strain import PermutationStrain
from nucleate.generate.evolution.sites import sites_of
from nucleate.generate.tries import NotPlaced
from tests.generate.evolution.parents import corundum, group, loose, packing_of, random_parents, rotations, spinel


def as_set(atoms: Atoms) -> set:
    return {tuple(row) for row in np.round(atoms.get_scaled_positions() % 1.0, 6) % 1.0}


def test_positions_are_conserved_and_species_are_not():
    packing = loose(packing_of("alumina"))
    rng = np.random.default_rng(0)
    start = sites_of(packing, corundum())
    exchanges = set()
    for _ in range(30):
        child = Permutation(packing, symmetric=0.0)([corundum()], rng)
        assert np.allclose(child.cell.array, start.cell)
        assert as_set(child) == as_set(Atoms(corundum().numbers, scaled_positions=start.scaled, cell=start.cell, pbc=True))
        aluminium = as_set(child[child.numbers == 13])
        before = as_set(Atoms("Al4", scaled_positions=start.scaled[:4], cell=start.cell, pbc=True))
        exchanges.add(4 - len(aluminium & before))
    assert exchanges == {1, 2, 3, 4}


def test_pushed_atoms_stay_near_their_places():
    packing = packing_of("spinel")
    rng = np.random.default_rng(0)
    for parent in random_parents("spinel")[:5]:
        child = Permutation(packing)([parent], rng)
        assert child.get_volume() == pytest.approx(parent.get_volume())


def test_whole_orbits_keep_the_symmetry():
    packing = loose(packing_of("spinel"))
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(10):
        child = Permutation(packing, symmetric=1.0)([spinel()], rng)
        counts.append(len(np.unique(rotations(child), axis=0)))
        assert group(child) not in (1, 227)
    assert min(counts) >= 2
    alone = [group(Permutation(packing, symmetric=0.0)([spinel()], rng)) for _ in range(10)]
    assert np.mean([number == 1 for number in alone]) > 0.3


def test_orbits_of_equal_size_keep_the_whole_group():
    # Rocksalt and its exchange are the same crystal, so the orbits of caesium chloride are exchanged within a ternary one.
    packing = loose(make_packing({"Cs": 1, "Ca": 1, "Cl": 3}))
    perovskite = Atoms(
        "CsCaCl3", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)], cell=[5.4] * 3, pbc=True
    )
    child = Permutation(packing, symmetric=1.0)([perovskite], np.random.default_rng(0))
    assert group(child) == 221
    caesium = child.get_scaled_positions()[0]
    assert np.allclose(caesium, 0.5)


def test_only_two_species_are_exchanged_in_half_of_the_cases():
    sites = sites_of(packing_of("spinel"), spinel())
    rng = np.random.default_rng(0)
    kept = [(exchanged(sites, rng).species[6:] == 2).all() for _ in range(200)]
    # Magnesium and aluminium are one of three pairs of species.
    assert 0.08 < np.mean(kept) < 0.35


def test_elements_cannot_be_exchanged():
    packing = packing_of("silicon")
    assert not Permutation.applicable(packing)
    assert not PermutationStrain.applicable(packing)
    for operator in (Permutation(packing), PermutationStrain(packing)):
        with pytest.raises(NotPlaced, match="one species"):
            operator([random_parents("silicon")[0]], np.random.default_rng(0))


def test_permutation_strain_keeps_the_volume_and_changes_the_cell():
    packing = packing_of("alumina")
    child = PermutationStrain(packing)([corundum()], np.random.default_rng(0))
    assert child.get_volume() == pytest.approx(corundum().get_volume())
    assert not np.allclose(np.sort(child.cell.lengths()), np.sort(corundum().cell.lengths()), rtol=1e-2)
    plain = PermutationStrain(loose(packing), sigma=(0.0, 0.0))([corundum()], np.random.default_rng(0))
    assert np.allclose(plain.cell.array, sites_of(packing, corundum()).cell)
