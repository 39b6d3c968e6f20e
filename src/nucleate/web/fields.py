"""Settings that a client may set: a list of names, so that a new setting is refused until somebody has thought about it.

A setting that names a command, a module, a calculator or a file is not on the list; only a profile, a settings file named on the command
line, can contain it.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from nucleate.csp.run_settings import RunSettings
from nucleate.errors import quoted
from nucleate.potentials.families import SETTINGS
from nucleate.pretrained import PRETRAINED
from nucleate.web.refused import Refused

ALLOWED: dict[str, tuple[str, ...]] = {
    "": ("formula", "seed", "pressure", "dimensions"),
    "reference": ("engine", "preset", "xc", "cutoff", "k_spacing", "smearing", "dispersion", "max_iterations", "timeout"),
    "search": (
        "budget", "top", "pool", "keep", "max_rounds", "quiet_rounds", "clear_window", "first_batch", "first_symmetric", "batch", "score",
        "score_weight", "symmetric_slots", "diverse_slots", "uncertain_slots", "sigma_stop", "cluster_tolerance", "leads", "lead_steps",
        "lead_fmax", "lead_smax", "window", "fmax", "smax", "resolution", "check", "magnetic", "accurate", "proof", "proof_steps",
        "train_units", "train_pool", "train_slots",
    ),
    "generate": (
        "symmetric_share", "prototype_share", "volume_per_atom", "volume_range", "distance_factor", "like_charge_factor",
        "max_length_ratio", "space_groups", "space_group_weights", "conformers", "try_seconds",
    ),
    "evolution": ("strategy", "operators", "generations", "parents", "niche", "niche_members", "half_life"),
    "minima": ("window", "unseen"),
    "model": (
        "family", "prior", "cutoff", "radial", "channels", "hidden", "activation", "members", "wall_fraction", "wall_strength",
    ),
    "training": (
        "steps", "warm_steps", "batch_structures", "learning_rate", "warm_learning_rate", "weight_decay", "energy_weight", "force_weight",
        "stress_weight", "soften_force", "soften_energy", "ema", "bootstrap",
    ),
    "relax": (
        "optimiser", "fmax", "smax", "max_steps", "maxstep", "keep_symmetry", "variable_cell", "patience", "progress", "volume_range",
        "history", "curvature",
    ),
    "teacher": ("name", "first_labels", "budget", "first_batch", "batch", "max_rounds", "most_error"),
    "hull": ("max_atoms", "end_labels", "promising_share", "probability"),
    "layers": ("thickness", "vacuum"),
    "clusters": ("diameter", "vacuum"),
}  # fmt: skip
"""Names of the settings of each table; the empty name is that of the settings outside tables."""
NAMES = frozenset(f"{table}.{name}" if table else name for table, names in ALLOWED.items() for name in names)
"""Dotted names of all settings that a client may set."""
MODELS = tuple(potential.shown for potential in PRETRAINED.values())
CHOICES: dict[str, tuple[str, ...]] = {
    "reference.engine": ("gpaw", *MODELS),
    "reference.xc": ("PBE", "PBEsol", "LDA", "RPBE", "revPBE"),
    "model.family": tuple(SETTINGS),
    "model.prior": MODELS,
    "teacher.name": MODELS,
    "relax.optimiser": ("fire", "lbfgs"),
}
"""Values of text settings: those that name neither a file nor a module nor a program of the user."""
FIRST = ("formula", "reference.engine", "reference.preset", "pressure", "dimensions", "seed", "search.budget", "search.top", "search.pool")
"""Settings that the form shows first."""


def check_fields(data: dict[str, Any]) -> None:
    """Refuse settings of a client that are not on the list.

    Args:
        data: nested settings, as in run.toml.

    Raises:
        Refused: a setting is unknown (400), or exists and is not on the list, or has a value that is not one of its choices (403).
    """
    for name, value in flat(data).items():
        if name not in NAMES:
            if name not in all_names():
                raise Refused(f"unknown setting {quoted(name, 60)}; GET /api/settings lists those that can be set", 400)
            raise Refused(
                f"{name} cannot be set here, because it may name a program, a module or a file, or share out the computer; write it into "
                "a TOML file and start the server with --profile FILE.toml",
                403,
            )
        if name in CHOICES and value is not None and value not in CHOICES[name]:
            raise Refused(f"{name} = {quoted(value, 40)!r} cannot be set here; choose {', '.join(CHOICES[name])}, or use a profile", 403)


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names; a table of the settings model is descended into, other dictionaries are values."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and not prefix and key in _TABLES:
            found |= flat(value, f"{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def all_names() -> frozenset[str]:
    """Return the dotted names of all settings of a search."""
    names = set()
    for name, field in RunSettings.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names |= {f"{name}.{key}" for key in inner.model_fields}
        else:
            names.add(name)
    return frozenset(names)


_TABLES = frozenset(
    name
    for name, field in RunSettings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
)


def described_fields() -> list[dict[str, Any]]:
    """Return name, table, description, default, bounds, choices and kind (`text`, `integer`, ...) of every setting on the list."""
    schema = RunSettings.model_json_schema()
    fields = []
    for table, names in ALLOWED.items():
        part = schema if not table else schema["$defs"][schema["properties"][table]["$ref"].rpartition("/")[2]]
        for key in names:
            name = f"{table}.{key}" if table else key
            fields.append({"name": name, "table": table, "first": name in FIRST, **_described(name, part["properties"][key])})
    return fields


def _described(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return what a form needs to know about one setting."""
    options = schema.get("anyOf", [schema])
    one = next(option for option in options if option.get("type") != "null")
    choices = CHOICES.get(name) or one.get("enum") or ([one["const"]] if "const" in one else None)
    return {
        "description": schema.get("description", ""),
        "kind": "choice" if choices else one.get("type", "text"),
        "choices": None if choices is None else list(choices),
        "optional": len(options) > 1,
        "default": schema.get("default"),
        "minimum": one.get("minimum", one.get("exclusiveMinimum")),
        "maximum": one.get("maximum", one.get("exclusiveMaximum")),
    }
