"""Comparison of search programs: what counts as an evaluation, what ends a run, and which end points are the target."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from nucleate.benchmark.targets import Target
from nucleate.crystals.formula import parse_formula
from nucleate.errors import ReferenceFailed
from nucleate.reference.base import Label

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks/search/peers"
MODULES = ("counting", "random_search", "search_ase_ga", "search_cryspy")


def label(atoms: Atoms) -> Label:
    atoms = atoms.copy()
    atoms.calc = EMT()
    return Label(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())


@pytest.fixture
def peers(monkeypatch):
    """The modules of the benchmark, which lie beside its script."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import counting
    import search_cryspy

    yield SimpleNamespace(counting=counting, cryspy=search_cryspy)
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def trial(peers):
    """A run towards fcc aluminium on EMT."""
    counter = peers.counting.Counter(label, 200)
    start = bulk("Al", "fcc", a=4.0, cubic=True)
    target = peers.counting.Trial(counter, Target(start, 0.0, 225, "Fm-3m", 0.0)).relax(start)
    energy = target.energy_per_atom
    return peers.counting.Trial(peers.counting.Counter(label, 200), Target(target.atoms, energy, 225, "Fm-3m", energy))


def test_one_geometry_is_one_evaluation(peers):
    counter = peers.counting.Counter(label, 2)
    atoms = bulk("Al", "fcc", a=4.1, cubic=True)
    atoms.calc = peers.counting.CountingCalculator(counter)
    alone = label(atoms)
    assert atoms.get_potential_energy() == pytest.approx(alone.energy, abs=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), alone.forces, atol=1e-12)
    np.testing.assert_allclose(atoms.get_stress(), alone.stress, atol=1e-12)
    assert counter.calls == 1
    atoms.rattle(0.01)
    atoms.get_stress()
    assert counter.calls == 2
    atoms.rattle(0.02)
    with pytest.raises(peers.counting.Ended, match="budget"):
        atoms.get_forces()
    assert counter.calls == 2
    # The programs catch the exceptions of their calculators; the end of the run must pass.
    assert not issubclass(peers.counting.Ended, Exception)


def test_failed_evaluations_count(peers, trial):
    def fails(atoms):
        raise ReferenceFailed("no")

    broken = peers.counting.Trial(peers.counting.Counter(fails, 10), trial.target)
    assert broken.relax(trial.target.atoms) is None
    assert broken.counter.calls == 1
    assert peers.counting.AseRelaxation(broken.counter, trial.target.atoms).run(5) == "failed"
    assert broken.counter.calls == 2


def test_the_target_ends_the_run_at_no_cost(peers, trial):
    energy = trial.target.energy
    with pytest.raises(peers.counting.Ended, match="hit"):
        trial.confirm(trial.target.atoms, energy)
    assert trial.counter.calls == 0
    assert trial.first_low == 0


def test_a_nearly_symmetric_end_point_is_relaxed_in_its_symmetrised_form(peers, trial):
    distorted = trial.target.atoms.copy()
    distorted.positions[0, 0] += 0.12
    assert not trial.target.hit(distorted, trial.target.energy)
    with pytest.raises(peers.counting.Ended, match="hit"):
        trial.confirm(distorted, trial.target.energy + 0.02)
    assert trial.counter.calls >= 1


def test_another_crystal_is_no_hit(peers, trial):
    bcc = trial.relax(bulk("Al", "bcc", a=3.2, cubic=True))
    calls = trial.counter.calls
    assert trial.confirm(bcc.atoms, bcc.energy_per_atom)[1] == pytest.approx(bcc.energy_per_atom)
    assert trial.counter.calls == calls
    assert trial.first_low is None
    assert trial.best == pytest.approx(bcc.energy_per_atom)
    # An energy below the target is reported, since the target would not be the ground state.
    trial.confirm(bcc.atoms, trial.target.energy - 0.1)
    assert trial.lower == [trial.target.energy - 0.1]


def test_a_relaxation_in_pieces_repeats_no_geometry(peers, trial):
    start = trial.target.atoms.copy()
    start.set_cell(start.cell.array @ np.diag([1.06, 1.06, 0.97]), scale_atoms=True)
    start.positions[[1, 2], 2] += 0.1
    once = peers.counting.AseRelaxation(peers.counting.Counter(label, 200), start)
    assert once.run(10**6) == "converged"
    pieces = peers.counting.AseRelaxation(trial.counter, start)
    states = []
    while not states or states[-1] == "unfinished":
        states.append(pieces.run(2))
        assert 1 <= len(pieces.forces) == len(pieces.stresses) <= 2
    assert states[-1] == "converged"
    assert len(states) > 1
    assert trial.counter.calls == once.optimiser.atoms.atoms.calc.counter.calls
    assert pieces.energy == pytest.approx(once.energy, abs=1e-9)


@pytest.mark.parametrize("system", ["Si8", "Al4O6", "B12", "Mg2Al4O8"])
def test_input_of_cryspy_fills_its_population(peers, system):
    elements = len(parse_formula(system))
    text = peers.cryspy.input_file(system, "EA", 7, 20)
    values = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in text.splitlines()) if value}
    children = sum(int(values[name]) for name in ("n_crsov", "n_perm", "n_strain", "n_rand"))
    assert children == int(values["n_pop"]) == 20
    assert values["n_perm"] == "0"
    matrix = np.array([[float(x) for x in values[f"mindist_{k + 1}"].split()] for k in range(elements)])
    np.testing.assert_array_equal(matrix, matrix.T)
    assert values["seed"] == "7"
