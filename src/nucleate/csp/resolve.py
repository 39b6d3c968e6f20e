"""Settings of a run from a file, a dictionary and single options of the user."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from nucleate.crystals.formula import formula_text
from nucleate.csp.molecular.settings import MolecularSettings, with_geometries
from nucleate.csp.run_settings import RunSettings, settings_from_dict
from nucleate.errors import BadInput, quoted
from nucleate.persist.toml import read_settings, refuse_odd_data, validated, without_unset
from nucleate.potentials.prior import resolved_prior
from nucleate.reference.shared.address import is_path
from nucleate.relax.settings import LEARNED


def resolve_settings(
    formula: str | None = None,
    settings: RunSettings | str | PathLike[str] | dict[str, Any] | None = None,
    **options: Any,
) -> RunSettings:
    """Combine defaults, `settings` and options; later ones override earlier ones.

    Args:
        formula: Formula of the search cell; None: the formula of the settings.
        settings: TOML file, dictionary as in run.toml, or resolved settings.
        options: Single settings, with `__` between table and name, such as `search__budget=200`; None leaves a setting as it is.

    Raises:
        BadInput: A setting is unknown or has an invalid value, or there is no formula.
    """
    source = "settings"
    data: dict[str, Any]
    if settings is None:
        data = {}
    elif isinstance(settings, RunSettings):
        data = settings.model_dump(mode="json")
    elif isinstance(settings, dict):
        data = _deep_copy(settings)
    else:
        data, source = without_unset(read_settings(Path(settings))), str(settings)
    for name, value in {"formula": formula, **options}.items():
        if value is None:
            continue
        *sections, key = name.split("__")
        place = data
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise BadInput(f"{source}: {section} must be a table, as in [{section}]")
        place[key] = value
    if isinstance(settings, str | PathLike) and any(value is not None for value in (formula, *options.values())):
        source += " and options"
    molecules = data.get("molecules")
    if isinstance(molecules, dict) and molecules.get("molecule"):
        molecules["molecule"] = with_geometries(molecules["molecule"], source)
        data.setdefault("formula", formula_text(validated(MolecularSettings, molecules, f"{source}: molecules").atoms))
    if "formula" not in data:
        where = "" if settings is None or isinstance(settings, dict | RunSettings) else f"{source}: "
        raise BadInput(f"{where}no formula is given; give one such as Si8, or settings with a formula")
    # Paths are checked first, because the operating system does not accept null bytes.
    refuse_odd_data(data, source)
    # Relative paths are resolved, because a search may be resumed from another working directory.
    teacher = data.get("teacher")
    hull = data.get("hull")
    for name in ("known", "elements_from"):
        if isinstance(hull, dict) and isinstance(hull.get(name), list):
            hull[name] = [_resolved_path(path, name) if isinstance(path, str) else path for path in hull[name]]
    places = (
        (data, "seeds_from"),
        (data.get("reference"), "pseudo_dir"),
        (data.get("measured"), "xrd"),
        (teacher, "labels_settings"),
        (teacher, "model_from"),
    )
    for table, entry in places:
        if isinstance(table, dict) and isinstance(table.get(entry), str):
            table[entry] = _resolved_path(table[entry], entry)
    reference = data.get("reference")
    if isinstance(reference, dict) and isinstance(reference.get("ledger"), str) and is_path(reference["ledger"]):
        reference["ledger"] = _resolved_path(reference["ledger"], "ledger")
    if isinstance(teacher, dict):
        if isinstance(teacher.get("labels_from"), list):
            paths = teacher["labels_from"]
            teacher["labels_from"] = [_resolved_path(path, "labels_from") if isinstance(path, str) else path for path in paths]
        if isinstance(teacher.get("name"), str):
            teacher["name"] = resolved_prior(teacher["name"])
    if isinstance(data.get("model"), dict) and isinstance(data["model"].get("prior"), str):
        data["model"]["prior"] = resolved_prior(data["model"]["prior"])
    relax = data.get("relax")
    if isinstance(relax, dict) and isinstance(relax.get("optimiser"), str) and relax["optimiser"].startswith(LEARNED):
        relax["optimiser"] = LEARNED + _resolved_path(relax["optimiser"].removeprefix(LEARNED), "relax.optimiser")
    return settings_from_dict(data, source)


def _resolved_path(text: str, name: str) -> str:
    try:
        return str(Path(text).expanduser().resolve())
    except (OSError, RuntimeError) as error:  # An unknown user's home folder, or a link to itself.
        raise BadInput(f"{name}: '{quoted(text)}' is not a valid path: {quoted(str(error))}") from error


def _deep_copy(value: Any) -> Any:
    return {key: _deep_copy(item) for key, item in value.items()} if isinstance(value, dict) else value
