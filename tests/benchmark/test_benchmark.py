"""The benchmark end to end on a surrogate, small, and what its folder keeps."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from nucleate.benchmark.run import Results, benchmark
from nucleate.benchmark.targets import relaxed_target
from nucleate.benchmark.trials import confirm_trial, dispatching, repeated, trial_settings
from nucleate.errors import BadInput, ReferenceFailed
from nucleate.reference import Ledger, ReferenceSettings, make_reference
from nucleate.reference.base import Label

pytestmark = pytest.mark.usefixtures("undrawn")

EMT = ReferenceSettings(engine="ase", calculator="ase.calculators.emt:EMT")

SMALL = {
    "search": {"pool": 12, "first_batch": 4, "batch": 3, "max_rounds": 2},
    "training": {"steps": 20, "warm_steps": 10},
    "model": {"members": 2, "channels": 4, "hidden": 8},
    "generate": {"workers": 1},
    "relax": {"max_steps": 40, "workers": 1},
}


def test_settings_of_a_search_are_resolved_and_checked():
    settings = trial_settings("Si8", "chgnet", 7, 99, {"search": {"pool": 12}})
    assert (settings.seed, settings.search.budget, settings.search.pool, settings.search.proof) == (7, 99, 12, False)
    with pytest.raises(BadInput, match="pool"):
        trial_settings("Si8", "chgnet", 7, 99, {"search": {"pol": 12}})
    with pytest.raises(BadInput):
        trial_settings("Si8", "chgnett", 7, 99, {})


def test_results_are_kept_and_an_unfinished_line_is_done_again(tmp_path):
    path = tmp_path / "Si2.jsonl"
    head = {"system": "Si2"}
    Results(path, head).add("nucleate/0", {"calls": 3})
    with path.open("a") as file:
        file.write('["nucleate/1", {"cal')
    again = Results(path, head)
    assert again.units == {"nucleate/0": {"calls": 3}}
    again.add("nucleate/1", {"calls": 4})
    assert Results(path, head).units == {"nucleate/0": {"calls": 3}, "nucleate/1": {"calls": 4}}


def test_results_of_other_settings_are_refused(tmp_path):
    path = tmp_path / "Si2.jsonl"
    Results(path, {"system": "Si2"})
    with pytest.raises(BadInput, match="other settings"):
        Results(path, {"system": "Si3"})
    path.write_text("not json\n")
    with pytest.raises(BadInput, match="benchmark results"):
        Results(path, {"system": "Si2"})


def test_a_pretrained_potential_that_is_the_reference_is_refused():
    pytest.importorskip("sevenn")
    with pytest.raises(BadInput, match="choose another"):
        benchmark("Si2", "sevennet", [0], 10, baseline_cells=1, pretrained="7net-0")


def test_whole_benchmark_on_a_surrogate_goes_on_where_it_was(tmp_path):
    events = []
    write(tmp_path / "fcc.cif", bulk("Cu", a=3.7))
    emt = {"reference": {"calculator": "ase.calculators.emt:EMT"}, **SMALL}
    options = {"overrides": emt, "ablation": True, "workers": 1, "out": tmp_path / "out", "target_file": tmp_path / "fcc.cif"}
    first = benchmark("Cu2", "ase", [0], 12, **options, progress=events.append)
    assert [event.name for event in events] == ["nucleate/0", "nucleate_p1/0"]
    report = benchmark("Cu2", "ase", [0], 12, **options, baseline_cells=1, progress=events.append)
    assert len(events) == 4
    assert {event.name for event in events[2:]} == {f"random_{kind}/{k}" for kind in ("symmetric", "p1") for k in range(1)}
    assert report["nucleate"] == first["nucleate"]
    assert 0 < report["nucleate"]["runs"][0]["calls"] <= 12
    assert report["target"]["space_group"] == "Fm-3m"
    assert report["settings"]["search"]["pool"] == 12
    assert report["settings"]["search"]["keep"] == 60
    assert report["random_symmetric"]["cells"] == 1
    assert report["random_symmetric"]["calls"] > 1
    json.dumps(report)


def test_target_and_baselines_are_asked_with_the_settings_of_the_search():
    emt = {"reference": {"calculator": "ase.calculators.emt:EMT"}, **SMALL}
    with pytest.raises(BadInput, match="no benchmark target"):
        benchmark("Cu4", "ase", [0], 10, overrides=emt)
    with pytest.raises(BadInput, match="baseline-cells"):
        benchmark("Si2", "chgnet", [0], 10, pretrained="sevennet")


def test_any_crystal_is_a_target_and_both_definitions_are_judged(tmp_path):
    """The named crystal is fcc; hcp-like structures within 5 meV/atom of the lowest energy count by energy alone."""
    with dispatching(make_reference(EMT)) as dispatcher:
        write(tmp_path / "fcc.cif", bulk("Cu", a=3.7))
        target = relaxed_target("Cu4", dispatcher, file=tmp_path / "fcc.cif")
        assert target.number == 225
        assert target.lowest == target.energy
        hcp = bulk("Cu", "hcp", a=2.55, c=4.16)
        assert not target.hit(hcp, target.energy + 0.004)
        assert target.low(target.energy + 0.004)
        assert not target.low(target.energy + 0.006)
        assert target.low(target.energy - 0.5)
        lower = relaxed_target("Cu4", dispatcher, file=tmp_path / "fcc.cif", lowest=target.energy - 0.010)
        assert not lower.low(target.energy)
        assert lower.hit(target.atoms, target.energy)
        with pytest.raises(BadInput, match="above that of the target"):
            relaxed_target("Cu4", dispatcher, file=tmp_path / "fcc.cif", lowest=target.energy + 0.1)
        with pytest.raises(BadInput, match="composition"):
            relaxed_target("Al4", dispatcher, file=tmp_path / "fcc.cif")


def test_end_points_of_baselines_are_symmetrised_as_those_of_the_search(tmp_path):
    """A relaxation that stops while it is still sheared by some percent is the crystal, and not another one."""
    settings = trial_settings("Cu4", "ase", 0, 10, {"reference": {"calculator": "ase.calculators.emt:EMT"}})
    with dispatching(make_reference(EMT)) as dispatcher:
        write(tmp_path / "fcc.cif", bulk("Cu", a=3.6))
        target = relaxed_target("Cu4", dispatcher, file=tmp_path / "fcc.cif")
    sheared = bulk("Cu", a=3.6, cubic=True)
    sheared.set_cell(np.diag([3.50, 3.61, 3.72]), scale_atoms=True)
    result = confirm_trial(settings, sheared, target)
    assert result.hit
    assert result.low
    # Calls of the symmetrised relaxation are counted.
    assert result.calls >= 2


def test_a_repeated_calculation_counts_as_two(tmp_path):
    """GPAW repeats what does not converge with slower mixing; other engines do not."""
    ledger = Ledger(tmp_path / "ledger.db")
    answers = (
        Label(-1.0, np.zeros((1, 3)), np.zeros(6), details={"first_try": "not converged"}),
        Label(-1.0, np.zeros((1, 3)), np.zeros(6)),
        ReferenceFailed("not converged after 100 iterations", kind="unconverged"),
        ReferenceFailed("out of memory"),
    )
    for number, answer in enumerate(answers):
        ledger.begin(str(number), bulk("Cu"), "gpaw", {}, "train", 0)
        ledger.finish(str(number), answer, 0.0)
    assert repeated(ledger, "gpaw") == 2
    assert repeated(ledger, "espresso") == 1
