import itertools

import numpy as np
import pytest

from nucleate.errors import BadInput, RunFolderError
from nucleate.lattice.coexistence import coexist
from nucleate.lattice.dipoles import DipoleTerm, plain_charges
from nucleate.lattice.enumeration import Arrangement
from nucleate.lattice.expansion import ClusterExpansion
from nucleate.lattice.monte_carlo import Chain, tabulate
from nucleate.lattice.simulation import first_arrangement, simulate
from nucleate.lattice.supercells import Supercell
from nucleate.units import BOLTZMANN


@pytest.fixture(scope="module")
def expansion(square):
    """Pairs of two shells, triplets and distant dipoles, all of similar size."""
    values = np.array([0.1, -0.05, 0.06, 0.02, -0.03])
    return ClusterExpansion(square, (2.9, 2.9), values, DipoleTerm(3.0, plain_charges(square)), 0.8)


@pytest.fixture(scope="module")
def exact(expansion):
    """All arrangements of 4 x 4 cells: energies in eV and numbers of atoms."""
    supercell = Supercell(expansion.parent, np.diag([4, 4, 1]))
    occupations = np.array(list(itertools.product((0, 1), repeat=16)))
    return expansion.energies(supercell, occupations) * 16, (occupations == 0).sum(axis=1)


@pytest.mark.parametrize("temperature", [600.0, 1500.0])
def test_fixed_potentials_give_the_exact_averages(expansion, exact, temperature):
    energies, numbers = exact
    beta, mu = 1 / (BOLTZMANN * temperature), -0.02
    weight = np.exp(-beta * (energies - energies.min() - mu * numbers))
    weight /= weight.sum()
    row = simulate(expansion, (4, 4, 1), [temperature], potentials={"Li": mu}, sweeps=20000, seed=5)[0][0]
    assert row.energy == pytest.approx(weight @ energies / 16, abs=5 * row.energy_error)
    assert row.fraction == pytest.approx(weight @ numbers / 16, abs=5 * row.fraction_error)
    grand = energies - mu * numbers
    variance = weight @ grand**2 - (weight @ grand) ** 2
    assert row.heat_capacity == pytest.approx(variance * beta**2 / 16, rel=0.1)


def test_fixed_composition_gives_the_exact_averages(expansion, exact):
    energies = exact[0][exact[1] == 8]
    beta = 1 / (BOLTZMANN * 900.0)
    weight = np.exp(-beta * (energies - energies.min()))
    weight /= weight.sum()
    row = simulate(expansion, (4, 4, 1), [900.0], composition={"Li": 0.5}, sweeps=20000, seed=6)[0][0]
    assert row.fraction == 0.5
    assert row.energy == pytest.approx(weight @ energies / 16, abs=5 * row.energy_error)
    assert row.heat_capacity == pytest.approx((weight @ energies**2 - (weight @ energies) ** 2) * beta**2 / 16, rel=0.1)


@pytest.mark.parametrize("potentials", [None, np.array([-0.03, 0.0])])
def test_the_energy_of_a_chain_is_that_of_its_arrangement(honeycomb, potentials):
    values = np.random.default_rng(2).normal(0, 0.02, 8)
    model = ClusterExpansion(honeycomb, (5.0, 2.5), values[:6], DipoleTerm(5.0, plain_charges(honeycomb)), 5.0)
    tables = tabulate(model, (6, 5, 1))
    occupation = first_arrangement(honeycomb, 30, {"Li": 0.4}, np.random.default_rng(0))
    chain = Chain(tables, occupation, float(model.energies(tables.supercell, occupation[None])[0]) * 30, 3)
    chain.run(200, 1 / (BOLTZMANN * 500), potentials, 0)
    assert chain.energy == pytest.approx(float(model.energies(tables.supercell, chain.occupation[None])[0]) * 30, abs=1e-9)
    assert (chain.occupation != occupation).any()


def test_exchanges_keep_the_composition_of_every_sublattice():
    from ase.build import bulk

    from nucleate.lattice.figures import find_orbits
    from nucleate.lattice.parent import make_parent

    parent = make_parent(bulk("NaCl", "rocksalt", a=5.6), {"Na": ["Na", "K", "Li"], "Cl": ["Cl", "Br"]})
    count = len(find_orbits(parent, [4.1]))
    model = ClusterExpansion(parent, (4.1,), np.random.default_rng(0).normal(0, 0.05, count))
    shares = {"Na": 0.25, "K": 0.5, "Br": 0.5, "Cl": 0.5}
    rows, final = simulate(model, (4, 4, 4), [500.0], composition=shares, sweeps=50, burn=0)
    # The share is that of sodium on its own sites; chlorine has the same index on the others.
    assert rows[0].fraction == 0.25
    last = final.reshape(-1, 2)
    assert np.bincount(last[:, 0]).tolist() == [16, 32, 16]
    assert np.bincount(last[:, 1]).tolist() == [32, 32]


def test_coexistence_of_the_square_lattice_gas_is_that_of_the_ising_model(square):
    # Attraction w of neighbours: an Ising model with J = w/4. Both phases have the same grand potential at mu = e1 - 2 w by the symmetry
    # of atoms and vacancies, and the shares are (1 -/+ m)/2 with the magnetisation of C. N. Yang, Phys. Rev. 85, 808 (1952).
    model = ClusterExpansion(square, (2.1,), np.array([0.0, 0.3, -0.1]))
    full = Arrangement(Supercell(square, np.eye(3, dtype=int)), np.array([0]))
    for result in coexist(model, full, (16, 16, 1), [400.0, 500.0], sweeps=1500, seed=1):
        magnetisation = (1 - np.sinh(2 * 0.1 / (4 * BOLTZMANN * result.temperature)) ** -4) ** 0.125
        assert result.potential == pytest.approx(0.1, abs=3e-4)
        assert result.dilute == pytest.approx((1 - magnetisation) / 2, rel=0.12)
        assert result.ordered == pytest.approx((1 + magnetisation) / 2, abs=3e-3)


def test_an_unstable_arrangement_has_no_branch(square):
    model = ClusterExpansion(square, (2.1,), np.array([0.0, 0.3, -0.1]))
    rows = Arrangement(Supercell(square, np.diag([1, 2, 1])), np.array([0, 1]))
    with pytest.raises(BadInput, match="not stable at any chemical potential"):
        coexist(model, rows, (8, 8, 1), [300.0])


def test_a_record_resumes_to_the_same_result(expansion, tmp_path):
    options = {"composition": {"Li": 0.25}, "sweeps": 300, "burn": 20, "seed": 4}
    whole, last = simulate(expansion, (6, 6, 1), [800.0, 600.0, 400.0], record=tmp_path / "whole.jsonl", **options)
    first = tmp_path / "first.jsonl"
    simulate(expansion, (6, 6, 1), [800.0], record=first, **options)
    again, other = simulate(expansion, (6, 6, 1), [800.0, 600.0, 400.0], record=first, **options)
    assert again == whole
    assert np.array_equal(last, other)
    with pytest.raises(RunFolderError, match="other settings"):
        simulate(expansion, (6, 6, 1), [800.0], record=first, **{**options, "seed": 5})


def test_bad_simulations(expansion):
    with pytest.raises(BadInput, match="longer than the supercell"):
        simulate(expansion, (1, 4, 1), [300.0], composition={"Li": 0.5})
    with pytest.raises(BadInput, match="either"):
        simulate(expansion, (4, 4, 1), [300.0])
    with pytest.raises(BadInput, match="temperatures"):
        simulate(expansion, (4, 4, 1), [-5.0], composition={"Li": 0.5})
    with pytest.raises(BadInput, match="no site can hold Na"):
        simulate(expansion, (4, 4, 1), [300.0], composition={"Na": 0.5})
    with pytest.raises(BadInput, match="shares"):
        simulate(expansion, (4, 4, 1), [300.0], composition={"Li": 1.5})
    with pytest.raises(BadInput, match="relative to X"):
        simulate(expansion, (4, 4, 1), [300.0], potentials={"X": 0.5})
    with pytest.raises(BadInput, match="normal"):
        simulate(expansion, (4, 4, 2), [300.0], composition={"Li": 0.5})
