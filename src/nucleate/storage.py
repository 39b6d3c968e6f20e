"""Files that a kill or a full disk cannot spoil: written whole or not at all, or grown line by line."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from nucleate.errors import RunFolderError, StorageFailed

HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What the operating system answers where another process holds a lock (EACCES: some systems that emulate `flock`)."""
LACKING = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What it answers where the file system has no locks: network file systems without their lock service."""
LONGEST_LINE = 50_000_000
"""Bytes of one line of JSON; nothing nucleate writes comes near it."""


def lock_file(path: Path, busy: str) -> int:
    """Lock a file, made where it is missing, against every other process until the descriptor is closed.

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


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that a kill or a full disk leaves either the old one or the new one whole.

    Raises:
        StorageFailed: it could not be written.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        hint = "free some disk space; " if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        raise StorageFailed(f"{path}: {error.strerror}; {hint}what was there before is whole") from error


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Append one line of JSON.

    Raises:
        StorageFailed: it could not be written.
    """
    line = json.dumps(content)
    try:
        with path.open("ab+") as stream:
            # A kill may have cut the last line; a new one must not be glued to it.
            if stream.seek(0, os.SEEK_END) > 0:
                stream.seek(-1, os.SEEK_END)
                line = line if stream.read(1) == b"\n" else "\n" + line
            stream.write((line + "\n").encode())
    except OSError as error:
        raise StorageFailed(f"{path}: {error.strerror}; nothing recorded so far is lost") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of `append_line`; one cut by a kill is left out, no file reads as no lines.

    Raises:
        RunFolderError: the file cannot be read, or a line is longer than any that nucleate writes.
    """
    found = []
    try:
        with path.open("rb") as stream:
            while line := stream.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    raise RunFolderError(f"{path}: a line of more than {LONGEST_LINE // 1_000_000} MB; this is no file of nucleate's")
                try:
                    content = json.loads(line)
                except (ValueError, RecursionError):  # Cut, no UTF-8, numbers of thousands of digits, nested without end.
                    continue
                if isinstance(content, dict):
                    found.append(content)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from error
    return found
