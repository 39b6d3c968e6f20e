"""From settings to a reference."""

from __future__ import annotations

from nucleate.reference.base import Reference
from nucleate.reference.settings import ReferenceSettings


def make_reference(settings: ReferenceSettings) -> Reference:
    """The reference the settings name.

    Raises:
        MissingDependency: its program or package is not installed; the message names the line that installs it.
        BadInput: settings that contradict the engine.
    """
    if settings.engine == "gpaw":
        from nucleate.reference.gpaw import GPAWReference

        return GPAWReference(settings)
    if settings.engine in ("chgnet", "sevennet"):
        from nucleate.reference.surrogates import SurrogateReference

        return SurrogateReference(settings.engine)
    from nucleate.reference.engines import AseReference

    return AseReference(settings)
