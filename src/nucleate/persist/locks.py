"""Locks of files, which keep two processes apart."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from nucleate.errors import RunFolderError

HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What the operating system answers where another process holds a lock (EACCES: some systems that emulate `flock`)."""
LACKING = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What it answers where the file system has no locks: network file systems without their lock service."""


def lock_file(path: Path, busy: str) -> int:
    """Lock a file against other processes until the descriptor is closed; create it if it is missing.

    Args:
        path: the file; nothing is written into it.
        busy: the message where another process holds the lock, as `RUN: another process is working on this run; wait for it`.

    Returns:
        An open file descriptor; `os.close` releases the lock, and so does the end of the process, however it ends.

    Raises:
        RunFolderError: another process holds the lock, the file system has none, or the file cannot be written.
    """
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(
                f"{path}: cannot be written: {error.strerror}; choose a folder of your own, or make it writable"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have deleted the file in between: then this is a lock on nothing.
            if _is_same(lock, path):
                return lock
        except OSError as error:
            os.close(lock)
            if error.errno in HELD:
                raise RunFolderError(busy) from None
            if error.errno in LACKING:
                raise RunFolderError(
                    f"{path}: this file system has no locks ({error.strerror}) to keep two processes apart; choose a folder on a local disk"
                ) from error
            raise RunFolderError(f"{path}: cannot be locked: {error.strerror}") from error
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock of `lock_file`; nothing is made or written, and a file that cannot be read is not locked."""
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return error.errno in HELD
    finally:
        os.close(lock)


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
