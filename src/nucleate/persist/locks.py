"""File locks that prevent two processes from working in one folder."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from nucleate.errors import RunFolderError

HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""Error numbers that mean another process holds the lock (EACCES on some systems that emulate `flock`)."""
LACKING = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Error numbers that mean the file system does not support locks, such as a network file system without its lock service."""


def lock_file(path: Path, busy: str) -> int:
    """Lock a file against other processes until the descriptor is closed; create it if it is missing.

    Args:
        path: the file to lock; its content is not changed.
        busy: error message if another process holds the lock, such as `RUN: another process is working on this run; wait for it`.

    Returns:
        An open file descriptor. `os.close` releases the lock, and so does the end of the process, however it ends.

    Raises:
        RunFolderError: another process holds the lock, the file system does not support locks, or the file cannot be written.
    """
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(
                f"{path}: cannot be written: {error.strerror}; choose another folder, or make this one writable"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous holder may have deleted the file in the meantime; the lock would then protect nothing, and is taken again.
            if _is_same(lock, path):
                return lock
        except OSError as error:
            os.close(lock)
            if error.errno in HELD:
                raise RunFolderError(busy) from None
            if error.errno in LACKING:
                raise RunFolderError(
                    f"{path}: this file system does not support file locks ({error.strerror}); choose a folder on a local disk"
                ) from error
            raise RunFolderError(f"{path}: cannot be locked: {error.strerror}") from error
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def is_locked(path: Path) -> bool:
    """Return whether another process holds the lock of `lock_file`; nothing is written, and an unreadable file counts as unlocked."""
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
    """Return whether an open descriptor and a path refer to the same file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
