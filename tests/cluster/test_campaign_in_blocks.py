"""Searches of a campaign share the blocks of one executor."""

from nucleate import api
from nucleate.campaign.run import campaign
from nucleate.csp.run_data import read_run
from nucleate.reference.cluster.blocks import Blocks
from nucleate.reference.spool import BLOCKS

SETTINGS = {
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT"},
    "search": {"pool": 8, "first_batch": 4, "batch": 2, "max_rounds": 1, "proof": False, "check": False},
    "generate": {"workers": 1, "prototype_share": 0.0},
    "model": {"members": 2, "radial": 5, "channels": 4, "hidden": 8},
    "training": {"steps": 20, "warm_steps": 10},
    "relax": {"max_steps": 20, "workers": 1},
}


def test_labels_of_two_searches_run_in_the_same_blocks(slurm, executor_file, tmp_path):
    result = campaign(["Cu2", "Al2"], settings=SETTINGS, out=tmp_path / "blocks", executor=executor_file(), at_once=2)
    assert [line.status for line in result.lines] == ["finished", "finished"]
    slurm.wait_until_empty()
    cost = Blocks.read(tmp_path / "blocks" / BLOCKS).cost()
    assert cost["label_core_seconds"] > 0
    # The first search has no labels of others, so that it is the one without a campaign.
    line = result.lines[0]
    local = api.search(line.name, settings=SETTINGS, out=tmp_path / "local")
    assert line.calls == local.calls > 4
    rows = {row.hash: row.label.energy for row in read_run(tmp_path / "blocks" / line.name).rows}
    assert rows == {row.hash: row.label.energy for row in read_run(tmp_path / "local").rows}
