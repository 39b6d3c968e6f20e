"""Reading of text from other programs and people, with limits on size and nesting.

Every function raises `BadInput` in one line; models of headers are pydantic's, with limits of their own.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from nucleate.errors import BadInput, quoted

LARGEST_TEXT = 2**28
"""Bytes of a text file; larger ones are no tables of couplings and no headers."""
DEEPEST = 32
"""Levels of brackets in JSON or TOML: their parsers call themselves once a level."""
LONGEST_PROBLEM = 120

Header = TypeVar("Header", bound=BaseModel)


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """Read a text file, without a byte order mark.

    Raises:
        BadInput: it cannot be opened, is larger than `largest` bytes, or is not UTF-8 text.
    """
    try:
        size = path.stat().st_size
        if size > largest:
            raise BadInput(f"{path}: has {size / 2**20:.0f} MiB; files of this kind are read up to {largest / 2**20:.0f} MiB")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{path}: cannot be read: it is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read: {getattr(error, 'strerror', None) or quoted(str(error))}") from None


def depth(text: str) -> int:
    """Levels of brackets and braces; those inside quoted text count too, which errs on the safe side."""
    level = deepest = 0
    for bracket in re.finditer(r"[\[\]{}]", text):
        level = level + 1 if bracket[0] in "[{" else max(0, level - 1)
        deepest = max(deepest, level)
    return deepest


def from_json(text: str, where: str) -> Any:
    """Parse JSON; `where` names the file in messages.

    Raises:
        BadInput: no JSON, or nested too deep.
    """
    if depth(text) > DEEPEST:
        raise BadInput(f"{where}: nests brackets more than {DEEPEST} deep; no file of this kind does")
    try:
        return json.loads(text)
    except ValueError as error:  # of its own kind, and where a number has too many digits
        raise BadInput(f"{where}: is not valid JSON ({quoted(str(error))}); correct it or move it away") from None


def from_toml(text: str, where: str) -> dict[str, Any]:
    """Parse TOML; `where` names the file in messages.

    Raises:
        BadInput: no TOML, or nested too deep.
    """
    if depth(text) > DEEPEST or any(line.partition("=")[0].count(".") > DEEPEST for line in text.splitlines()):
        raise BadInput(f"{where}: nests brackets or names more than {DEEPEST} deep; no file of this kind does")
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise BadInput(f"{where}: is not TOML ({quoted(str(error))})") from None


def stated(model: type[Header], data: Any, where: str) -> Header:
    """Validate external data with a pydantic model.

    Args:
        model: pydantic's, with limits.
        data: plain data of any kind.
        where: names the file and the place in messages.

    Raises:
        BadInput: the data are not what the model states.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        first = problems[0]
        name = quoted(".".join(str(part) for part in first["loc"])[:200], 60)
        if first["type"] == "missing":
            problem = f"{name} is missing"
        elif first["type"] == "extra_forbidden":
            problem = f"{name} is not known; known: {', '.join(model.model_fields)}" if len(first["loc"]) == 1 else f"{name} is not known"
        else:
            said = "should be a table of keys and values" if first["type"] == "model_type" else first["msg"].removeprefix("Value error, ")
            got = "" if isinstance(first["input"], dict | list) else f" (got {quoted(first['input'], 30)})"
            problem = f"{name + ': ' if name else ''}{said[:1].lower()}{said[1:]}{got}"
        more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise BadInput(f"{where}: {quoted(problem, LONGEST_PROBLEM)}{more}") from None
