"""Construction of references from settings."""

from __future__ import annotations

from nucleate.errors import BadInput
from nucleate.pretrained import PRETRAINED
from nucleate.reference.base import Reference
from nucleate.reference.settings import ReferenceSettings

_FILES = ("command", "pseudopotentials", "pseudo_dir")
_DFT = ("preset", "cutoff", "k_spacing", "smearing", "xc", "max_iterations")
WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    "gpaw": (*_FILES, "calculator"),
    "espresso": ("calculator",),
    "vasp": ("pseudopotentials", "calculator"),
    "cp2k": ("pseudopotentials", "pseudo_dir", "calculator"),
    "ase": (*_FILES, *_DFT),
    **{name: (*_FILES, *_DFT, "calculator", "magnetic_moments", "parameters") for name in PRETRAINED},
}
"""Settings that have no effect on an engine; setting them is an error, so that no setting is silently ignored."""


def make_reference(settings: ReferenceSettings) -> Reference:
    """Return the reference that the settings describe.

    Raises:
        MissingDependency: its program or package is not installed; the message names the command that installs it.
        BadInput: a setting contradicts the engine or has no effect on it.
    """
    for name in WITHOUT_EFFECT[settings.engine]:
        if getattr(settings, name) != ReferenceSettings.model_fields[name].get_default(call_default_factory=True):
            hint = "use reference.parameters" if "parameters" not in WITHOUT_EFFECT[settings.engine] else "remove it"
            raise BadInput(f"reference.{name} has no effect on engine '{settings.engine}'; {hint}")
    if settings.engine == "gpaw":
        from nucleate.reference.gpaw import GPAWReference

        return GPAWReference(settings)
    if settings.engine in PRETRAINED:
        from nucleate.reference.surrogates import SurrogateReference

        return SurrogateReference(settings.engine)
    from nucleate.reference.engines import AseReference

    return AseReference(settings)
