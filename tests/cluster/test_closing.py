"""Jobs at the end of a search: none is left, and one that may be left is named. The batch system is played by shell scripts."""

import os
import signal
import stat
import threading
import time
from concurrent.futures import Future

import ase.io
import pytest
from ase.build import bulk

from nucleate.api import relax_file
from nucleate.csp.executor_file import opened_executor
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import BadInput, NucleateError, ReferenceFailed
from nucleate.persist.toml import to_toml
from nucleate.processes.interrupts import interrupts_delayed
from nucleate.reference.cluster.blocks import Blocks
from nucleate.reference.cluster.executor import ClusterExecutor
from nucleate.reference.cluster.labels import label_in_blocks
from nucleate.reference.cluster.settings import cluster_settings
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import Ledger
from nucleate.reference.spool import BLOCKS, write_answer
from tests.reference.fakes import Emt

SETTINGS = cluster_settings({"provider": "slurm", "connection": {"interface": "lo", "poll": 0.5}}, "slurm.toml")


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A batch system: `jobs` holds ids and names of its jobs, and `cancelled` the ids that were cancelled."""
    pytest.importorskip("parsl")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "jobs").touch()
    script(folder, "squeue", 'cat "$HERE/jobs"')
    script(folder, "scancel", 'for job in "$@"; do echo $job >> "$HERE/cancelled"; sed -i "/^$job /d" "$HERE/jobs"; done')
    script(folder, "sinfo", "echo main")
    # Accounting that lags behind: it lists no job.
    script(folder, "sacct", "exit 0")
    script(folder, "sbatch", 'echo "7 $(basename $1)" >> "$HERE/jobs"; sleep ${SLOW:-0}; echo Submitted batch job 7')
    monkeypatch.setenv("HERE", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def cancelled(system):
    path = system / "cancelled"
    return path.read_text().split() if path.exists() else []


def started(folder, *jobs):
    """The record of a process that was killed."""
    folder.mkdir(exist_ok=True)
    blocks = Blocks(folder)
    blocks.begin()
    for job in jobs:
        blocks.submitted(job, "slurm", 1, 600.0)
    return blocks


def test_jobs_are_cancelled_by_id_and_by_name(system, tmp_path):
    blocks = started(tmp_path / BLOCKS, "5", "6")
    (system / "jobs").write_text(f"5 {blocks.name}0.1\n8 {blocks.name}1.1\n9 parsl.nucleate.block-other-0.1\n6 mine\n")
    again = Blocks.read(tmp_path / BLOCKS)
    assert (again.token, again.open) == (blocks.token, True)
    swept = again.cancel_left()
    # The id of the second job was never written down; 6 was used again for another job.
    assert (swept.cancelled, swept.unsure, swept.asked) == (["5", "8"], {}, True)
    assert cancelled(system) == ["5", "8"]
    assert not Blocks.read(tmp_path / BLOCKS).left()


def test_a_job_that_seemed_to_have_ended_is_cancelled_by_its_own_process(system, tmp_path):
    blocks = started(tmp_path / BLOCKS, "5")
    blocks.seen("5", "ended")
    blocks.seen("5", "running")
    assert blocks.blocks["5"].state == "running"
    blocks.seen("5", "ended")
    (system / "jobs").write_text("5 parsl.nucleate.block-0.1\n")
    assert blocks.cancel_left().cancelled == ["5"]


def test_own_jobs_are_cancelled_although_the_record_is_foreign(system, tmp_path, monkeypatch):
    blocks = started(tmp_path / BLOCKS, "5")
    (system / "jobs").write_text(f"5 {blocks.name}0.1\n")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert Blocks.read(tmp_path / BLOCKS).cancel_left().cancelled == []
    assert blocks.cancel_left().cancelled == ["5"]


@pytest.fixture
def run(tmp_path):
    text = to_toml(settings_from_dict({"formula": "Cu4", "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT"}}))
    with RunFolder.create(tmp_path / "run", text) as folder:
        yield folder


def test_jobs_that_may_be_left_are_named(system, run, tmp_path, capsys):
    started(run.path / BLOCKS, "5", "6")
    script(system, "squeue", "exit 1")
    file = tmp_path / "slurm.toml"
    file.write_text('[connection]\ninterface = "lo"\n')
    refused = pytest.raises(NucleateError, match=r"jobs of an earlier process may still run, .*--executor local")
    with refused, opened_executor(run, str(file), "ase"):
        pass
    assert capsys.readouterr().err == f"{run.path}: jobs left: 5, 6; cancel them with: scancel 5 6\n"
    assert [event["jobs"] for event in run.events()] == [["5", "6"]]
    # Without blocks the run goes on.
    with opened_executor(run, "local", "ase") as executor:
        assert executor is None
    script(system, "squeue", 'cat "$HERE/jobs"')
    with opened_executor(run, str(file), "ase") as executor:
        assert executor is not None


def test_interrupts_wait_while_jobs_are_cancelled():
    seen = []

    def twice():
        with interrupts_delayed():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            seen.append("done")

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert seen == ["done"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def wait_for(true, seconds=20):
    end = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)
    return answer


def raise_late(action, *given):
    """Do something, and wait for an interrupt that has not come by then."""
    action(*given)
    time.sleep(5)


def test_closing_with_late_accounting_and_impatient_interrupts(system, tmp_path):
    """The accounting lists no job, the batch system is slow, and Ctrl-C comes while Parsl starts and twice while it closes."""
    executor = ClusterExecutor(SETTINGS, tmp_path / BLOCKS, "slurm.toml")
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        raise_late(executor.submit, abs, 1)
    executor.submit(abs, 1)
    wait_for(lambda: executor.blocks.own)
    time.sleep(1.5)
    assert executor.blocks.blocks["7"].state == "waiting"
    (name,) = [line.split()[1] for line in (system / "jobs").read_text().splitlines()]
    assert name.startswith(f"parsl.nucleate.block-{executor.blocks.token}-0.")
    script(system, "squeue", 'sleep 1; cat "$HERE/jobs"')
    threads = [threading.Timer(pause, os.kill, (os.getpid(), signal.SIGINT)) for pause in (0.1, 0.3)]
    for thread in threads:
        thread.start()
    with pytest.raises(KeyboardInterrupt):
        raise_late(executor.shutdown)
    for thread in threads:
        thread.join()
    assert (system / "jobs").read_text() == ""
    assert not Blocks.read(tmp_path / BLOCKS).open


def test_a_job_that_is_still_being_submitted_is_cancelled(system, tmp_path, monkeypatch):
    monkeypatch.setenv("SLOW", "2")
    executor = ClusterExecutor(SETTINGS, tmp_path / BLOCKS, "slurm.toml")
    executor.submit(abs, 1)
    wait_for(lambda: executor.blocks.submitting)
    executor.shutdown()
    assert cancelled(system)[:1] == ["7"]
    assert not Blocks.read(tmp_path / BLOCKS).left()


def test_a_forgotten_job_has_ended(system, tmp_path):
    from nucleate.reference.cluster.providers import make_provider

    script(system, "sacct", "exit 1")
    script(system, "sbatch", "echo Submitted batch job 7")
    provider = make_provider(SETTINGS, started(tmp_path / BLOCKS))
    provider.script_dir = str(tmp_path)
    assert provider.submit("true", 1, "parsl.nucleate.block-0") == "7"
    script(system, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert provider.status(["7"])[0].state.name == "PENDING"
    script(system, "squeue", "case $* in *--job*) echo Invalid job id specified >&2; exit 1;; esac")
    assert provider.status(["7"])[0].state.name == "COMPLETED"


class ManagerLost(Exception):
    pass


class Played:
    """An executor whose futures end as the test says."""

    def __init__(self, folder, *ends, attempts=3):
        self.folder, self.ends, self.attempts, self.source, self.ranks = folder, list(ends), attempts, "slurm.toml", None

    def submit(self, *unused):
        future = Future()
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            future.set_exception(end)
        else:
            future.set_result((end, 1.0))
        return future

    def check(self):
        pass


def test_answers_that_have_arrived_are_saved(tmp_path):
    label, kept = Emt().label(bulk("Cu", cubic=True)), []
    executor = Played(tmp_path, label, ImportError("no x"), label)

    def finish(key, answer, wall):
        raise KeyboardInterrupt

    with pytest.raises((NucleateError, KeyboardInterrupt)):
        label_in_blocks(
            executor, Emt(), dict.fromkeys("abc", bulk("Cu")), None, None, lambda *_: 1, finish, lambda *given: kept.append(given[0])
        )
    assert kept == ["a", "c"]


def test_the_limit_of_attempts_outlives_the_search_and_a_lost_label_costs_nothing(tmp_path):
    answers = []
    executor = Played(tmp_path, ManagerLost(), ManagerLost(), ManagerLost())
    handed = iter((2, 3))
    label_in_blocks(
        executor, Emt(), {"a": bulk("Cu")}, None, None, lambda *_: next(handed), lambda *given: answers.append(given), lambda *_: None
    )
    ((_, answer, wall),) = answers
    assert isinstance(answer, ReferenceFailed)
    assert "lost 3 times" in answer.reason
    assert wall == 0
    assert len(executor.ends) == 1


def test_labels_in_the_spool_are_not_computed(system, tmp_path):
    from nucleate.reference.base import content_hash

    ledger, atoms, reference = Ledger(tmp_path / "run.db"), bulk("Cu", cubic=True), Emt()
    write_answer(ledger.spool, content_hash(atoms, reference.settings()), reference.label(atoms), 1.0)
    executor = ClusterExecutor(SETTINGS, tmp_path / BLOCKS, "slurm.toml")
    (answer,) = Dispatcher(reference, ledger, executor=executor).label_many([atoms], "train", 0)
    assert answer.energy == reference.label(atoms).energy
    assert (system / "jobs").read_text() == ""
    assert [(row.status, row.attempts) for row in ledger.rows()] == [("ok", 1)]


def test_a_node_without_room_for_a_label_is_said(tmp_path):
    executor = ClusterExecutor(SETTINGS, tmp_path / BLOCKS, "slurm.toml")

    class Parsl:
        interchange_proc = None

        def connected_managers(self):
            return [{"worker_count": 0}]

    executor._parsl = Parsl()
    with pytest.raises(NucleateError, match=r"no label of 1 cores fits on a node; reduce label.cores"):
        executor.check()


def test_relaxations_in_blocks_need_a_ledger(executor_file, tmp_path, monkeypatch):
    monkeypatch.setattr("nucleate.reference.cluster.given.check_cluster", lambda *given: None)
    ase.io.write(tmp_path / "cu.cif", bulk("Cu"))
    with pytest.raises(BadInput, match=r"blocks need a ledger, which keeps their results; name one with --ledger FILE"):
        relax_file(tmp_path / "cu.cif", reference="chgnet", executor=executor_file())


def test_wall_times_are_rounded_up_to_minutes():
    from nucleate.reference.cluster.providers import make_provider

    settings = cluster_settings({"provider": "pbs", "block": {"walltime": "00:01:01"}, "connection": {"interface": "lo"}}, "x")
    assert make_provider(settings, None).walltime == "00:02:00"
