"""Parents, operators and families of the evolution of the pool."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import write

from nucleate import api
from nucleate.csp.events import RoundDone
from nucleate.csp.evolution.breeding import Breeding, fade
from nucleate.csp.evolution.build import make_breeding, modes_of, no_modes
from nucleate.csp.evolution.pool import Pool
from nucleate.csp.evolution.records import Birth, Credit, EvolutionRecord
from nucleate.csp.evolution.settings import SHARES, EvolutionSettings
from nucleate.csp.plan import prepare
from nucleate.csp.records import Carried
from nucleate.csp.resolve import resolve_settings
from nucleate.csp.run_data import read_run
from nucleate.errors import BadInput
from nucleate.generate import P1Generator
from nucleate.generate.base import Candidate
from nucleate.generate.tries import NotPlaced
from nucleate.potentials.base import Prediction
from nucleate.relax.batched import Relaxed
from nucleate.units import GPA

SI8 = [candidate.atoms for candidate in P1Generator({"Si": 8}).propose(12, np.random.default_rng(0))]


class Copies:
    """Operator that returns its parent."""

    name, parents = "strain", 1

    def __call__(self, parents, rng):
        return parents[0].copy()


class Fails:
    """Operator that never makes a child."""

    name, parents = "heredity", 2

    def __call__(self, parents, rng):
        raise NotPlaced("no")


def end(atoms, energy, stop="converged"):
    return Relaxed(atoms, energy * len(atoms), 0.0, 0.01, stop, 3)


def pool_of(structures, energies, round=1, record=None, carried=()):
    pool = Pool(list(carried), round, (14,), record or EvolutionRecord())
    pool.enter([Candidate(atoms, "p1") for atoms in structures])
    pool.relaxed([end(item.atoms, energy) for item, energy in zip(pool.items, energies, strict=True)])
    return pool


def scores(pool):
    return np.array([item.energy_per_atom for item in pool.ends])


def breeding(operators=(), **options):
    return Breeding(EvolutionSettings(strategy="mixed", **options), operators, 0.03)


def test_parents_are_the_lowest_and_weights_fall_with_rank():
    pool = pool_of(SI8, -np.arange(12.0))
    population = breeding(parents=5, niche=0.0).population(pool, scores(pool))
    assert population.places.tolist() == [11, 10, 9, 8, 7]
    assert (np.diff(population.weights) < 0).all()
    assert population.weights.sum() == pytest.approx(1)


def test_candidates_without_a_score_are_no_parents():
    pool = pool_of(SI8, -np.arange(12.0))
    values = scores(pool)
    values[[11, 9]] = np.inf
    assert breeding(parents=3, niche=0.0).population(pool, values).places.tolist() == [10, 8, 7]


def test_few_parents_from_one_niche():
    """Slightly deformed copies of one crystal are one niche."""
    crystal = bulk("Si", cubic=True)
    copies = []
    for k in range(6):
        atoms = crystal.copy()
        atoms.rattle(0.12, seed=k)
        copies.append(atoms)
    pool = pool_of([*copies, *SI8[:4]], [-5.0 - 0.01 * k for k in range(6)] + [-4.0] * 4)
    chosen = breeding(niche=0.4, niche_members=2).population(pool, scores(pool)).places
    assert sum(k < 6 for k in chosen) == 2
    assert sum(k < 6 for k in breeding(niche=0.0).population(pool, scores(pool)).places) == 6


def test_minima_met_often_and_old_ones_are_less_often_parents():
    record = EvolutionRecord({"1.1": Birth("p1", (), 1), "7.1": Birth("p1", (), 7)})
    carried = [Carried(SI8[0], "p1", "1.1"), Carried(SI8[1], "p1", "7.1")]

    def weights():
        pool = pool_of([], [-5.0, -5.0], round=7, record=record, carried=carried)
        population = breeding(niche=0.0, half_life=6.0).population(pool, scores(pool))
        return dict(zip(population.places.tolist(), population.weights, strict=True))

    # Ranks differ by one, so the first is exp(3) times as likely before its age counts.
    fresh = weights()
    assert fresh[0] / fresh[1] == pytest.approx(0.5 * np.exp(3))
    record.met["1.1"] = 8.0
    assert weights()[0] / weights()[1] == pytest.approx(0.5 * np.exp(3) / 3)


def test_age_belongs_to_the_minimum():
    """A child that ends in the minimum of an old parent and represents it does not make it young."""
    record = EvolutionRecord({"1.1": Birth("p1", (), 1), "10.1": Birth("p1", (), 10)}, met={"1.1": 8.0})

    def share(own):
        """Return the weight of the minimum SI8[0], represented by the last of its candidates, relative to SI8[1]."""
        pool = Pool([Carried(SI8[0], "p1", "1.1"), Carried(SI8[1], "p1", "10.1")], 10, (14,), record)
        pool.enter([Candidate(SI8[0].copy(), "strain")] * own)
        pool.relaxed([end(item.atoms, -5.0) for item in pool.items])
        values = np.array([-5.0, -4.0, *[-5.1] * own])
        population = breeding(niche=0.0).population(pool, values)
        assert len(population.places) == 2
        return population.weights[0] / population.weights[1]

    assert share(1) == pytest.approx(share(0))


def test_structures_of_the_user_come_before_children(tmp_path, monkeypatch):
    """With nine tenths children, all seeds still enter the first pool."""
    entered = []
    plain = Pool.enter

    def spy(self, candidates, parents=None):
        entered.extend((self.round, candidate.origin) for candidate in candidates)
        plain(self, candidates, parents)

    monkeypatch.setattr(Pool, "enter", spy)
    seeds = []
    for k in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=k)
        seeds.append(atoms)
    write(tmp_path / "seeds.extxyz", seeds)
    options = {
        "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
        "search": {"pool": 16, "keep": 4, "first_batch": 4, "budget": 12, "max_rounds": 1, "proof": False, "check": False},
        "model": {"channels": 2, "hidden": 4, "members": 2},
        "training": {"steps": 20, "warm_steps": 10},
        "relax": {"max_steps": 10, "workers": 1},
        "evolution": {"strategy": "evolution"},
    }
    api.search("Cu4", settings=options, seeds_from=tmp_path / "seeds.extxyz", seed=0, out=tmp_path / "run")
    assert entered.count((1, "seed")) == 12


def test_numbers_of_children():
    for strategy, share in SHARES.items():
        mine = Breeding(EvolutionSettings(strategy=strategy, generations=3), [Copies()], 0.03)
        assert sum(mine.numbers(340)) == int(340 * share)
    assert breeding([Copies()]).numbers(1) == []
    assert breeding([]).numbers(100) == []


def test_children_know_their_parents_and_are_repeatable():
    def bred():
        pool = pool_of(SI8, -np.arange(12.0))
        mine = breeding([Copies()], niche=0.0)
        made = mine.breed(pool, mine.population(pool, scores(pool)), 20, np.random.default_rng(5))
        return pool, made

    pool, made = bred()
    assert made == 20
    for item in pool.waiting:
        birth = pool.record.births[item.birth]
        assert birth.origin == item.origin == "strain"
        (parent,) = (other for other in pool.items if other.birth == birth.parents[0])
        assert np.array_equal(parent.atoms.positions, item.atoms.positions)
    assert len({item.birth for item in pool.items}) == 32
    again, _ = bred()
    assert [again.record.births[item.birth] for item in again.items] == [pool.record.births[item.birth] for item in pool.items]


def test_minima_of_smaller_cells_are_parents_of_supercells():
    """Without smaller cells the operator is not used; with them its parents are these, the lowest most often."""

    class Supercells:
        name, parents = "add-units", 1

        def __call__(self, parents, rng):
            assert len(parents[0]) == 2
            return parents[0].repeat((2, 2, 1))

    mine = breeding([Supercells(), Copies()])
    pool = pool_of(SI8, -np.arange(12.0))
    assert mine.shares(pool)[0] == 0
    pool.enter_smaller([("known", bulk("Si", a=a)) for a in (5.4, 5.5, 5.6)])
    mine.breed(pool, mine.population(pool, scores(pool)), 200, np.random.default_rng(0))
    parents = [pool.record.births[item.birth].parents[0] for item in pool.waiting if item.origin == "add-units"]
    counts = [parents.count(name) for name, _ in pool.smaller]
    assert sum(counts) > 10
    assert counts[0] > counts[2]
    assert pool.record.births[pool.smaller[0][0]] == Birth("known", (), 1)


def test_operators_that_fail_end():
    pool = pool_of(SI8, -np.arange(12.0))
    mine = breeding([Fails()])
    assert mine.breed(pool, mine.population(pool, scores(pool)), 5, np.random.default_rng(0)) == 0
    empty = pool_of([], [])
    assert mine.breed(empty, mine.population(empty, scores(empty)), 5, np.random.default_rng(0)) == 0


def test_credit_moves_the_shares():
    """An operator whose children are new low minima is used more often; one without success keeps a quarter of its share."""
    mine = breeding([Copies(), Fails()])
    pool = pool_of(SI8, -np.arange(12.0))
    before = mine.shares(pool)
    pool.record.credit = {"strain": Credit(100, 90), "heredity": Credit(100, 0)}
    after = mine.shares(pool)
    assert after[0] / after[1] > 5 * before[0] / before[1]
    assert after[1] > 0
    assert after.sum() == pytest.approx(1)


def test_reward():
    """New low minima are successes; known minima are counted as met; high and failed children are neither."""
    record = EvolutionRecord()
    pool = pool_of(SI8[:4], [-4.0, -3.0, -2.0, -1.0], record=record)
    pool.enter([Candidate(SI8[4], "strain"), Candidate(SI8[0].copy(), "strain"), Candidate(SI8[5], "strain"), Candidate(SI8[6], "strain")])
    pool.relaxed([end(SI8[4], -3.5), end(SI8[0], -4.0), end(SI8[5], -0.5), end(SI8[6], np.nan, "exploded")])
    values = scores(pool)
    values[-1] = np.inf
    breeding([Copies()]).reward(pool, values, 4, 3)
    assert record.credit["strain"] == Credit(4.0, 1.0)
    assert record.met == {pool.items[0].birth: 1.0}
    fade(record)
    assert record.credit["strain"].children < 4
    assert record.met[pool.items[0].birth] < 1


def test_only_ancestors_are_kept():
    record = EvolutionRecord({"1.1": Birth("p1", (), 1), "1.2": Birth("p1", (), 1), "2.1": Birth("heredity", ("1.1", "gone"), 2)})
    record.met = {"1.1": 2.0, "1.2": 3.0}
    record.keep(["2.1", ""])
    assert set(record.births) == {"1.1", "2.1"}
    assert record.met == {"1.1": 2.0}
    assert EvolutionRecord.from_dict(record.as_dict()) == record


def settings(**evolution):
    return resolve_settings("Si8", {"reference": {"engine": "chgnet"}, "evolution": evolution})


def test_operators_of_the_settings():
    made = make_breeding(settings(strategy="mixed", operators=["heredity", "strain"]), no_modes)
    assert [operator.name for operator in made.operators] == ["heredity", "strain"]
    assert make_breeding(settings(), no_modes).operators == []


@pytest.mark.parametrize(
    ("formula", "options", "said"),
    [
        ("Si8", {"evolution": {"generations": 5}}, "evolution.generations has no effect on the strategy random"),
        ("Si8", {"evolution": {"strategy": "mixed", "operators": ["permutation"]}}, "permutation cannot be applied to Si8; choose from"),
        ("Mg-Si", {"evolution": {"strategy": "mixed"}}, "not on a chemical system; use --strategy random"),
        ("Si8", {"evolution": {"strategy": "evolution"}, "dimensions": 2}, "not on layers"),
        ("Si8", {"evolution": {"strategy": "mixed", "operators": ["twist"]}}, "twist cannot be applied to Si8; choose from"),
        ("Si8", {"evolution": {"strategy": "mixed", "operators": ["molecule-strain"]}}, "molecule-strain cannot be applied to Si8"),
        (
            "Si8",
            {"evolution": {"strategy": "mixed", "operators": ["twist", "strain"]}, "dimensions": 0},
            "strain cannot be applied to clusters of Si8; choose from heredity, symmetrise, twist",
        ),
    ],
)
def test_what_has_no_effect_is_refused(formula, options, said):
    with pytest.raises(BadInput, match=said):
        prepare(resolve_settings(formula, {"reference": {"engine": "chgnet"}, **options}))


def test_soft_modes_of_a_potential():
    """In a pair of planes that slide easily, the softest mode is the slide."""

    class Planes:
        """Stiff springs along z between two atoms, weak ones in the plane."""

        cutoff, species = 5.0, (14,)

        def layout(self, batch, edges):
            return None

        def energy_forces_stress(self, batch, edges=None, layout=None, mean_forces=False):
            wanted = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
            stiffness = torch.tensor([0.2, 1.0, 9.0], dtype=torch.float64)
            moved = batch.positions.reshape(-1, 2, 3)
            difference = (moved[:, 1] - moved[:, 0]) - (wanted[1] - wanted[0])
            energy = 0.5 * (stiffness * difference**2).sum(1)
            forces = torch.stack([stiffness * difference, -stiffness * difference], dim=1).reshape(1, -1, 3)
            # A stiff cell: stress from the strain relative to a cube of 4 Å.
            strain = batch.cells / 4.0 - torch.eye(3, dtype=torch.float64)
            stress = 100 * GPA * 0.5 * (strain + strain.transpose(1, 2))
            return Prediction(energy[None], forces, stress[None])

    atoms = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.0]], cell=4 * np.eye(3), pbc=True)
    modes = modes_of(atoms, Planes(), 0.0)
    assert np.allclose(np.linalg.norm(modes.reshape(len(modes), -1), axis=1), 1)
    assert np.abs(modes[0]) == pytest.approx(np.array([[0.5**0.5, 0, 0]] * 2), abs=1e-2)


def test_a_search_by_evolution(tmp_path):
    """Children appear among the carried minima, with their families in the saved state; the same seed gives the same search."""
    options = {
        "reference": {"engine": "chgnet"},
        "search": {"pool": 20, "keep": 8, "first_batch": 5, "budget": 16, "max_rounds": 2, "proof": False, "check": False},
        "model": {"channels": 4, "hidden": 8, "members": 2},
        "training": {"steps": 40, "warm_steps": 20},
        "relax": {"max_steps": 20, "workers": 1},
        "evolution": {"strategy": "evolution"},
    }
    runs = []
    for name in "ab":
        api.search("Si4", settings=options, seed=3, out=tmp_path / name)
        runs.append(read_run(tmp_path / name).state)
    record = runs[0].evolution
    children = [item for item in runs[0].carried if record.births[item.birth].parents]
    assert children
    for item in children:
        assert all(parent in record.births for parent in record.births[item.birth].parents)
    assert sum(credit.children for credit in record.credit.values()) > 0
    assert runs[0].as_dict()["evolution"] == runs[1].as_dict()["evolution"]


def test_a_search_of_clusters_by_evolution(tmp_path):
    """Children are among the carried minima, in the box of the search; a search that is stopped and resumed is the same."""
    options = {
        "reference": {
            "engine": "ase", "calculator": "ase.calculators.lj:LennardJones",
            "parameters": {"sigma": 3.4, "epsilon": 0.05, "rc": 12.0}, "workers": 0,
        },
        "search": {"pool": 24, "keep": 8, "first_batch": 5, "budget": 30, "max_rounds": 2, "proof": False, "check": False},
        "generate": {"workers": 1}, "relax": {"workers": 1, "max_steps": 30}, "clusters": {"vacuum": 14.0},
        "model": {"members": 2, "channels": 4, "hidden": 8}, "training": {"steps": 40, "warm_steps": 20},
        "evolution": {"strategy": "mixed"},
    }  # fmt: skip
    whole = api.search("Ar9", dimensions=0, settings=options, seed=3, out=tmp_path / "whole").folder

    def stopping(event):
        if isinstance(event, RoundDone) and event.record.round == 2:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        api.search("Ar9", dimensions=0, settings=options, seed=3, out=tmp_path / "stopped", progress=stopping)
    resumed = api.resume(tmp_path / "stopped").folder
    state, other = read_run(whole).state, read_run(resumed).state
    children = [item for item in state.carried if item.origin in ("heredity", "symmetrise", "twist")]
    assert children
    for item in children:
        assert state.evolution.births[item.birth].parents
        assert not item.atoms.pbc.any()
        assert np.allclose(item.atoms.cell.array, state.carried[0].atoms.cell.array)
    assert {credit.children > 0 for credit in state.evolution.credit.values()} == {True}
    assert other.as_dict()["evolution"] == state.as_dict()["evolution"]


def molecular(**options):
    """Settings of a search of two molecules on a force field."""
    settings = {
        "reference": {"engine": "gfnff", "workers": 0},
        "search": {"pool": 12, "keep": 6, "first_batch": 4, "batch": 3, "budget": 40, "max_rounds": 1, "proof": False, "check": False},
        "generate": {"workers": 1, "space_groups": [1, 2, 4, 14]}, "relax": {"workers": 1, "max_steps": 15},
        "model": {"members": 2, "channels": 4, "hidden": 8}, "training": {"steps": 40, "warm_steps": 20},
        "molecules": {"units": 2, "distortions": 4, "relax": False, "rigid_steps": 10}, "evolution": {"strategy": "mixed"},
    }  # fmt: skip
    return {key: {**value, **options.get(key, {})} for key, value in settings.items()}


WATER = Atoms("OH2", positions=[[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.0, -0.76, -0.47]])


def test_a_search_of_molecular_crystals_by_evolution(tmp_path):
    """Children of whole molecules are among the carried minima, and only operators on molecules are used."""
    pytest.importorskip("gfnff")
    folder = api.search(molecules=[WATER], settings=molecular(), seed=1, out=tmp_path / "run").folder
    state = read_run(folder).state
    children = [item for item in state.carried if item.birth and state.evolution.births[item.birth].parents]
    assert children
    assert {item.origin for item in children} <= {"molecule-heredity", "molecule-rotation", "molecule-strain", "molecule-symmetrise"}
    for item in children:
        assert item.atoms.get_chemical_symbols() == ["O", "H", "H"] * 2


@pytest.mark.parametrize(
    ("operators", "said"),
    [
        (["heredity"], "heredity cannot be applied to molecular crystals of H4O2; choose from molecule-heredity, molecule-rotation"),
        (["conformer"], "conformer cannot be applied to molecular crystals of H4O2"),
        (["molecule-exchange"], "molecule-exchange cannot be applied to molecular crystals of H4O2"),
    ],
)
def test_operators_on_molecules_that_do_not_apply_are_refused(tmp_path, operators, said):
    pytest.importorskip("gfnff")
    with pytest.raises(BadInput, match=said):
        api.search(molecules=[WATER], settings=molecular(evolution={"operators": operators}), out=tmp_path / "run")
