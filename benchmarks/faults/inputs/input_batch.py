"""Judges inputs in child processes, so that one that ends the interpreter is named and the others go on."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from input_cases import mutated_item, write_item
from input_corpus import Item
from input_readers import READERS
from input_second import SECOND

from nucleate.errors import NucleateError
from nucleate.processes.limits import OutOfTime, processor_time_limit

LIMIT, SLOW = 10.0, 2.0
"""Processor time in s after which an input hangs, and after which it is slow."""
PATIENCE = 120.0
"""Wall time in s without an answer after which a child is killed."""
MEMORY = 3 * 2**30
"""Memory that a child may allocate beyond what it begins with, bytes."""
LONGEST_MESSAGE = 500
SETTING = re.compile(r"[a-z_]+\.[a-z_]+\b")
"""Beginning of messages about settings that contradict each other; options may have set them."""
UNNAMED = ("formula", "toml")
"""Kinds whose messages may name no file: a formula has none, and settings may contradict options."""
FAULTS = ("differs", "traceback", "message", "slow", "hang", "died", "unpickled")


def judge(kind: str, seed: int, number: int, items: list[Item], folder: Path) -> tuple[str, str]:
    """Return the outcome of one input and a line about it."""
    mark = folder.with_name(folder.name + ".unpickled")
    item = mutated_item(kind, seed, number, items, str(mark))
    write_item(item, folder)
    name = next(iter(item), "nothing")
    began = time.process_time()
    try:
        with processor_time_limit(LIMIT):
            found = READERS[kind](folder, name)
        outcome, line = "read", ""
    except NucleateError as error:
        outcome, line = "refused", str(error)
        if (
            "\n" in line
            or not line.replace("\u2028", "").strip()
            or len(line) > LONGEST_MESSAGE
            or (
                kind not in UNNAMED
                and not SETTING.match(line)
                and not any(word in line for word in (str(folder), *(Path(each).name for each in item)))
            )
        ):
            outcome = "message"
    except OutOfTime:
        outcome, line = "hang", ""
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)
        mine = [frame for frame in place if "nucleate" in frame.filename] or list(place)
        text = " ".join(str(error).split())[:120]
        outcome, line = "traceback", f"{type(error).__name__}: {text} ({Path(mine[-1].filename).name}:{mine[-1].lineno})"
    if mark.exists():
        return "unpickled", line
    if outcome in ("read", "refused") and time.process_time() - began > SLOW:
        return "slow", f"{time.process_time() - began:.1f} s; {line}"
    if outcome == "read" and kind in SECOND:
        try:
            with processor_time_limit(LIMIT):
                problem = SECOND[kind](folder, name, found)
        except (Exception, OutOfTime):  # The second reader cannot read the file, or is one that hangs.
            return "alone", ""
        if problem is not None:
            return "differs", problem
    return outcome, line


def _child(kind: str, seed: int, numbers: range, items: list[Item], pipe: int) -> None:
    """Judge inputs and write a line before and after each."""
    with Path("/proc/self/statm").open() as stream:
        held = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    warnings.simplefilter("ignore")
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place, os.fdopen(pipe, "w") as out:
        for number in numbers:
            out.write(json.dumps({"begins": number}) + "\n")
            out.flush()
            folder = Path(place) / "case"
            folder.mkdir()
            began = time.process_time()
            outcome, line = judge(kind, seed, number, items, folder)
            shutil.rmtree(folder)
            said = {"number": number, "outcome": outcome, "line": line[:300], "seconds": round(time.process_time() - began, 3)}
            out.write(json.dumps(said) + "\n")
            out.flush()


def outcomes(kind: str, seed: int, numbers: range, items: list[Item]) -> Iterator[dict[str, Any]]:
    """Yield number, outcome, line and processor time of each input."""
    at = numbers.start
    while at < numbers.stop:
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receive)
            try:
                _child(kind, seed, range(at, numbers.stop), items, send)
                os._exit(0)
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
                os._exit(1)
        os.close(send)
        with os.fdopen(receive, "rb", buffering=0) as stream:
            rest, current, killed = b"", at, False
            while True:
                if not select.select([stream], [], [], PATIENCE)[0]:
                    os.kill(child, signal.SIGKILL)
                    killed = True
                    break
                data = stream.read(65536)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    said = json.loads(line)
                    if "begins" in said:
                        current = said["begins"]
                    else:
                        at = said["number"] + 1
                        yield said
        status = os.waitpid(child, 0)[1]
        if at < numbers.stop:
            line = f"ended with status {status}"
            yield {"number": current, "outcome": "hang" if killed else "died", "line": line, "seconds": PATIENCE if killed else 0.0}
            at = current + 1
