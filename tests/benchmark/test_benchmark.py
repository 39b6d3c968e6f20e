"""The benchmark end to end on a surrogate, small, and what its folder keeps."""

import json

import pytest

from nucleate.benchmark.run import Results, benchmark
from nucleate.benchmark.trials import trial_settings
from nucleate.errors import BadInput

SMALL = {
    "search": {"pool": 12, "first_batch": 4, "batch": 3, "max_rounds": 2},
    "training": {"steps": 20, "warm_steps": 10},
    "model": {"channels": 4, "hidden": 8},
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
    with pytest.raises(BadInput, match="reference itself"):
        benchmark("Si2", "chgnet", [0], 10, baseline_cells=1, pretrained="chgnet")


def test_whole_benchmark_on_a_surrogate_goes_on_where_it_was(tmp_path):
    pytest.importorskip("chgnet")
    events = []
    options = {"overrides": SMALL, "ablation": True, "workers": 1, "out": tmp_path}
    first = benchmark("Si2", "chgnet", [0], 12, **options, progress=events.append)
    assert [event.name for event in events] == ["nucleate/0", "nucleate_p1/0"]
    report = benchmark("Si2", "chgnet", [0], 12, **options, baseline_cells=2, progress=events.append)
    assert len(events) == 6
    assert {event.name for event in events[2:]} == {f"random_{kind}/{k}" for kind in ("symmetric", "p1") for k in range(2)}
    assert report["nucleate"] == first["nucleate"]
    assert 0 < report["nucleate"]["runs"][0]["calls"] <= 12
    assert report["target"]["space_group"] == "Fd-3m"
    assert report["settings"]["search"]["pool"] == 12
    assert report["settings"]["search"]["keep"] == 60
    assert report["random_symmetric"]["cells"] == 2
    assert report["random_symmetric"]["calls"] > 2
    json.dumps(report)


def test_target_and_baselines_are_asked_with_the_settings_of_the_search():
    emt = {"reference": {"calculator": "ase.calculators.emt:EMT"}, **SMALL}
    with pytest.raises(BadInput, match="no benchmark target"):
        benchmark("Cu4", "ase", [0], 10, overrides=emt)
    with pytest.raises(BadInput, match="baseline-cells"):
        benchmark("Si2", "chgnet", [0], 10, pretrained="sevennet")
