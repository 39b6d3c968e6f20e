"""Executor files: every mistake is one line and exit code 2, and nothing is started or created."""

import os
import re
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.csp.executor_file import FILE, blocks_data, opened_executor
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import BadInput, MissingDependency
from nucleate.persist.toml import to_toml
from nucleate.reference.cluster.blocks import Block, Blocks, note_label
from nucleate.reference.cluster.checks import check_cluster
from nucleate.reference.cluster.given import check_place, read_executor
from nucleate.reference.cluster.settings import (
    BlockSettings,
    ConnectionSettings,
    LabelSettings,
    cluster_settings,
    read_cluster,
    seconds_of,
)
from nucleate.reference.ledger import Ledger
from nucleate.reference.spool import BLOCKS

VALID = {"provider": "slurm", "connection": {"interface": "lo"}}
CLUSTER = {"block": {"cores_per_node": 64, "memory_per_node": 200, "walltime": "1-00:00:00"}, "label": {"cores": 4, "memory": 25.0}}


def settings(**tables):
    return cluster_settings({**VALID, **tables}, "slurm.toml")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"block": {"partitions": "main"}}, r"unknown key block.partitions; did you mean partition\?"),
        ({"blocks": {}}, r"unknown key blocks; did you mean block\?"),
        ({"block": {"walltime": "4h"}}, "block.walltime: .*such as 04:00:00"),
        ({"block": {"walltime": "04:75:00"}}, "block.walltime"),
        ({"block": {"partition": ""}}, "block.partition: .*leave it out"),
        ({"block": {"partition": "main --wrap=x"}}, "block.partition: .*without spaces"),
        ({"block": {"setup": ["module load gpaw\nrm -r x"]}}, "line ends"),
        ({"block": {"nodes": 0}}, "block.nodes"),
        ({"block": {"last_label": "05:00:00"}}, "shorter than block.walltime"),
        ({"block": {"cores_per_node": 4, "workers_per_node": 8}}, "do not fit into block.cores_per_node"),
        ({"block": {"memory_per_node": 8, "workers_per_node": 8}, "label": {"memory": 2.0}}, "do not fit into block.memory_per_node"),
        ({"block": {"image": "x"}}, "no effect on provider 'slurm'"),
        ({"provider": "lsf"}, "provider: .*'slurm', 'pbs', 'kubernetes' or 'local'"),
        ({"provider": "pbs", "block": {"qos": "high"}}, "block.qos has no effect on provider 'pbs'"),
        ({"provider": "kubernetes"}, "block.image is missing"),
        ({"connection": {}}, "connection.interface is missing"),
        ({"connection": {"address": "0.0.0.0"}}, "would listen everywhere"),
        *[
            ({"connection": {"address": text}}, "would listen everywhere")
            for text in ("::", "0", "0.0", "", "::0", "::ffff:0.0.0.0", "0x0")
        ],
        ({"block": {"walltime": "00:00:59"}}, "at least one minute"),
        ({"label": {"memory": 2.0}}, "label.memory needs block.memory_per_node"),
        ({"connection": {"interface": "lo", "poll": 100}}, "connection.poll"),
        *[({"block": {"python": text}}, "block.python: .*without spaces") for text in ("py thon", "{x}", "$HOME/python", "a'b", "")],
        ({"connection": {"interface": "lo", "address": "127.0.0.1"}}, "both given"),
        ({"connection": {"interface": "lo", "heartbeat": 40}}, "at least twice"),
        ({"connection": {"interface": "lo", "ports": [80, 90]}}, "connection.ports"),
        ({"label": {"launch": "mpiexec -n {ranks}"}}, "no effect with one rank"),
        ({"label": {"ranks": 2, "launch": "mpiexec 'x"}}, "No closing quotation"),
    ],
)
def test_mistakes_are_named(tables, message):
    with pytest.raises(BadInput, match=message) as raised:
        settings(**tables)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("slurm.toml: ")


def test_what_a_block_is():
    parallel = settings(**CLUSTER)
    assert (parallel.workers, parallel.cores_of_a_label, parallel.cores, parallel.launch) == (8, 4, 64, "")
    two = settings(block={"nodes": 2, "workers_per_node": 3}, label={"ranks": 8})
    assert (two.cores, two.launch) == (48, "srun --exact -n 8")
    assert settings(label={"ranks": 8, "launch": "mpiexec -np {ranks}"}).launch == "mpiexec -np 8"
    assert [seconds_of(text) for text in ("00:00:01", "04:00:00", "2-01:00:00")] == [1, 14400, 176400]


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "examples" / "executors").glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_valid(path):
    example = read_cluster(path)
    documented = (Path(__file__).parents[2] / "docs" / "slurm.md").read_text(encoding="utf-8")
    assert f"examples/executors/{path.name}" in documented
    assert example.cores == {"shared_nodes": 16, "whole_nodes_mpi": 256, "preemptible": 8}[path.stem]


def test_every_setting_is_documented():
    documented = (Path(__file__).parents[2] / "docs" / "slurm.md").read_text(encoding="utf-8")
    for model in (BlockSettings, LabelSettings, ConnectionSettings):
        assert [name for name in model.model_fields if f"`{name}`" not in documented and name not in ("image", "namespace")] == []


def test_files_that_are_none(tmp_path):
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "none.toml", "no such settings file; examples are in docs/slurm.md")):
        with pytest.raises(BadInput, match=message):
            read_cluster(path)
    (tmp_path / "x.toml").write_text("provider = ")
    with pytest.raises(BadInput, match="cannot be read as TOML"):
        read_cluster(tmp_path / "x.toml")
    with pytest.raises(BadInput, match="int is neither a file nor"):
        read_executor(3)
    with pytest.raises(BadInput, match="spaces or special characters"):
        check_place("slurm.toml", tmp_path / "my run")


def programs(folder, **texts):
    """Programs of a batch system that only print."""
    for name, text in texts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A login node with Slurm's programs, which print what the test says."""
    pytest.importorskip("parsl")
    folder = tmp_path / "bin"
    folder.mkdir()
    programs(folder, sbatch="echo sbatch: Job 1 to start >&2", squeue="", scancel="", sinfo="echo main; echo long", sacct="exit 1")
    # A Slurm that is installed here is not seen.
    monkeypatch.setenv("PATH", f"{folder}:{_shell(tmp_path)}")
    return folder


def _shell(tmp_path):
    folder = tmp_path / "sh"
    folder.mkdir()
    for name in ("sh", "bash", "cat"):
        (folder / name).symlink_to(Path("/bin") / name)
    return folder


def test_the_machine_is_asked_before_anything_starts(machine):
    check_cluster(settings(block={"partition": "main"}), "slurm.toml")
    with pytest.raises(BadInput, match=r"block.partition 'gpu' does not exist; the partitions are: long, main"):
        check_cluster(settings(block={"partition": "gpu"}), "slurm.toml")
    with pytest.raises(BadInput, match=r"connection.interface 'ib9' does not exist here; the interfaces are: .*lo"):
        check_cluster(settings(connection={"interface": "ib9"}), "slurm.toml")
    with pytest.raises(BadInput, match=r"'192.0.2.7' is not an address of this computer"):
        check_cluster(settings(connection={"address": "192.0.2.7"}), "slurm.toml")
    (machine / "sbatch").unlink()
    with pytest.raises(MissingDependency, match="needs the program sbatch, which is not found here; run nucleate on a login node"):
        check_cluster(settings(), "slurm.toml")


def test_parsl_is_named_when_it_is_missing(monkeypatch):
    monkeypatch.setattr("nucleate.reference.cluster.checks.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install 'nucleate\[cluster\]'"):
        check_cluster(settings(), "slurm.toml")


def test_the_job_script_is_shown(machine, tmp_path):
    path = tmp_path / "slurm.toml"
    path.write_text(
        'provider = "slurm"\n[block]\npartition = "main"\naccount = "chem"\nnodes = 2\nworkers_per_node = 4\nwalltime = "2-00:00:00"\n'
        'memory_per_node = 100\noptions = ["--mail-type=FAIL"]\nsetup = ["module load gpaw"]\n[label]\ncores = 2\n'
        '[connection]\ninterface = "lo"\n'
    )
    shown = CliRunner().invoke(app, ["cluster", "check", str(path)])
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    for line in ("#SBATCH --partition=main", "#SBATCH --account=chem", "#SBATCH --nodes=2", "#SBATCH --time=2880", "#SBATCH --mem=100g",
                 "#SBATCH --mail-type=FAIL", "#SBATCH --cpus-per-task=8", "module load gpaw", "export OMP_NUM_THREADS=2"):  # fmt: skip
        assert line in lines
    assert re.search(rf"{re.escape(sys.executable)} -P -m parsl\S* .*--max_workers_per_node=4 -a 127.0.0.1 ", shown.stdout)
    assert "srun --ntasks 2 -l --overlap --mpi=none bash" in shown.stdout
    assert "2 nodes with 4 workers of 2 cores, 16 cores in all" in shown.stderr
    assert "sbatch: Job 1 to start" in shown.stderr
    programs(machine, sbatch="echo sbatch: error: invalid account >&2; exit 1")
    refused = CliRunner().invoke(app, ["cluster", "check", str(path)])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert "the batch system would refuse the job: sbatch: error: invalid account" in refused.stderr


def test_other_providers_by_configuration_alone(machine):
    from nucleate.reference.cluster.script import job_script

    programs(machine, qsub="", qstat="", qdel="")
    script = job_script(settings(provider="pbs", block={"partition": "long", "cores_per_node": 8, "options": ["-m a"]}), "pbs.toml")
    # The queue is an option of qsub.
    for text in ("#PBS -m a", "ncpus=8", "walltime=04:00:00"):
        assert text in script
    local = job_script(cluster_settings({"provider": "local", "block": {"workers_per_node": 2}}, "local.toml"), "local.toml")
    assert "export PARSL_CORES=2" in local
    assert "-a 127.0.0.1 " in local


@pytest.mark.parametrize("verb", ["search", "resume"])
def test_a_bad_file_starts_nothing(machine, tmp_path, verb):
    path, run = tmp_path / "slurm.toml", tmp_path / "run"
    path.write_text('[block]\npartition = "gpu"\n[connection]\ninterface = "lo"\n')
    command = ["search", "Cu4", "--out", str(run)] if verb == "search" else ["resume", str(run)]
    ran = CliRunner().invoke(app, [*command, "--executor", str(path)])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "block.partition 'gpu' does not exist" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not run.exists()


@pytest.fixture
def run(tmp_path):
    text = to_toml(settings_from_dict({"formula": "Cu4", "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT"}}))
    with RunFolder.create(tmp_path / "run", text) as folder:
        yield folder


def test_a_run_keeps_its_executor(machine, run, tmp_path):
    path = tmp_path / "slurm.toml"
    path.write_text('[block]\nworkers_per_node = 3\n[label]\ncores = 2\n[connection]\ninterface = "lo"\n')
    with opened_executor(run, str(path), "ase") as executor:
        assert executor.settings.workers == 3
    kept = run.path / FILE
    assert read_cluster(kept) == read_cluster(path)
    with opened_executor(run, None, "espresso") as executor:
        assert (executor.settings.workers, executor.ranks.own_program, executor.source) == (3, True, str(kept))
    with ThreadPoolExecutor(1) as other, opened_executor(run, other, "ase") as executor:
        assert executor is other
    kept.write_text('[block]\npartition = "old"\n[connection]\ninterface = "lo"\n')
    with pytest.raises(BadInput, match=r"'old' does not exist.*none with --executor local"), opened_executor(run, None, "ase"):
        pass
    with opened_executor(run, "local", "ase") as executor:
        assert executor is None
    assert not kept.exists()


def test_the_file_of_another_user_is_not_used_unread(machine, run, monkeypatch):
    (run.path / FILE).write_text('[connection]\ninterface = "lo"\n')
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(BadInput, match="blocks: belongs to another user"), opened_executor(run, None, "ase", trust=True):
        pass
    monkeypatch.setattr("nucleate.reference.cluster.executor.is_ours", lambda folder: True)
    with pytest.raises(Exception, match="belongs to another user and its lines are part of job scripts"), opened_executor(run, None, "ase"):
        pass
    with opened_executor(run, None, "ase", trust=True) as executor:
        assert executor is not None


def test_the_cost_of_blocks(run):
    assert blocks_data(run.path) is None
    blocks = Blocks(run.path / BLOCKS)
    blocks.folder.mkdir()
    blocks.submitted("7", "slurm", 4, 100.0, label_cores=2)
    with (blocks.folder / "blocks.jsonl").open("a") as stream:
        when = blocks.blocks["7"].since
        for state, after in (("running", 5), ("waiting", 25), ("running", 30), ("ended", 45)):
            stream.write(f'{{"time": {when + after}, "job": "7", "state": "{state}"}}\n')
        stream.write('{"time": "then", "job": 8}\n{"half')
    run.ledger.collect()
    note_label(blocks.folder, 21.0)
    data = blocks_data(run.path)
    assert data.pop("core_seconds") == pytest.approx(4 * 35, abs=0.1)
    assert data.pop("idle_share") == pytest.approx(1 - 42 / 140, abs=1e-3)
    assert data == {"count": 1, "waiting": 0, "running": 0, "label_core_seconds": 42.0}
    # A block whose end nobody saw has cost no more than its wall time, and one that is queued again has a new wall time.
    block = Block("1", "slurm", 1, 100.0, state="running", since=0.0)
    assert block.ran(1e6) == 100.0
    for state, when in (("waiting", 80.0), ("running", 100.0)):
        block.advance(state, when)
    assert block.ran(170.0) == 150.0


def test_the_result_names_the_cost(run):
    from nucleate.csp.run_data import read_run, show_data
    from nucleate.report.run_text import blocks_line

    blocks = Blocks(run.path / BLOCKS)
    blocks.folder.mkdir()
    blocks.submitted("7", "slurm", 4, 3600.0)
    data = show_data(read_run(run.path))["blocks"]
    assert (data["count"], data["waiting"], data["idle_share"]) == (1, 1, None)
    assert blocks_line(data) == "1 block on the cluster (1 waiting): 0.00 core-hours, of them 0.00 in labels"
    done = {**data, "waiting": 0, "core_seconds": 7200.0, "label_core_seconds": 5400.0, "idle_share": 0.25}
    assert blocks_line(done) == "1 block on the cluster: 2.00 core-hours, of them 1.50 in labels (25 % idle)"


def test_workers_import_neither_torch_nor_parsl(tmp_path):
    import subprocess

    code = "import sys, nucleate.reference.cluster.worker; print([m for m in ('torch', 'parsl', 'pymatgen') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_labels_written_by_workers_are_taken_once(tmp_path):
    from ase.build import bulk

    from nucleate.reference.base import content_hash
    from nucleate.reference.spool import kept_answer, write_answer
    from tests.reference.fakes import Emt

    ledger, reference, atoms = Ledger(tmp_path / "run.db"), Emt(), bulk("Cu", cubic=True)
    key = content_hash(atoms, reference.settings())
    ledger.begin(key, atoms, "fake", {}, "train", 0)
    label = reference.label(atoms)
    assert kept_answer(ledger.spool, key) is None
    write_answer(ledger.spool, key, label, 3.0)
    (ledger.spool / f"{key}.half.json.part").write_text("{")
    assert kept_answer(ledger.spool, key)[0].energy == label.energy
    assert (ledger.collect(), ledger.collect()) == (1, 0)
    assert ledger.lookup(key).status == "ok"
    # The file that another worker is writing is left to it.
    assert [path.suffix for path in ledger.spool.iterdir()] == [".part"]


@pytest.fixture
def spooled(tmp_path):
    """A ledger with a label that a worker is computing: ledger, hash and label."""
    from ase.build import bulk

    from nucleate.reference.base import content_hash
    from tests.reference.fakes import Emt

    ledger, reference, atoms = Ledger(tmp_path / "run.db"), Emt(), bulk("Cu", cubic=True)
    key = content_hash(atoms, reference.settings())
    ledger.begin(key, atoms, "fake", {}, "train", 0)
    return ledger, key, reference.label(atoms)


def test_the_spool_of_a_run_with_blocks_stays(spooled, tmp_path):
    from nucleate.reference.spool import write_answer

    ledger, key, label = spooled
    spool = ledger.spool
    ledger.collect()
    assert not spool.exists()
    # A worker that was already computing creates it again.
    write_answer(spool, key, label, 1.0)
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700
    (tmp_path / BLOCKS).mkdir()
    assert ledger.collect() == 1
    assert spool.is_dir()


def test_files_that_cannot_be_read_are_kept(spooled, monkeypatch):
    from nucleate.reference.spool import write_answer

    ledger, key, label = spooled
    written = write_answer(ledger.spool, key, label, 1.0)
    damaged = ledger.spool / f"{'b' * 64}.json"
    damaged.write_text("{")
    foreign = write_answer(ledger.spool, "c" * 64, label, 1.0)
    with monkeypatch.context() as stale:
        stale.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(OSError(116, "Stale file handle")))
        assert ledger.collect() == 0
    assert written.exists()
    assert damaged.exists()
    assert ledger.collect() == 1
    assert sorted(ledger.spool.iterdir()) == [damaged.with_name(damaged.name + ".damaged"), foreign]
