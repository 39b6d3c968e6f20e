"""Magnetic orders after a search, on a Heisenberg model: the lowest one, the budget, failures, and what a kill leaves."""

import json

import pytest
from ase.build import bulk

from nucleate.csp.events import LabelDone
from nucleate.csp.labels_from import labels_known
from nucleate.csp.loop import Search
from nucleate.csp.magnetic.stage import SPENT, MagneticStage, symmetric_and_low
from nucleate.csp.plan import prepare
from nucleate.csp.records import LoopState, Polymorph
from nucleate.csp.run_data import magnetic_data, read_run
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.csp.saved import SavedState
from nucleate.persist.toml import to_toml
from nucleate.progress import silent
from nucleate.reference import Dispatcher, Ledger
from nucleate.relax.settings import RelaxSettings
from nucleate.training.data import read_data
from tests.csp.heisenberg import MOMENTS, Heisenberg

RELAX = RelaxSettings(fmax=0.02, smax=0.1, max_steps=60, patience=60)
SECOND_NEIGHBOURS = ((3.6, 0.02),)
PARALLEL = ((2.55, -0.02),)


def polymorph(atoms, energy, number=225, symbol="Fm-3m"):
    return Polymorph(atoms, atoms, energy, 0.0, 0.0, symbol, number, 0.0, "p1", 1, 1, 0)


def run_stage(path, toy, budget=None, found=None):
    """Stage on one fcc polymorph at the geometry of the parallel order, whose label is in the ledger."""
    atoms = bulk("Cu", a=3.60)
    with Dispatcher(toy, Ledger(path), budget=budget) as dispatcher:
        (label,) = dispatcher.label_many([atoms], "confirm", 0)
        dispatcher.begin_round(1)
        made = found or polymorph(atoms, label.energy)
        stage = MagneticStage(dispatcher, MOMENTS, RELAX, 1)
        return made, stage.run([made], [made]), dispatcher.calls()


def test_antiferromagnetic_order_is_lower_and_replaces_the_parallel_one(tmp_path):
    found, cost, calls = run_stage(tmp_path / "a.db", Heisenberg(SECOND_NEIGHBOURS))
    magnetic = found.magnetic
    assert magnetic.order == "AFM type II"
    assert (magnetic.moment, magnetic.net) == (2.0, 0.0)
    energies = {entry.name: entry.energy for entry in magnetic.orders}
    assert energies["AFM type II"] < energies["FM"] == pytest.approx(magnetic.before["energy"])
    assert energies["AFM type I"] == pytest.approx(energies["FM"], abs=2e-3)
    # Relaxation lowers the energy further, and the polymorph has the relaxed one.
    assert found.energy < energies["AFM type II"]
    assert found.fmax <= RELAX.fmax
    assert found.smax <= RELAX.smax
    assert found.atoms.get_initial_magnetic_moments().tolist() == [2.0, -2.0]
    assert cost == {"calls": calls - 1, "failed": 0, "tried": 1, "changed": 1}
    data = magnetic_data(found)
    assert data["magnetic_order"] == "AFM type II"
    assert {entry["name"]: entry["above_lowest"] for entry in data["magnetic_orders"]}["FM"] == pytest.approx(
        1e3 * (energies["FM"] - found.energy)
    )


def test_parallel_order_stays_where_it_is_the_lowest(tmp_path):
    found, cost, _ = run_stage(tmp_path / "a.db", Heisenberg(PARALLEL))
    assert (found.magnetic.order, found.magnetic.net) == ("FM", 2.0)
    assert found.magnetic.before is None
    assert len(found.atoms) == 1
    assert not found.atoms.get_initial_magnetic_moments().any()
    assert (cost["tried"], cost["changed"]) == (1, 0)
    assert [entry.name for entry in found.magnetic.orders] == ["FM", "AFM type II", "AFM type I"]


def test_moments_that_vanish(tmp_path):
    found, cost, _ = run_stage(tmp_path / "a.db", Heisenberg(SECOND_NEIGHBOURS, moment=0.0))
    assert found.magnetic.order == "NM"
    assert {entry.ended for entry in found.magnetic.orders} == {"NM"}
    assert cost["changed"] == 0


def test_the_ledger_answers_after_a_kill(tmp_path):
    first, toy = Heisenberg(SECOND_NEIGHBOURS), Heisenberg(SECOND_NEIGHBOURS)
    one, cost, calls = run_stage(tmp_path / "a.db", first)
    other, again, calls_again = run_stage(tmp_path / "a.db", toy)
    assert toy.calls == 0
    assert (cost, calls) == (again, calls_again)
    assert other.as_dict() == one.as_dict()


@pytest.mark.parametrize("budget", range(1, 9))
def test_budget(tmp_path, budget):
    found, _, calls = run_stage(tmp_path / "a.db", Heisenberg(SECOND_NEIGHBOURS), budget)
    assert calls <= budget
    # The label of the search gives the moments without a call.
    assert found.magnetic.moment == 2.0
    orders = found.magnetic.orders
    assert len([entry for entry in orders if entry.energy is not None]) == (min(budget - 1, 3) if budget > 1 else 0)
    if budget in (2, 3):
        assert orders[-1].failure == SPENT
    if budget == 5:
        assert SPENT in next(entry for entry in orders if entry.name == "AFM type II").failure
        assert found.magnetic.before is None


def test_failures_are_counted(tmp_path):
    toy = Heisenberg(SECOND_NEIGHBOURS, fails=lambda atoms: len(atoms) == 2)
    found, cost, _ = run_stage(tmp_path / "a.db", toy)
    assert cost["failed"] == 2
    assert [entry.failure for entry in found.magnetic.orders] == ["", "the toy fails", "the toy fails"]
    assert found.magnetic.order == "FM"


def test_records_go_through_json_and_the_order_can_be_taken_back(tmp_path):
    found, cost, _ = run_stage(tmp_path / "a.db", Heisenberg(SECOND_NEIGHBOURS))
    state = LoopState(round=1, polymorphs=[found], magnetic=cost)
    text = json.dumps(state.as_dict())
    SavedState.model_validate_json(text)
    back = LoopState.from_dict(json.loads(text))
    assert json.dumps(back.as_dict()) == text
    (again,) = back.polymorphs
    assert again.atoms.get_initial_magnetic_moments().tolist() == [2.0, -2.0]
    again.set_order(None)
    assert len(again.atoms) == 1
    assert again.energy == found.magnetic.before["energy"]
    assert again.magnetic is None
    # Records of earlier versions have no such key.
    old = polymorph(bulk("Cu"), -1.0).as_dict()
    del old["magnetic"]
    assert Polymorph.from_dict(old).magnetic is None


def test_the_three_lowest_symmetric_polymorphs_within_50_mev():
    atoms = bulk("Cu")
    minima = [polymorph(atoms, energy, number) for energy, number in [(0.0, 225), (0.01, 2), (0.02, 63), (0.03, 12), (0.04, 12)]]
    assert [p.energy for p in symmetric_and_low(minima)] == [0.0, 0.02, 0.03]
    assert symmetric_and_low([polymorph(atoms, 0.0, 1), polymorph(atoms, 0.06)]) == []
    assert symmetric_and_low([]) == []


SETTINGS = {
    "formula": "Cu2",
    "seed": 3,
    "reference": {"magnetic_moments": MOMENTS, "workers": 0},
    "search": {
        "pool": 24, "keep": 6, "first_batch": 6, "batch": 3, "max_rounds": 1, "leads": 2, "lead_steps": 5,
        "proof_steps": 20, "fmax": 0.05, "smax": 0.5, "lead_fmax": 3.0, "check": False, "budget": 150,
    },
    "generate": {"workers": 1, "symmetric_share": 0.5, "space_groups": [166, 194, 225]},
    "model": {"cutoff": 4.0, "radial": 5, "channels": 6, "hidden": 8, "members": 2},
    "training": {"steps": 40, "warm_steps": 20, "batch_structures": 6},
    "relax": {"max_steps": 40, "patience": 10, "workers": 0},
}  # fmt: skip


def search(folder, toy, progress=silent, **given):
    settings = settings_from_dict({**SETTINGS, **given})
    with RunFolder.create(folder, to_toml(settings)) as run:
        return Search(run, prepare(settings, toy), progress=progress).run()


def rows(folder):
    return [(row.hash, row.purpose, row.round, row.status) for row in read_run(folder).rows]


def test_a_search_killed_among_its_orders_resumes_without_repeating_calls(tmp_path):
    whole = Heisenberg(SECOND_NEIGHBOURS)
    state = search(tmp_path / "whole", whole)
    assert state.magnetic["changed"] >= 1
    assert state.minima()[0].magnetic.order.startswith("AFM")
    # The proof begins at the antiferromagnetic start, so that it confirms the energy of the order.
    assert state.proof["difference"] == pytest.approx(0, abs=1e-6)

    def stop(event, /):
        if isinstance(event, LabelDone) and event.purpose == "magnetic":
            raise KeyboardInterrupt

    toy = Heisenberg(SECOND_NEIGHBOURS)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "killed", toy, stop)
    assert 0 < toy.calls < whole.calls
    resumed = search(tmp_path / "killed", toy)
    assert toy.calls == whole.calls
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert json.dumps([p.as_dict() for p in resumed.ranking()]) == json.dumps([p.as_dict() for p in state.ranking()])

    # Labels of orders are another surface than that of the search, and are no training data.
    run = read_run(tmp_path / "whole")
    orders = [row for row in run.rows if row.purpose == "magnetic"]
    assert len(orders) > 2
    assert not any(row.atoms.get_initial_magnetic_moments().any() for row in run.crystals)
    assert {item.info["purpose"] for item in read_data(tmp_path / "whole")} == {"train", "explore", "confirm"}
    given = settings_from_dict({**SETTINGS, "teacher": {"labels_from": [str(tmp_path / "whole")]}})
    known, _ = labels_known(given, whole)
    assert len(known.minima) == len(state.minima())
    assert not any(atoms.get_initial_magnetic_moments().any() for atoms in known.minima)


def test_orders_are_not_tried_where_the_setting_is_off(tmp_path):
    given = {"search": {**SETTINGS["search"], "magnetic": False, "proof": False}}
    state = search(tmp_path / "run", Heisenberg(SECOND_NEIGHBOURS), **given)
    assert state.magnetic == {"calls": 0, "failed": 0, "tried": 0, "changed": 0}
    assert {p.magnetic.order for p in state.polymorphs} == {"FM"}
    assert "magnetic" not in {row.purpose for row in read_run(tmp_path / "run").rows}


def test_a_search_that_continues_takes_the_orders_back(tmp_path):
    """The rounds after a limit is raised compare energies of the parallel order; the orders are tried again at the end."""
    toy = Heisenberg(SECOND_NEIGHBOURS)
    # With this seed the first round finds the lowest crystal, which no later one replaces.
    settings = {"search": {**SETTINGS["search"], "proof": False}, "seed": 5}
    done = search(tmp_path / "run", toy, **settings)
    assert done.magnetic["changed"] >= 1
    before = [p.energy for p in done.ranking()]
    raised = {**settings, "search": {**settings["search"], "max_rounds": 2}}
    with RunFolder.open(tmp_path / "run") as run:
        again = Search(run, prepare(settings_from_dict({**SETTINGS, **raised}), toy))
        energies = [p.energy for p in again.run().ranking()]
    assert again.state.round == 2
    # The energies of the orders are those of before: their calculations are in the ledger.
    assert energies[0] == pytest.approx(before[0], abs=1e-3)
    assert again.state.magnetic["changed"] >= 1
    assert again.state.records[-1].best > energies[0] + 0.01
