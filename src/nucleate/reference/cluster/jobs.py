"""Commands of the batch systems: which jobs of this user exist, and cancelling them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection

CANCEL = {"slurm": "scancel", "pbs": "qdel"}
"""Program that cancels the jobs of each provider."""
LIST = {"slurm": ["squeue", "--me", "--noheader", "--format=%i %j"]}
"""Command that lists ids and names of this user's jobs."""
LABEL = "nucleate"
"""Name of the executor in Parsl, which is part of the names of jobs."""
NAME = f"parsl.{LABEL}.block-"
"""Beginning of the names of jobs."""
PATIENCE = 60.0
"""Longest time that the batch system may take to answer, s."""
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\[\]-]*")


def is_job(text: str) -> bool:
    """Return whether a text can be the id of a job; an id in a damaged record could be an option of a program."""
    return _JOB.fullmatch(text) is not None


def listed(provider: str) -> dict[str, str] | None:
    """Return ids and names of this user's jobs that have the name of a block; None if the batch system does not answer."""
    try:
        # In a session of its own: an impatient Ctrl-C in the terminal must not end it.
        answer = subprocess.run(LIST[provider], capture_output=True, text=True, timeout=PATIENCE, check=True, start_new_session=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = (line.split(maxsplit=1) for line in answer.stdout.splitlines())
    return {words[0]: words[1] for words in found if len(words) == 2 and words[1].startswith(NAME)}


def cancel(provider: str, jobs: Collection[str]) -> bool:
    """Cancel jobs; return whether the batch system accepted it."""
    command = [CANCEL[provider], *jobs]
    try:
        return subprocess.run(command, capture_output=True, timeout=PATIENCE, start_new_session=True).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def left_line(jobs: Collection[str], provider: str) -> str:
    """Return the line that names jobs that may still exist and the command that cancels them."""
    program = CANCEL[provider]
    why = "" if shutil.which(program) else f", on a machine that has {program}"
    return f"jobs left: {', '.join(jobs)}; cancel them with: {program} {' '.join(jobs)}{why}"
