"""Labels in blocks of a real Slurm: the same as local ones, and none is lost with a worker, a block or the search."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import types
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import nucleate
from nucleate.csp.executor_file import blocks_data, opened_executor
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import NucleateError
from nucleate.persist.toml import to_toml
from nucleate.reference.base import Label, content_hash
from nucleate.reference.cluster.blocks import Blocks
from nucleate.reference.cluster.executor import ClusterExecutor
from nucleate.reference.cluster.settings import read_cluster
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import Ledger
from nucleate.reference.spool import BLOCKS, write_answer
from tests.reference.fakes import Emt, Paid

psutil = pytest.importorskip("psutil")


def coppers(count, first=3.4):
    return [bulk("Cu", a=first + 0.03 * k, cubic=True) for k in range(count)]


@contextmanager
def in_blocks(folder, file):
    executor = ClusterExecutor(read_cluster(file), folder / BLOCKS, str(file))
    try:
        yield executor
    finally:
        executor.shutdown()


def begun(path):
    """Process ids of the workers that have begun a label and not ended it, the latest last."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    ended = Counter((key, pid) for what, key, pid, _ in lines if what == "ended")
    return [int(pid) for what, key, pid, _ in lines if what == "begun" and not ended[key, pid]]


def wait_for(true, seconds=60):
    end = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)
    return answer


@contextmanager
def beside(action):
    """Do something in a thread; its exception is raised at the end."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(action)
        yield
        future.result(timeout=120)


def same_as_local(answers, structures):
    for answer, atoms in zip(answers, structures, strict=True):
        local = Emt().label(atoms)
        assert isinstance(answer, Label)
        assert answer.energy == local.energy
        np.testing.assert_array_equal(answer.forces, local.forces)
        np.testing.assert_array_equal(answer.stress, local.stress)


def listening(pids):
    """Addresses on which processes listen."""
    return {entry.laddr.ip for entry in psutil.net_connections("inet") if entry.pid in pids and entry.status == psutil.CONN_LISTEN}


def family(pids):
    """Processes and all that they have started."""
    found = set(pids)
    for pid in pids:
        found |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
    return found


def test_labels_survive_a_killed_worker_and_a_cancelled_block(slurm, executor_file, tmp_path, monkeypatch):
    structures, invoices = coppers(4), tmp_path / "invoices"
    ledger = Ledger(tmp_path / "run.db")
    # The search hears of the cancelled block by its silence alone.
    with in_blocks(tmp_path, executor_file(("silence = 30", "silence = 15"))) as executor:
        same_as_local(Dispatcher(Paid(invoices, 0.1), ledger, executor=executor).label_many(structures, "train", 0), structures)
        (first,) = slurm.jobs()
        # Daemons and jobs of Slurm, the search, the interchange and the workers.
        addresses = listening(family([*slurm.pids(), os.getpid()]))
        assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
        (keys,) = tmp_path.glob("blocks/parsl/*/nucleate/certificates")
        assert stat.S_IMODE(keys.stat().st_mode) == 0o700

        more = coppers(4, first=3.7)

        def trouble():
            os.kill(wait_for(lambda: len(begun(invoices)) == 2 and begun(invoices))[0], signal.SIGKILL)
            killed = Counter(line.split()[0] for line in invoices.read_text().splitlines())["begun"]
            # Another label has begun: the lost one is repeated or waits.
            wait_for(lambda: Counter(line.split()[0] for line in invoices.read_text().splitlines())["begun"] > killed)
            slurm.ask("scancel", first)

        with beside(trouble):
            answers = Dispatcher(Paid(invoices, 1.5), ledger, executor=executor).label_many(more, "train", 1)
        same_as_local(answers, more)
        assert len(executor.blocks.blocks) >= 2
        assert executor.blocks.blocks[first].state in ("ended", "cancelled")
        rows = list(ledger.rows())
        assert [row.status for row in rows] == ["ok"] * 8
        # Every start that was lost is counted: those that began and did not end, and those that had not begun yet.
        lost = Counter(line.split()[0] for line in invoices.read_text().splitlines())
        assert lost["begun"] - lost["ended"] >= 2
        assert sum(row.attempts for row in rows) - 8 >= 2
        assert not list((tmp_path / "run.db-kept").glob("*.json"))

        # A module that the nodes lack, as if the package were not installed there.
        lacking = types.ModuleType("only_here")
        lacking.Lacking = type("Lacking", (Emt,), {"__module__": "only_here", "settings": lambda self: {"engine": "lacking"}})
        monkeypatch.setitem(sys.modules, "only_here", lacking)
        with pytest.raises(NucleateError, match=r"a worker cannot compute labels \(.*only_here.*block.setup must make"):
            Dispatcher(lacking.Lacking(), ledger, executor=executor).label_many(coppers(1), "train", 2)
        assert executor.blocks.cost()["core_seconds"] > 0
    slurm.wait_until_empty()
    assert not Blocks.read(tmp_path / BLOCKS).left()


def test_nodes_without_the_environment_are_said_in_one_line(slurm, executor_file, tmp_path):
    file = executor_file(("[block]", '[block]\npython = "/no/such/python"'), ("poll = 1.0", "poll = 0.5\nbroken_blocks = 1"))
    with in_blocks(tmp_path, file) as executor:
        dispatcher = Dispatcher(Emt(), Ledger(tmp_path / "run.db"), executor=executor)
        with pytest.raises(NucleateError, match=r"1 blocks? ended before a worker reported; .*/no/such/python: No such file") as raised:
            dispatcher.label_many(coppers(2), "train", 0)
    assert "\n" not in str(raised.value)
    slurm.wait_until_empty()


def test_a_block_that_is_refused_is_said_in_one_line(slurm, executor_file, tmp_path):
    file = executor_file(("[block]", '[block]\nconstraint = "nosuchfeature"'))
    with in_blocks(tmp_path, file) as executor:
        dispatcher = Dispatcher(Emt(), Ledger(tmp_path / "run.db"), executor=executor)
        with pytest.raises(NucleateError, match=r"a block cannot be submitted: .*[Ff]eature"):
            dispatcher.label_many(coppers(1), "train", 0)
    assert slurm.jobs() == []


def test_a_run_collects_labels_and_cancels_blocks_of_a_killed_search(slurm, tmp_path):
    settings = settings_from_dict({"formula": "Cu4", "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT"}})
    atoms, reference = coppers(1)[0], Emt()
    key = content_hash(atoms, reference.settings())
    with RunFolder.create(tmp_path / "run", to_toml(settings)) as folder:
        folder.ledger.begin(key, atoms, reference.name, reference.settings(), "train", 0)
        (folder.path / BLOCKS).mkdir()
        submit = ["sbatch", "--parsable", "--wrap=sleep 600", f"--output={tmp_path}/out"]
        job = slurm.ask(*submit, "--job-name=parsl.nucleate.block-0.1").strip()
        other = slurm.ask(*submit, "--job-name=mine").strip()
        Blocks(folder.path / BLOCKS).submitted(job, "slurm", 1, 600.0)
        # Ids that were used again by another job of the user, and one that is an option of scancel.
        Blocks(folder.path / BLOCKS).submitted(other, "slurm", 1, 600.0)
        Blocks(folder.path / BLOCKS).submitted("--user=root", "slurm", 1, 600.0)
        wait_for(lambda: slurm.ask("squeue", "--noheader", "--format=%t").split() == ["R", "R"])
        Blocks.read(folder.path / BLOCKS).seen(job, "running")
        # The search is killed here; its worker finishes the label.
        write_answer(folder.ledger.spool, key, reference.label(atoms), 2.0)
    with RunFolder.open(tmp_path / "run") as folder:
        (row,) = folder.ledger.rows()
        assert (row.status, row.attempts, row.wall_seconds) == ("ok", 1, 2.0)
        assert row.label.energy == reference.label(atoms).energy
        with opened_executor(folder, None, "ase") as executor:
            assert executor is None
            wait_for(lambda: slurm.jobs() == [other], 20)
        slurm.ask("scancel", other)
        assert [event["jobs"] for event in folder.events()] == [[job]]
    data = blocks_data(tmp_path / "run")
    assert (data["count"], data["running"], data["label_core_seconds"]) == (3, 0, 2.0)
    assert data["core_seconds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_at_a_random_moment(slurm, executor_file, tmp_path, seed):
    """A block is cancelled, or a worker killed, at a random moment of 16 labels in two blocks."""
    rng, structures, invoices = random.Random(seed), coppers(16), tmp_path / "invoices"
    file = executor_file(("workers_per_node = 2", "workers_per_node = 2\nmax_blocks = 2"))
    ledger = Ledger(tmp_path / "run.db")
    with in_blocks(tmp_path, file) as executor:

        def trouble():
            wait_for(lambda: begun(invoices))
            time.sleep(rng.uniform(0, 6))
            if rng.random() < 0.5 and begun(invoices):
                os.kill(rng.choice(begun(invoices)), signal.SIGKILL)
            elif slurm.jobs():
                slurm.ask("scancel", rng.choice(slurm.jobs()))

        with beside(trouble):
            same_as_local(Dispatcher(Paid(invoices, 1.0), ledger, executor=executor).label_many(structures, "train", 0), structures)
    assert [row.status for row in ledger.rows()] == ["ok"] * 16
    slurm.wait_until_empty()


@pytest.mark.slow
def test_labels_go_on_after_the_wall_time_of_a_block(slurm, executor_file, tmp_path):
    """Slurm ends a block of one minute between 60 and 90 s; the labels that it has not finished are computed in another one."""
    structures, invoices = coppers(8), tmp_path / "invoices"
    ledger = Ledger(tmp_path / "run.db")
    with in_blocks(tmp_path, executor_file(("00:10:00", "00:01:00"))) as executor:
        same_as_local(Dispatcher(Paid(invoices, 25.0), ledger, executor=executor).label_many(structures, "train", 0), structures)
        assert len(executor.blocks.blocks) >= 2
    assert sum(row.attempts for row in ledger.rows()) > len(structures)
    slurm.wait_until_empty()


@pytest.mark.slow
def test_a_block_that_is_requeued_joins_again(slurm, executor_file, tmp_path):
    structures, invoices = coppers(6), tmp_path / "invoices"
    ledger = Ledger(tmp_path / "run.db")
    with in_blocks(
        tmp_path, executor_file(("[connection]", "[connection]\nbroken_blocks = 5"), ("setup", 'options = ["--requeue"]\nsetup'))
    ) as executor:

        def preempt():
            wait_for(lambda: begun(invoices))
            slurm.ask("scontrol", "requeue", slurm.jobs()[0])

        with beside(preempt):
            same_as_local(Dispatcher(Paid(invoices, 4.0), ledger, executor=executor).label_many(structures, "train", 0), structures)
    assert sum(row.attempts for row in ledger.rows()) > len(structures)
    slurm.wait_until_empty()


ALUMINIUM = Path(__file__).parents[2] / "examples" / "aluminium.toml"


@pytest.mark.slow
def test_a_killed_search_is_resumed_in_new_blocks(slurm, executor_file, tmp_path):
    """`kill -9` of the search itself: its blocks are cancelled, finished labels kept, and no structure is asked twice."""
    # The blocks do not end by themselves before they are cancelled.
    run, command, file = tmp_path / "run", [sys.executable, "-m", "nucleate"], str(executor_file(("silence = 30", "silence = 300")))
    given = ["search", "--settings", str(ALUMINIUM), "--out", str(run), "--executor", file, "--quiet"]
    process = subprocess.Popen([*command, *given], stdout=subprocess.DEVNULL)

    def labelled():
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{run}/run.db?mode=ro", uri=True)) as database:
            return database.execute("SELECT COUNT(*) FROM ledger WHERE status='ok'").fetchone()[0] >= 4
        return False

    wait_for(labelled, 200)
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    before = slurm.jobs()
    assert before
    subprocess.run([*command, "resume", str(run), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    slurm.wait_until_empty()
    data = nucleate.show(run)
    assert data["status"] == "finished"
    assert set(data["calls_by_status"]) == {"ok"}
    assert (data["blocks"]["count"], data["blocks"]["running"], data["blocks"]["waiting"]) == (2, 0, 0)
    assert [event["jobs"] for event in RunFolder.open(run).events() if event["event"] == "blocks_cancelled"] == [before]
    # The interchange of the killed search has ended as well.
    assert psutil.wait_procs(started, timeout=10)[1] == []
