"""A script without a guard, which worker processes import."""

import multiprocessing

import pytest

import nucleate
from nucleate.processes.scripts import refuse_import_by_worker


def test_a_search_does_not_begin_in_a_worker_that_imports_the_script(monkeypatch, tmp_path):
    refuse_import_by_worker("search")
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    for call in (
        lambda: nucleate.search("Al4", out=tmp_path / "run"),
        lambda: nucleate.resume(tmp_path / "run"),
        lambda: nucleate.relax_file(tmp_path / "x.cif"),
    ):
        with pytest.raises(SystemExit, match="worker processes import this script") as raised:
            call()
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()
