"""Share of candidates from known crystals in a search whose settings do not state it."""

from __future__ import annotations

from pathlib import Path

from nucleate.csp.run_settings import RunSettings
from nucleate.errors import BadInput
from nucleate.generate.mixture import has_known_crystals
from nucleate.generate.settings import PROTOTYPE_SHARE
from nucleate.generate.system import settings_of_cell
from nucleate.persist.toml import read_settings


def with_share(settings: RunSettings, share: float | None = None) -> RunSettings:
    """Return settings that state `generate.prototype_share`; they stay as they are if they do already.

    Args:
        settings: settings of a search.
        share: share where there are known crystals of the search; None: `PROTOTYPE_SHARE`.
    """
    if settings.generate.prototype_share is not None:
        return settings
    share = PROTOTYPE_SHARE if share is None else share
    own = share if share and _has_known_crystals(settings) else 0.0
    return settings.model_copy(update={"generate": settings.generate.model_copy(update={"prototype_share": own})})


def flag_share(prototypes: bool | None) -> float | None:
    """Return the `generate.prototype_share` of the options `--prototypes` (true) and `--no-prototypes` (false); None without them."""
    return None if prototypes is None else PROTOTYPE_SHARE if prototypes else 0.0


def stored_share(path: Path) -> float | None:
    """Return the `generate.prototype_share` of a settings file; None if there is no file, or none in it."""
    try:
        table = read_settings(path).get("generate")
    except BadInput:
        return None
    share = table.get("prototype_share") if isinstance(table, dict) else None
    return float(share) if isinstance(share, int | float) and 0.0 <= share <= 1.0 else None


def _has_known_crystals(settings: RunSettings) -> bool:
    """Return whether a search is one of crystals, in any space group, of which at least one composition has known crystals."""
    if settings.dimensions != 3 or settings.molecules.molecule or settings.generate.space_groups is not None:
        return False
    cells = [settings.counts] if settings.system is None else settings.system.cells(settings.hull.max_atoms)
    return any(has_known_crystals(counts, settings_of_cell(settings.generate, counts)) for counts in cells)
