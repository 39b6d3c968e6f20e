import numpy as np
import pytest

from nucleate.generate import GenerateSettings, P1Generator
from nucleate.generate.distances import closest_fit
from tests.generate.conftest import same


@pytest.mark.parametrize("counts", [{"Si": 8}, {"Al": 4, "O": 6}, {"Mg": 2, "Al": 4, "O": 8}, {"Na": 1}])
def test_exact_composition_distances_and_volume(counts):
    generator = P1Generator(counts, GenerateSettings(workers=1))
    packing = generator.builder.packing
    kinds = np.repeat(np.arange(len(counts)), list(counts.values()))
    limits = packing.min_distances[np.ix_(kinds, kinds)]
    symbols = [s for s, n in counts.items() for _ in range(n)]
    for candidate in generator.propose(30, np.random.default_rng(0)):
        atoms = candidate.atoms
        assert atoms.get_chemical_symbols() == symbols
        assert closest_fit(atoms.get_scaled_positions(), np.array(atoms.cell), limits) >= 1.0 - 1e-6
        assert 0.9 <= atoms.get_volume() / (len(atoms) * packing.volume_per_atom) <= 1.4
        assert candidate.origin == "p1"
        angles = atoms.cell.angles()
        assert angles.min() > 55
        assert angles.max() < 125


def test_same_seed_same_structures():
    generator = P1Generator({"Al": 4, "O": 6}, GenerateSettings(workers=1))
    first = generator.propose(10, np.random.default_rng(0))
    again = generator.propose(10, np.random.default_rng(0))
    assert all(same(a.atoms, b.atoms) for a, b in zip(first, again, strict=True))
    assert same(generator.builder(first[3].seed).atoms, first[3].atoms)
