"""Reading and validation of external text, JSON and TOML, with limits on size and nesting.

Every function raises `BadInput` with a message of one line.
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
"""Largest size of a text file, in bytes."""
DEEPEST = 32
"""Largest nesting depth of JSON or TOML, whose parsers recurse once per level."""
LONGEST_PROBLEM = 120
"""Largest length of the description of an invalid value in a message, in characters."""

Header = TypeVar("Header", bound=BaseModel)


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """Read a UTF-8 text file; a byte order mark is removed.

    Raises:
        BadInput: the file cannot be opened, is larger than `largest` bytes, or is not UTF-8 text.
    """
    try:
        size = path.stat().st_size
        if size > largest:
            raise BadInput(f"{path}: the file has {size / 2**20:.0f} MiB; at most {largest / 2**20:.0f} MiB can be read")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{path}: cannot be read: the file is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read: {getattr(error, 'strerror', None) or quoted(str(error))}") from None


def depth(text: str) -> int:
    """Return the nesting depth of brackets and braces; brackets inside quoted text are counted as well, so it is an upper bound."""
    level = deepest = 0
    for bracket in re.finditer(r"[\[\]{}]", text):
        level = level + 1 if bracket[0] in "[{" else max(0, level - 1)
        deepest = max(deepest, level)
    return deepest


def from_json(text: str, where: str) -> Any:
    """Parse JSON.

    Args:
        text: the JSON text.
        where: name of the file, for error messages.

    Raises:
        BadInput: the text is not JSON, or is nested more than `DEEPEST` levels deep.
    """
    if depth(text) > DEEPEST:
        raise BadInput(f"{where}: brackets are nested more than {DEEPEST} levels deep; the file is damaged or of another kind")
    try:
        return json.loads(text)
    except ValueError as error:  # JSONDecodeError, and ValueError for a number with too many digits
        raise BadInput(f"{where}: is not valid JSON ({quoted(str(error))}); correct or remove the file") from None


def from_toml(text: str, where: str) -> dict[str, Any]:
    """Parse TOML.

    Args:
        text: the TOML text.
        where: name of the file, for error messages.

    Raises:
        BadInput: the text is not TOML, or is nested more than `DEEPEST` levels deep.
    """
    if depth(text) > DEEPEST or any(line.partition("=")[0].count(".") > DEEPEST for line in text.splitlines()):
        raise BadInput(
            f"{where}: brackets or dotted names are nested more than {DEEPEST} levels deep; the file is damaged or of another kind"
        )
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise BadInput(f"{where}: is not valid TOML ({quoted(str(error))})") from None


def stated(model: type[Header], data: Any, where: str) -> Header:
    """Validate external data with a pydantic model.

    Args:
        model: the pydantic model that the data must match.
        data: plain data, as from JSON or TOML.
        where: file and place of the data, for error messages.

    Raises:
        BadInput: the data do not match the model; the message names the first wrong key.
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
            known = f"; known keys: {', '.join(model.model_fields)}" if len(first["loc"]) == 1 else ""
            problem = f"{name} is not a known key{known}"
        else:
            reason = "should be a table of keys and values" if first["type"] == "model_type" else first["msg"].removeprefix("Value error, ")
            got = "" if isinstance(first["input"], dict | list) else f" (got {quoted(first['input'], 30)})"
            problem = f"{name + ': ' if name else ''}{reason[:1].lower()}{reason[1:]}{got}"
        more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise BadInput(f"{where}: {quoted(problem, LONGEST_PROBLEM)}{more}") from None
