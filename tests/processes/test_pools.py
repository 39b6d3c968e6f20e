"""Workers are what they would be as processes of their own, although they are forked."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from pathlib import Path

import pytest

from nucleate.processes import pools
from nucleate.processes.pools import worker_pool
from nucleate.processes.workers import THREAD_VARIABLES

PATIENCE = 60.0


def seen(name):
    return os.environ.get(name), Path.cwd(), len([*Path("/proc/self/task").iterdir()])


def family():
    """The worker, its watcher and the parent of that."""
    watcher = os.getppid()
    return os.getpid(), watcher, int(Path(f"/proc/{watcher}/stat").read_text().rpartition(")")[2].split()[1])


def ended(pid):
    path = Path(f"/proc/{pid}/stat")
    try:
        return path.read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are spawned")


@linux
def test_a_worker_has_the_environment_of_its_leader_at_its_start(monkeypatch):
    for value in ("one", "two", None):
        with worker_pool(1) as pool:
            # After the pool has been made, before it starts a process.
            monkeypatch.setenv("NUCLEATE_TEST_VALUE", value) if value else monkeypatch.delenv("NUCLEATE_TEST_VALUE")
            variable, folder, threads = pool.submit(seen, "NUCLEATE_TEST_VALUE").result()
        assert variable == value
        assert folder == Path.cwd()
        assert threads == 1


@linux
def test_the_template_has_one_thread_whatever_the_variables_say(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    code = "import os, nucleate.processes.template, torch; print(len(os.listdir('/proc/self/task')), 'OMP_NUM_THREADS' in os.environ)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1 False\n"


@linux
@pytest.mark.skipif(not pools._processes_can_be_watched(), reason="this kernel has no pidfd")
def test_workers_end_with_the_template_and_the_next_pool_has_another():
    pool = worker_pool(1)
    worker, watcher, template = pool.submit(family).result()
    assert template != os.getpid()
    waiting = pool.submit(time.sleep, PATIENCE)
    os.kill(template, signal.SIGKILL)
    with pytest.raises(BrokenProcessPool):
        waiting.result(timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while not (ended(worker) and ended(watcher)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with worker_pool(1) as pool:
        assert pool.submit(family).result()[2] not in (template, os.getpid())


@linux
def test_workers_are_spawned_where_the_template_cannot_be_started(tmp_path, monkeypatch):
    """The path of a socket has at most 108 characters."""
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr(forkserver, "ensure_running", forkserver.ForkServer().ensure_running)
    monkeypatch.setattr("multiprocessing.util.get_temp_dir", lambda: str(long))
    with worker_pool(1) as pool:
        *_, parent = pool.submit(family).result()
    assert parent == os.getpid()
