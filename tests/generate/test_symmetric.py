import numpy as np
import pytest
import spglib

from nucleate.errors import BadInput, GenerationFailed
from nucleate.generate import GenerateSettings, SymmetricGenerator
from nucleate.generate.distances import closest_fit
from tests.generate.conftest import same

ALUMINA = {"Al": 4, "O": 6}


@pytest.fixture(scope="module")
def alumina():
    return SymmetricGenerator(ALUMINA, GenerateSettings(workers=1))


@pytest.fixture(scope="module")
def hundred(alumina):
    return alumina.propose(100, np.random.default_rng(0))


def test_exact_composition_distances_and_volume(alumina, hundred):
    packing = alumina.builder.packing
    kinds = np.repeat([0, 1], [4, 6])
    limits = packing.min_distances[np.ix_(kinds, kinds)]
    for candidate in hundred:
        atoms = candidate.atoms
        assert atoms.get_chemical_symbols() == ["Al"] * 4 + ["O"] * 6
        assert atoms.pbc.all()
        assert closest_fit(atoms.get_scaled_positions(), np.array(atoms.cell), limits) >= 1.0 - 1e-6
        factor = atoms.get_volume() / (10 * packing.volume_per_atom)
        assert 0.9 <= factor <= 1.4
        assert candidate.details["volume"] == pytest.approx(atoms.get_volume())
        lengths = atoms.cell.lengths()
        assert lengths.max() / lengths.min() < 8


def test_cells_have_the_symmetry_asked_for(hundred):
    for candidate in hundred:
        atoms = candidate.atoms
        found = spglib.get_symmetry_dataset(
            (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist()), symprec=1e-3
        )
        assert found is not None
        asked = candidate.details["space_group"]
        general = max(spglib.get_symmetry_from_database(spglib_hall(asked))["rotations"].shape[0] // centrings(asked), 1)
        # The group found contains the one asked for, so its order on this cell is a multiple (Lagrange).
        assert len(found.rotations) % general == 0


def spglib_hall(number: int) -> int:
    return next(h for h in range(1, 531) if spglib.get_spacegroup_type(h).number == number)


def centrings(number: int) -> int:
    symbol = spglib.get_spacegroup_type(spglib_hall(number)).international_short
    return {"P": 1, "A": 2, "C": 2, "I": 2, "F": 4, "R": 3}[symbol[0]]


def test_many_space_groups_occur_and_p1_does_not(alumina, hundred):
    groups = {candidate.details["space_group"] for candidate in hundred}
    assert len(groups) > 30
    assert 1 not in alumina.space_groups


def test_same_seed_same_structures_and_each_from_its_own_seed(alumina, hundred):
    again = SymmetricGenerator(ALUMINA, GenerateSettings(workers=1)).propose(100, np.random.default_rng(0))
    assert all(same(a.atoms, b.atoms) and a.details == b.details for a, b in zip(hundred, again, strict=True))
    assert same(alumina.builder(hundred[57].seed).atoms, hundred[57].atoms)
    other = alumina.propose(5, np.random.default_rng(1))
    assert not same(other[0].atoms, hundred[0].atoms)


def test_workers_do_not_change_the_structures(alumina, hundred, monkeypatch):
    monkeypatch.setattr("nucleate.generate.tries.SECONDS_WORTH_A_POOL", 0.0)
    pooled = SymmetricGenerator(ALUMINA, GenerateSettings(workers=2)).propose(100, np.random.default_rng(0))
    assert [c.seed for c in pooled] == [c.seed for c in hundred]
    assert all(same(a.atoms, b.atoms) for a, b in zip(hundred, pooled, strict=True))


def test_only_the_space_groups_asked_for():
    generator = SymmetricGenerator(ALUMINA, GenerateSettings(space_groups=(167, 166, 2), workers=1))
    made = generator.propose(30, np.random.default_rng(0))
    assert {c.details["space_group"] for c in made} == {2, 166, 167}


def test_a_space_group_that_cannot_hold_the_atoms_is_refused():
    with pytest.raises(BadInput, match=r"Fd-3c \(228\).*space_groups"):
        SymmetricGenerator({"Si": 3}, GenerateSettings(space_groups=(228,)))


def test_atoms_that_find_no_room_raise_and_say_why():
    # Rocksalt sites exist, but the distance asked for leaves no room in a cubic cell of this volume.
    tight = GenerateSettings(
        space_groups=(225,), min_distance={"Na-Cl": 3.0}, volume_per_atom=22.4, volume_range=(1.0, 1.0), try_seconds=300
    )
    # How many tries there are until the patience ends depends on the machine.
    with pytest.raises(GenerationFailed, match=r"only 0 of 20 .*\d+ times: the atoms could not be placed"):
        SymmetricGenerator({"Na": 1, "Cl": 1}, tight).propose(20, np.random.default_rng(0))


@pytest.mark.parametrize("counts", [{"H": 1}, {"Mg": 2, "Al": 4, "O": 8}, {"Ca": 3, "O": 6, "H": 6}, {"Si": 40}])
def test_other_sizes(counts):
    made = SymmetricGenerator(counts, GenerateSettings(workers=1)).propose(5, np.random.default_rng(0))
    for candidate in made:
        symbols = candidate.atoms.get_chemical_symbols()
        assert {s: symbols.count(s) for s in counts} == counts


def test_nothing_asked_nothing_made(alumina):
    assert alumina.propose(0, np.random.default_rng(0)) == []
