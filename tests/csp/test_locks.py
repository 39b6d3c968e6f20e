"""Locks: held, missing from the file system, or in a folder that cannot be written; and looking at such a folder all the same."""

import contextlib
import errno
import fcntl
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest

from nucleate.csp.run_data import read_run
from nucleate.csp.run_folder import RunFolder
from nucleate.errors import RunFolderError
from nucleate.persist.locks import is_locked, lock_file

TOML = 'formula = "Si2"\n'


def fails_with(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def open_below(folder):
    """Files of a folder that this process holds open, where the system tells: other tests' threads open and close their own."""
    found = []
    for path in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            found.append(str(path.readlink()))
    return [name for name in found if name.startswith(str(folder))]


def test_a_lock_is_held_until_it_is_closed(tmp_path):
    path = tmp_path / "lock"
    lock = lock_file(path, "busy here")
    with pytest.raises(RunFolderError, match="busy here"):
        lock_file(path, "busy here")
    assert is_locked(path)
    os.close(lock)
    assert not is_locked(path)
    os.close(lock_file(path, "busy here"))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EWOULDBLOCK, "busy here"),
        (errno.EACCES, "busy here"),
        (errno.ENOLCK, "support"),
        (errno.ENOSYS, "support"),
        (errno.EOPNOTSUPP, "support"),
        (errno.EIO, "cannot be locked"),
    ],
)
def test_what_a_file_system_answers(number, said, tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", fails_with(number))
    with pytest.raises(RunFolderError, match=said) as caught:
        lock_file(tmp_path / "lock", "busy here")
    assert "\n" not in str(caught.value)
    assert is_locked(tmp_path / "lock") == (said == "busy here")
    assert open_below(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_what_cannot_be_written(number, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", fails_with(number))
    with pytest.raises(RunFolderError, match="cannot be written"):
        lock_file(tmp_path / "lock", "busy here")


def test_a_lock_file_that_is_deleted_is_made_again(tmp_path, monkeypatch):
    """Its last holder takes it away between our opening and our locking it."""
    path = tmp_path / "lock"
    flock = fcntl.flock
    times = []

    def late(descriptor, how):
        if not times:
            path.unlink()
        times.append(how)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = lock_file(path, "busy here")
    assert len(times) == 2
    assert os.path.samestat(os.fstat(lock), path.stat())
    os.close(lock)


def test_nothing_is_written_without_the_lock(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    lock = lock_file(path / "lock", "busy here")
    with pytest.raises(RunFolderError, match="another process"):
        RunFolder.create(path, TOML)
    assert sorted(entry.name for entry in path.iterdir()) == ["lock"]
    os.close(lock)
    RunFolder.create(path, TOML).close()
    assert (path / "run.toml").read_text() == TOML


def test_a_refusal_releases_the_lock(tmp_path):
    path = tmp_path / "run"
    RunFolder.create(path, TOML).close()
    with pytest.raises(RunFolderError, match="other settings"):
        RunFolder.create(path, 'formula = "Si4"\n')
    RunFolder.open(path).close()


@pytest.mark.parametrize("with_log", [False, True])
def test_a_folder_that_cannot_be_written_can_be_looked_at(with_log):
    # Not below pytest's own folder, which no other user may enter.
    place = Path(tempfile.mkdtemp())
    try:
        place.chmod(0o755)
        first, path = place / "first", place / "run"
        RunFolder.create(first, TOML).close()
        read_run(first)  # imports what another user may not be able to read
        database = sqlite3.connect(first / "run.db")
        database.execute("INSERT INTO facts VALUES ('x', '1')")
        database.commit()
        if not with_log:
            database.close()
        shutil.copytree(first, path)
        database.close()
        (path / "run.db-shm").unlink(missing_ok=True)
        assert (path / "run.db-wal").exists() == with_log
        for entry in [path, *path.rglob("*")]:
            entry.chmod(0o555 if entry.is_dir() else 0o444)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.getuid() == 0:  # Permissions do not bind root.
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                assert read_run(path).settings.formula == "Si2"
                try:
                    RunFolder.open(path)
                except RunFolderError as error:
                    code = 0 if "cannot be written" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        for entry in [place, *place.rglob("*")]:
            if entry.is_dir():
                entry.chmod(0o755)
        shutil.rmtree(place)
