"""Files that survive a kill or a full disk: written atomically, or line by line."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from nucleate.errors import RunFolderError, StorageFailed

LONGEST_LINE = 50_000_000
"""Largest length of one line of JSON, in bytes, far above that of any line nucleate writes."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file atomically: after a kill or on a full disk either the old or the new file is complete.

    Raises:
        StorageFailed: the file could not be written.
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
        raise StorageFailed(f"{path}: {error.strerror}; {hint}the previous file is unchanged") from error


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Append one line of JSON.

    Raises:
        StorageFailed: the line could not be written.
    """
    line = json.dumps(content)
    try:
        with path.open("ab+") as stream:
            # A killed process may have left an incomplete last line, to which the new line must not be appended.
            if stream.seek(0, os.SEEK_END) > 0:
                stream.seek(-1, os.SEEK_END)
                line = line if stream.read(1) == b"\n" else "\n" + line
            stream.write((line + "\n").encode())
    except OSError as error:
        raise StorageFailed(f"{path}: {error.strerror}; nothing recorded so far is lost") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines written by `append_line`; incomplete lines are skipped, and a missing file has no lines.

    Raises:
        RunFolderError: the file cannot be read, or a line is longer than `LONGEST_LINE`.
    """
    entries = []
    try:
        with path.open("rb") as stream:
            while line := stream.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    raise RunFolderError(
                        f"{path}: a line is longer than {LONGEST_LINE // 1_000_000} MB; the file was not written by nucleate"
                    )
                try:
                    content = json.loads(line)
                except (ValueError, RecursionError):  # incomplete, not UTF-8, numbers with too many digits, nested too deeply
                    continue
                if isinstance(content, dict):
                    entries.append(content)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from error
    return entries
