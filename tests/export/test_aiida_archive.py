"""An archive of AiiDA holds every calculation, and every calculation is an ancestor of the best polymorph."""

import json
import shutil
import subprocess
import sys

import pytest

from nucleate.csp.run_data import read_run
from nucleate.errors import MissingDependency
from nucleate.export.formats import export

READ = """
import json, sys
from aiida.manage import get_manager
from aiida.orm import CalculationNode, QueryBuilder, StructureData
from aiida.storage.sqlite_zip.backend import SqliteZipBackend

get_manager().load_profile(SqliteZipBackend.create_profile(sys.argv[1]), allow_switch=True)
labels = {"attributes.process_label": "nucleate.label"}
final = QueryBuilder().append(StructureData, filters={"extras.rank": 1}).one()[0]
above = QueryBuilder().append(StructureData, filters={"id": final.pk}, tag="final")
nodes = QueryBuilder().append(CalculationNode, filters=labels).all(flat=True)
print(json.dumps({
    "labels": len(nodes), "ancestors": above.append(CalculationNode, with_descendants="final", filters=labels).distinct().count(),
    "sealed": all(node.is_sealed and node.is_finished for node in nodes), "group": final.base.extras.get("space_group"),
    "energies": sorted(node.outputs.label.get_dict().get("energy", 0.0) for node in nodes),
}))
"""


def test_an_archive_contains_every_calculation(searched, tmp_path):
    pytest.importorskip("aiida", reason="aiida-core is not installed: pip install 'nucleate[aiida]'")
    shutil.copytree(searched, tmp_path / "run")
    # AiiDA keeps a profile for the whole process.
    command = [sys.executable, "-W", "ignore", "-m", "nucleate", "export", str(tmp_path / "run"), "--to", "aiida"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    read = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ, str(tmp_path / "run.aiida")], capture_output=True, text=True, check=True,
    )  # fmt: skip
    data, run = json.loads(read.stdout), read_run(tmp_path / "run")
    assert data["labels"] == data["ancestors"] == len(run.rows)
    assert data["sealed"]
    assert data["group"] == run.state.ranking()[0].space_group
    assert data["energies"] == pytest.approx(sorted(row.label.energy if row.label else 0.0 for row in run.rows))


def test_without_aiida_the_package_is_named(searched, tmp_path, monkeypatch):
    shutil.copytree(searched, tmp_path / "run")
    monkeypatch.setitem(sys.modules, "aiida", None)
    monkeypatch.setitem(sys.modules, "aiida.manage", None)
    with pytest.raises(MissingDependency, match=r"nucleate\[aiida\]"):
        export(tmp_path / "run", "aiida")
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
