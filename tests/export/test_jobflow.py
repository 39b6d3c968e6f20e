"""A search as a job of jobflow has the results of the search, as pymatgen structures."""

import importlib
import sys

import pytest

from nucleate import api
from nucleate.errors import MissingDependency
from nucleate.units import GPA
from tests.export.conftest import SETTINGS


# jobflow uses functions of monty that monty will remove.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_job_returns_what_the_search_has_found(tmp_path, monkeypatch):
    jobflow = pytest.importorskip("jobflow", reason="jobflow is not installed: pip install 'nucleate[jobflow]'")
    from maggma.stores import MemoryStore
    from pymatgen.core import Structure

    from nucleate.jobflow import SearchMaker

    monkeypatch.chdir(tmp_path)
    maker = SearchMaker.from_dict(SearchMaker(settings=SETTINGS, options={"seed": 3}).as_dict())
    first = maker.make("Cu2")

    @jobflow.job
    def lowest(polymorphs):
        return min(polymorphs, key=lambda polymorph: polymorph["enthalpy_per_atom"])["space_group"]

    second = lowest(first.output["polymorphs"])
    store = jobflow.JobStore(MemoryStore())
    answers = jobflow.run_locally(
        jobflow.Flow([first, second]), store=store, create_folders=True, root_dir=tmp_path, ensure_success=True, log=False
    )
    output = answers[first.uuid][1].output
    shown = api.show(output["folder"])
    assert output["folder"].startswith(str(tmp_path))
    assert (output["calls"], output["finished"]) == (shown["calls"], shown["finished"])
    assert len(output["polymorphs"]) == len(shown["polymorphs"]) > 0
    for polymorph, expected in zip(output["polymorphs"], shown["polymorphs"], strict=True):
        structure = polymorph["structure"]
        assert isinstance(structure, Structure)
        assert structure.volume / len(structure) == pytest.approx(expected["volume"])
        assert polymorph["enthalpy_per_atom"] == pytest.approx(expected["energy"])
        assert polymorph["energy_per_atom"] + 2.0 * GPA * expected["volume"] == pytest.approx(expected["energy"])
        assert (polymorph["space_group"], polymorph["check"]) == (expected["space_group"], expected["check"])
    assert answers[second.uuid][1].output == shown["polymorphs"][0]["space_group"]
    # What is stored is JSON from which the structures are made again.
    stored = store.get_output(first.uuid, load=True)
    assert Structure.from_dict(stored["polymorphs"][0]["structure"]) == output["polymorphs"][0]["structure"]


def test_without_jobflow_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jobflow", None)
    monkeypatch.delitem(sys.modules, "nucleate.jobflow", raising=False)
    with pytest.raises(MissingDependency, match=r"pip install 'nucleate\[jobflow\]'"):
        importlib.import_module("nucleate.jobflow")
