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
from typing import Annotated, Any, TypeVar

import tomli_w
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from nucleate.errors import LONGEST_QUOTE, BadInput, quoted, quoted_path

UNSET = "unset"
"""How a settings file says that a field with a default has no value."""

LARGEST = 200_000
"""Bytes of a settings file."""
DEEPEST = 32
"""Tables and lists within one another."""
MOST_PROBLEMS = 3
"""Wrong keys and values named in one message."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Lines may end and tabs may stand in a text that is an engine's input; nothing else that a terminal would obey."""

Settings = TypeVar("Settings", bound=BaseModel)


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("line ends and control characters cannot stand here")
    return value


Line = Annotated[str, Field(max_length=4096), AfterValidator(_one_line)]
"""Text that becomes a path, a command or a name: one line without control characters."""


def validated(model: type[Settings], data: dict[str, Any], source: str) -> Settings:
    """Validate settings.

    Raises:
        BadInput: names the first wrong keys with the nearest right ones, and the first wrong values; or data that no settings hold:
            nested too deep, text with control characters.
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
    where = [str(part) for part in problem["loc"]]
    name = quoted(".".join(where))
    if problem["type"] != "extra_forbidden":
        value = problem["input"]
        shown = f"'{quoted(value)}'" if isinstance(value, str) else quoted(value)
        return f"{name}: {quoted(problem['msg'], 160)} (got {shown})"
    known = _keys_beside(model, where[:-1])
    near = difflib.get_close_matches(where[-1][:LONGEST_QUOTE], known, n=1, cutoff=0.3)
    return f"unknown key {name}; " + (f"did you mean {near[0]}?" if near else f"known here: {quoted(', '.join(sorted(known)), 120)}")


def _keys_beside(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def refuse_odd_data(data: Any, source: str) -> None:
    """Raise `BadInput` for data that no settings hold: nested deeper than `DEEPEST`, or text with control characters.

    Paths, commands and names go from here to the operating system, and into messages; models check them after that.
    """
    # A list of what is left rather than recursion: the data may be nested deeper than Python can follow.
    left: list[tuple[str, Any, int]] = [("", data, 0)]
    while left:
        name, value, depth = left.pop()
        if depth > DEEPEST:
            raise BadInput(f"{source}: {quoted(name)} is nested more than {DEEPEST} deep; settings have two or three levels")
        if isinstance(value, str):
            if _CONTROL.search(value):
                raise BadInput(f"{source}: {quoted(name)} holds a control character ('{quoted(value, 40)}'); write plain text")
        elif isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(key, str) or _CONTROL.search(key):
                    raise BadInput(f"{source}: '{quoted(key, 40)}' is no name of a setting; write plain text")
                # Names are only looked at in messages: a chain of them must not grow with the square of its length.
                left.append((f"{name}.{key}"[:200] if name else key[:200], item, depth + 1))
        elif isinstance(value, list | tuple):
            left.extend((name, item, depth + 1) for item in value)


def read_settings(path: str | PathLike[str], hint: str = "") -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        BadInput: no such file, larger than `LARGEST` bytes, nested deeper than `DEEPEST`, or a syntax error, with its line.
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
        raise BadInput(f"{name}: is larger than {LARGEST // 1000} kB; a settings file has some lines of TOML")
    try:
        text = content.decode("utf-8-sig")
        _refuse_depth(text, name)
        data = tomllib.loads(text)
    except ValueError as error:  # Of TOML, of UTF-8, and of numbers with too many digits.
        raise BadInput(f"{name}: cannot be read as TOML: {quoted(str(error))}") from None
    refuse_odd_data(data, name)
    return data


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
"""Strings and comments, in which marks mean nothing, and the marks that nest, join and end names."""


def _refuse_depth(text: str, name: str) -> None:
    """Before the parser, which calls itself for every bracket that opens, and whose time grows with the square of a dotted name."""
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
            raise BadInput(f"{name}: line {line + 1}: is nested more than {DEEPEST} deep; settings have two or three levels")


def to_toml(settings: BaseModel) -> str:
    """TOML text of resolved settings. TOML knows no null: what is unset reads "unset"."""
    try:
        return tomli_w.dumps(_replaced(settings.model_dump(mode="json"), None, UNSET))
    except (TypeError, ValueError) as error:
        reason = quoted(str(error).strip())
        raise BadInput(f"settings: a value cannot be written as TOML ({reason}); use numbers, texts, lists and tables") from None


def _replaced(value: Any, old: Any, new: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return new if value == old else value


def described(model: type[BaseModel], left_out: Collection[str] = (), prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Every field: (dotted name, type, default, description); without the dotted names `left_out`."""
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
        rows.append((prefix + name, _type_text(annotation), text, field.description or ""))
    return rows


def _type_text(annotation: Any) -> str:
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is typing.Literal:
        return " | ".join(repr(value) for value in typing.get_args(annotation))
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return " | ".join(_type_text(part) for part in typing.get_args(annotation))
    return "unset" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def commented_toml(settings: BaseModel, title: str, left_out: Collection[str] = ()) -> str:
    """TOML with every field's description above it; fields that are unset stand as comments.

    Args:
        settings: of one or two levels.
        title: the first line.
        left_out: dotted names that are not written.
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
