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


class PoolRelaxSettings(RelaxSettings):
    """Looser than a relaxation on a reference: the committee is not worth more."""

    fmax: float = Field(0.05, gt=0, description="Converged below this largest force on an atom, eV/Å ...")
    smax: float = Field(0.5, gt=0, description="... and this largest component of stress plus pressure, GPa.")
    max_steps: int = Field(200, ge=1, description="Steps after which a relaxation is given up.")
    patience: int = Field(40, ge=1, description="Stop when this many steps in a row brought no progress.")


OF_THE_SEARCH = ("relax.pressure", "relax.sigma_stop")
"""Fields of a relaxation that a search sets itself."""


class RunSettings(BaseModel):
    """Everything that decides a search."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

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
    relax: PoolRelaxSettings = Field(
        default_factory=PoolRelaxSettings,
        description="Relaxation of the pool on the committee; pressure and sigma_stop are those of the search.",
    )

    @field_validator("relax")
    @classmethod
    def _those_of_the_search(cls, value: PoolRelaxSettings) -> PoolRelaxSettings:
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
    try:
        return tomli_w.dumps(_replaced(settings.model_dump(mode="json"), None, UNSET))
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"settings: a value cannot be written to run.toml ({reason}); use numbers, texts, lists and tables") from None


def _replaced(value: Any, old: Any, new: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return new if value == old else value


def described(model: type[BaseModel] = RunSettings, prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Every field: (dotted name, type, default, description)."""
    rows = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            rows += described(annotation, f"{prefix}{name}.")
            continue
        if prefix + name in OF_THE_SEARCH:
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
            if isinstance(value, BaseModel) or f"{section}.{name}" in OF_THE_SEARCH:
                continue
            lines.append(f"# {field.description}")
            if value is None or value == {}:
                lines.append(f"# {name} = {'{}' if value == {} else ''}".rstrip())
            else:
                lines.append(tomli_w.dumps({name: model.model_dump(mode="json")[name]}).strip())
    return "\n".join(lines) + "\n"
