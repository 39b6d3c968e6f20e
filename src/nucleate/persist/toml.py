"""Conversion of settings models to and from TOML, with errors that name the closest key."""

from __future__ import annotations

import difflib
import re
import tomllib
import types
import typing
from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import tomli_w
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from nucleate.errors import LONGEST_QUOTE, BadInput, quoted, quoted_path

UNSET = "unset"
"""Text that represents None in a settings file, since TOML has no null."""

LARGEST = 200_000
"""Largest size of a settings file, in bytes."""
DEEPEST = 32
"""Largest nesting depth of tables and lists."""
MOST_PROBLEMS = 3
"""Largest number of wrong keys and values that one message names."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters that are refused. Line ends and tabs are allowed, because a value may be an engine's input."""

Settings = TypeVar("Settings", bound=BaseModel)


def _one_line(value: str) -> str:
    """Return the text; raise `ValueError` if it contains line ends or control characters."""
    if not value.isprintable():
        raise ValueError("line ends and control characters are not allowed here")
    return value


Line = Annotated[str, Field(max_length=4096), AfterValidator(_one_line)]
"""One line of text without control characters, for paths, commands and names."""


def validated(model: type[Settings], data: dict[str, Any], source: str) -> Settings:
    """Validate settings.

    Raises:
        BadInput: a key or value is wrong (the message names the first ones, with the closest known keys), the data are nested more than
            `DEEPEST` levels deep, or a text contains control characters.
    """
    refuse_odd_data(data, source)
    try:
        return model.model_validate(_replaced(data, UNSET, None))
    except ValidationError as error:
        problems = error.errors()
        lines: list[str] = []
        while len(lines) < min(len(problems), MOST_PROBLEMS) and sum(map(len, lines)) < LONGEST_QUOTE:
            lines.append(_problem_text(model, problems[len(lines)]))
        if len(problems) > len(lines):
            lines.append(f"and {len(problems) - len(lines)} more")
        raise BadInput(f"{source}: " + "; ".join(lines)) from None


def _problem_text(model: type[BaseModel], problem: Any) -> str:
    """Return one validation error of pydantic as text with the dotted name of its key."""
    where = [str(part) for part in problem["loc"]]
    name = quoted(".".join(where))
    if problem["type"] != "extra_forbidden":
        value, message = problem["input"], quoted(problem["msg"].removeprefix("Value error, "), 160)
        # Rules between settings name them, and have a whole table as their input.
        if isinstance(value, (dict, BaseModel)):
            return f"{name}: {message}" if where else message
        shown = f"'{quoted(value)}'" if isinstance(value, str) else quoted(value)
        return f"{name}: {message} (got {shown})"
    known = _keys_beside(model, where[:-1])
    near = difflib.get_close_matches(where[-1][:LONGEST_QUOTE], known, n=1, cutoff=0.3)
    return f"unknown key {name}; " + (f"did you mean {near[0]}?" if near else f"known keys: {quoted(', '.join(sorted(known)), 120)}")


def _keys_beside(model: type[BaseModel], path: list[str]) -> list[str]:
    """Return the names of the fields of the model at `path`; an empty list if the path leads to no model."""
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        # A table that may be left out has the type `Model | None`.
        models = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if len(models) != 1:
            return []
        model = models[0]
    return list(model.model_fields)


def refuse_odd_data(data: Any, source: str) -> None:
    """Raise `BadInput` for data nested deeper than `DEEPEST`, and for text with control characters.

    The check comes before validation, because error messages of the validation repeat keys and values.
    """
    # A stack replaces recursion, because the data may be nested deeper than Python's recursion limit.
    left: list[tuple[str, Any, int]] = [("", data, 0)]
    while left:
        name, value, depth = left.pop()
        if depth > DEEPEST:
            raise BadInput(f"{source}: '{quoted(name)}' is nested more than {DEEPEST} levels deep; settings have two or three levels")
        if isinstance(value, str):
            if _CONTROL.search(value):
                raise BadInput(f"{source}: '{quoted(name)}' contains a control character ('{quoted(value, 40)}'); remove it")
        elif isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(key, str) or _CONTROL.search(key):
                    raise BadInput(f"{source}: '{quoted(key, 40)}' is not the name of a setting; use names without control characters")
                # Names appear only in messages; without the limit, nested long names would take quadratic memory.
                left.append((f"{name}.{key}"[:200] if name else key[:200], item, depth + 1))
        elif isinstance(value, list | tuple):
            left.extend((name, item, depth + 1) for item in value)


def read_settings(path: str | PathLike[str], hint: str = "") -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        BadInput: the file does not exist, is larger than `LARGEST` bytes, is nested deeper than `DEEPEST`, or has a syntax error.
    """
    path = Path(path)
    name = quoted_path(path, 120)
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise BadInput(f"{name}: no such settings file; {hint or f'write one with: nucleate settings --write {name}'}") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > LARGEST:
        raise BadInput(f"{name}: is larger than {LARGEST // 1000} kB; give a settings file in TOML")
    try:
        text = content.decode("utf-8-sig")
        _refuse_depth(text, name)
        data = tomllib.loads(text)
    except ValueError as error:  # invalid TOML, invalid UTF-8, or a number with too many digits
        raise BadInput(f"{name}: cannot be read as TOML: {quoted(str(error))}") from None
    refuse_odd_data(data, name)
    return data


def same_settings(model: type[BaseModel], kept: str, wanted: str, *others: str) -> bool:
    """Return whether two texts in TOML contain the same settings.

    A setting that is missing has its default, as for `validated`: files of earlier versions lack settings that were added later.

    Args:
        model: Settings model of both.
        kept, wanted: Texts in TOML.
        others: Names of tables that are not settings; they must be equal.
    """
    if kept == wanted:
        return True
    found = []
    try:
        for text in (kept, wanted):
            _refuse_depth(text, "settings")
            data = tomllib.loads(text)
            beside = [data.pop(name, None) for name in others]
            found.append((beside, model.model_validate(_replaced(data, UNSET, None))))
    except (ValueError, BadInput):  # What is not TOML, or not settings, is something else.
        return False
    return found[0] == found[1]


def resolved(
    model: type[Settings], settings: Settings | str | PathLike[str] | dict[str, Any] | None, hint: str = "", /, **options: Any
) -> Settings:
    """Combine defaults, settings and options; later ones override earlier ones.

    Args:
        model: Settings model.
        settings: A TOML file, a dictionary, settings of the model, or None.
        hint: How to obtain a settings file, for the message about a missing one.
        options: Single settings; those that are None are ignored.

    Raises:
        BadInput: The file cannot be read, or a setting is unknown or has an invalid value.
    """
    if settings is None:
        data, source = {}, "options"
    elif isinstance(settings, BaseModel):
        data, source = settings.model_dump(), "settings"
    elif isinstance(settings, dict):
        data, source = dict(settings), "settings"
    else:
        data, source = read_settings(settings, hint), str(settings)
    return validated(model, {**data, **{name: value for name, value in options.items() if value is not None}}, source)


_MARKS = re.compile(
    r'"""(?:\\.|[^\\])*?"""|' r"'''.*?'''|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'|#[^\n]*|[\[\]{}.=,\n]",
    re.DOTALL,
)
"""Strings and comments, whose brackets and dots are skipped, and the brackets, dots and separators outside them."""


def _refuse_depth(text: str, name: str) -> None:
    """Raise `BadInput` for TOML text nested deeper than `DEEPEST`.

    The parser recurses at every opening bracket, and its time is quadratic in the length of a dotted name.
    """
    depth = dots = line = 0
    for match in _MARKS.finditer(text):
        word = match.group(0)
        line += word.count("\n")
        if word == ".":
            dots += 1
        elif word in "[]{}=,\n":
            dots = 0
            depth += (word in "[{") - (word in "]}")
        if max(depth, dots) > DEEPEST:
            raise BadInput(f"{name}: line {line + 1} is nested more than {DEEPEST} levels deep; settings have two or three levels")


def to_toml(settings: BaseModel) -> str:
    """Return resolved settings as TOML text; None is written as "unset", since TOML has no null.

    Raises:
        BadInput: a value has no representation in TOML.
    """
    try:
        return tomli_w.dumps(_replaced(settings.model_dump(mode="json"), None, UNSET))
    except (TypeError, ValueError) as error:
        reason = quoted(str(error).strip())
        raise BadInput(f"settings: a value cannot be written as TOML ({reason}); use numbers, texts, lists and tables") from None


def without_unset(data: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with None in place of the text `unset`."""
    replaced: dict[str, Any] = _replaced(data, UNSET, None)
    return replaced


def _replaced(value: Any, old: Any, new: Any) -> Any:
    """Return nested data with every value `old` replaced by `new`."""
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return new if value == old else value


def described(model: type[BaseModel], left_out: Collection[str] = (), prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Return (dotted name, type, default, description) of every field except the dotted names `left_out`."""
    rows = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            rows += described(annotation, left_out, f"{prefix}{name}.")
            continue
        if prefix + name in left_out:
            continue
        default = field.get_default(call_default_factory=True)
        text = UNSET if default is None else tomli_w.dumps({"": default}).partition("= ")[2].strip() or "{}"
        if isinstance(default, (list, tuple)):
            text = " ".join(text.split()).replace("[ ", "[").replace(", ]", "]")
        rows.append((prefix + name, _type_text(annotation), text, field.description or ""))
    return rows


def _type_text(annotation: Any) -> str:
    """Return a type annotation as text for a table of settings."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is typing.Literal:
        return " | ".join(repr(value) for value in typing.get_args(annotation))
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return " | ".join(_type_text(part) for part in typing.get_args(annotation))
    return "unset" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def commented_toml(settings: BaseModel, title: str, left_out: Collection[str] = ()) -> str:
    """Return TOML text with the description of every field above it; unset fields are commented out.

    Args:
        settings: settings with one or two levels.
        title: text of the first line.
        left_out: dotted names of fields that are not written.
    """
    lines = [f"# {title} Every field is optional.", ""]
    sections: list[tuple[str, BaseModel]] = [("", settings)]
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            sections.append((name, value))
    for section, model in sections:
        if section:
            lines += ["", f"[{section}]"]
        for name, field in type(model).model_fields.items():
            value = getattr(model, name)
            if isinstance(value, BaseModel) or f"{section}.{name}" in left_out:
                continue
            lines.append(f"# {field.description}")
            if value is None or value == {}:
                lines.append(f"# {name} = {'{}' if value == {} else ''}".rstrip())
            else:
                lines.append(tomli_w.dumps({name: model.model_dump(mode="json")[name]}).strip())
    return "\n".join(lines) + "\n"
