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

from nucleate.errors import NucleateError
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


forked = pytest.mark.skipif(
    sys.platform != "linux" or not pools._processes_can_be_watched(),
    reason="workers are spawned on this system, or its kernel has no pidfd",
)


@forked
def test_a_worker_has_the_environment_of_its_leader_at_its_start(monkeypatch):
    for value in ("one", "two", None):
        with worker_pool(1) as pool:
            # After the pool has been made, before it starts a process.
            monkeypatch.setenv("NUCLEATE_TEST_VALUE", value) if value else monkeypatch.delenv("NUCLEATE_TEST_VALUE")
            variable, folder, threads = pool.submit(seen, "NUCLEATE_TEST_VALUE").result()
        assert variable == value
        assert folder == Path.cwd()
        assert threads == 1


@forked
def test_the_template_has_one_thread_whatever_the_variables_say(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with worker_pool(1) as pool:
        template = pool.submit(family).result()[2]
    assert len([*Path(f"/proc/{template}/task").iterdir()]) == 1


@forked
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


PROGRAM = """
import sys
sys.path[:0] = {paths!r}
import torch
from nucleate.processes.pools import worker_pool
from {module} import place
if __name__ == "__main__":
    with worker_pool(1) as pool:
        print(pool.submit(place).result())
"""


@forked
def test_the_template_imports_no_module_of_the_current_folder(tmp_path):
    """The folder of a user may contain numpy.py; a program whose modules are elsewhere does not import it, and its workers do not."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    for name in ("numpy", "copy", "platform"):
        (here / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    (there / "places.py").write_text("def place():\n    return 'there'\n")
    program = there / "program.py"
    program.write_text(PROGRAM.format(paths=[path for path in sys.path if path], module="places"))
    done = subprocess.run([sys.executable, program], cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "there\n"


WAITING = """
import os, time, torch
from nucleate.processes.pools import worker_pool
if __name__ == "__main__":
    print("begin", flush=True)
    with worker_pool(1) as pool:
        pool.submit(os.getpid).result()
        time.sleep(60)
"""


@forked
@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.1, 0.3])
def test_ctrl_c_while_the_first_workers_start_prints_one_traceback(tmp_path, seconds):
    program = tmp_path / "program.py"
    program.write_text(WAITING)
    leader = subprocess.Popen([sys.executable, program], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    leader.stdout.readline()
    time.sleep(seconds)
    os.killpg(leader.pid, signal.SIGINT)
    _, errors = leader.communicate(timeout=PATIENCE)
    assert errors.count("Traceback") == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")


@forked
def test_workers_are_spawned_when_the_socket_of_the_template_is_gone():
    with worker_pool(1) as pool:
        assert pool.submit(family).result()[2] != os.getpid()
    address = Path(forkserver._forkserver._forkserver_address)
    moved = address.with_name("moved")
    address.rename(moved)
    try:
        with worker_pool(1) as pool:
            assert pool.submit(family).result()[2] == os.getpid()
    finally:
        moved.rename(address)


@forked
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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), r"\(Permission denied\); they need a folder /dev/shm"),
        (ImportError("lacks a functioning sem_open"), r"sem_open\); they need a folder /dev/shm"),
        (OSError(24, "Too many open files"), r"\(Too many open files\)$"),
    ],
)
def test_a_system_without_shared_semaphores_is_named(monkeypatch, error, said):
    def refused(*unused, **more):
        raise error

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refused)
    with pytest.raises(NucleateError, match=said):
        worker_pool(1)
