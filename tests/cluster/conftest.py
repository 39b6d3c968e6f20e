"""A Slurm for the tests of this folder, and executor files for it."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from nucleate.reference.cluster.settings import read_cluster
from tests.cluster.slurm_here import Slurm, missing

ROOT = Path(__file__).parents[2]
FILE = """
provider = "slurm"

[block]
partition = "main"
walltime = "00:10:00"
workers_per_node = 2
setup = ["export PYTHONPATH=PLACE"]

[connection]
interface = "lo"
heartbeat = 2
silence = 30
poll = 1.0
"""


@pytest.fixture(scope="module")
def slurm():
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    pytest.importorskip("parsl")
    # Not in pytest's folder: the paths of its sockets would be too long.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with Slurm(folder) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def executor_file(tmp_path):
    """Write an executor file; return its path. Texts are replaced in it."""

    def write(*replacements, name="slurm.toml"):
        text = FILE.replace("PLACE", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        read_cluster(path)
        return path

    return write
