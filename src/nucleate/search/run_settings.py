"""A run's settings: the rooms' own models, composed; read from and written to TOML."""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nucleate.crystals.formula import parse_formula
from nucleate.errors import BadInput
from nucleate.generate.settings import GenerateSettings
from nucleate.potentials.settings import ModelSettings, TrainingSettings
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.settings import RelaxSettings
from nucleate.search.settings import SearchSettings

UNSET = "unset"
"""How a settings file says that a field with a default has no value."""


class RunSettings(BaseModel):
    """Everything that decides a search."""

    model_config = ConfigDict(extra="forbid")

    formula: str = Field("Si8", description="What the search cell holds, with its exact atom count.")
    seed: int = Field(0, ge=0, description="Seed of all random numbers; the same seed and settings repeat the run.")
    pressure: float = Field(0.0, description="External pressure, GPa; the search then minimises the enthalpy.")
    seeds_from: str | None = Field(None, description="File of your own structures, mixed into the first pool.")
    threads: int = Field(1, ge=1, description="Threads of the committee's training and relaxation.")
    reference: ReferenceSettings = Field(default_factory=ReferenceSettings, description="The reference method.")
    search: SearchSettings = Field(default_factory=SearchSettings, description="The loop.")
    generate: GenerateSettings = Field(default_factory=GenerateSettings, description="The generators.")
    model: ModelSettings = Field(default_factory=ModelSettings, description="The committee.")
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="Its training.")
    relax: RelaxSettings = Field(
        default_factory=lambda: RelaxSettings(fmax=0.05, smax=0.5, max_steps=200, patience=40),
        description="Relaxation of the pool on the committee; pressure and sigma_stop are those of the search.",
    )

    @field_validator("relax")
    @classmethod
    def _those_of_the_search(cls, value: RelaxSettings) -> RelaxSettings:
        if value.pressure != 0.0:
            raise ValueError("set `pressure` at the top of the settings, not in [relax]")
        if value.sigma_stop is not None:
            raise ValueError("set `sigma_stop` in [search], not in [relax]")
        return value


def settings_from_dict(data: dict[str, Any], source: str = "settings") -> RunSettings:
    """Validate; raises `BadInput` naming every wrong key with the nearest right one, and every wrong value."""
    try:
        settings = RunSettings.model_validate(_replaced(data, UNSET, None))
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            where = [str(part) for part in problem["loc"]]
            name = ".".join(where)
            if problem["type"] == "extra_forbidden":
                known = _keys_beside(where[:-1])
                near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.3)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known))}"
                lines.append(f"unknown key {name}; {hint}")
            else:
                lines.append(f"{name}: {problem['msg']} (got {problem['input']!r})")
        raise BadInput(f"{source}: " + "; ".join(lines)) from None
    parse_formula(settings.formula)
    return settings


def _keys_beside(path: list[str]) -> list[str]:
    model: type[BaseModel] = RunSettings
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read a TOML file; raises `BadInput` with the line of a syntax error."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such settings file; write one with: nucleate settings --write {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadInput(f"{path}: cannot be read as TOML: {error}") from None


def to_toml(settings: RunSettings) -> str:
    """TOML text of resolved settings. TOML knows no null: what is unset reads "unset"."""
    return tomli_w.dumps(_replaced(settings.model_dump(mode="json"), None, UNSET))


def _replaced(value: Any, old: Any, new: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    return new if value == old else value


def described(model: type[BaseModel] = RunSettings, prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Every field: (dotted name, type, default, description)."""
    rows = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            rows += described(annotation, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True)
        rows.append((prefix + name, _type_text(annotation), repr(default), field.description or ""))
    return rows


def _type_text(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " | ".join(repr(value) for value in typing.get_args(annotation))
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return " | ".join(_type_text(part) for part in typing.get_args(annotation))
    return "unset" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def commented_toml(settings: RunSettings) -> str:
    """TOML with every field's description above it; fields that are unset stand as comments."""
    lines = ["# Settings of a nucleate search. Every field is optional.", ""]
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
            if isinstance(value, BaseModel) or (isinstance(value, dict) and not value):
                continue
            lines.append(f"# {field.description}")
            if value is None:
                lines.append(f"# {name} =")
            else:
                lines.append(tomli_w.dumps({name: model.model_dump(mode="json")[name]}).strip())
    return "\n".join(lines) + "\n"
