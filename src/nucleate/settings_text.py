"""Settings models to and from TOML: errors that name the nearest key, every field with its description."""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError

from nucleate.errors import BadInput

UNSET = "unset"
"""How a settings file says that a field with a default has no value."""

Settings = TypeVar("Settings", bound=BaseModel)


def validated(model: type[Settings], data: dict[str, Any], source: str) -> Settings:
    """Settings from plain data; raises `BadInput` naming every wrong key with the nearest right one, and every wrong value."""
    try:
        return model.model_validate(_replaced(data, UNSET, None))
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            where = [str(part) for part in problem["loc"]]
            name = ".".join(where)
            if problem["type"] == "extra_forbidden":
                known = _keys_beside(model, where[:-1])
                near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.3)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known))}"
                lines.append(f"unknown key {name}; {hint}")
            else:
                lines.append(f"{name}: {problem['msg']} (got {problem['input']!r})")
        raise BadInput(f"{source}: " + "; ".join(lines)) from None


def _keys_beside(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def read_settings(path: str | Path, hint: str = "") -> dict[str, Any]:
    """Read a TOML file; raises `BadInput` with the line of a syntax error."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such settings file; {hint or f'write one with: nucleate settings --write {path}'}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadInput(f"{path}: cannot be read as TOML: {error}") from None


def to_toml(settings: BaseModel) -> str:
    """TOML text of resolved settings. TOML knows no null: what is unset reads "unset"."""
    try:
        return tomli_w.dumps(_replaced(settings.model_dump(mode="json"), None, UNSET))
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
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
