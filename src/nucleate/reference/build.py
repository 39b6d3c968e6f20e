"""Construction of references from settings."""

from __future__ import annotations

from nucleate.errors import BadInput
from nucleate.molecules.topology import Topology
from nucleate.reference.base import Reference
from nucleate.reference.settings import ENGINES, ReferenceSettings

_FILES = ("command", "pseudopotentials", "pseudo_dir")
_DFT = ("preset", "cutoff", "k_spacing", "smearing", "xc", "dispersion", "max_iterations")
_WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    "gpaw": (*_FILES, "calculator"),
    "espresso": ("calculator", "dipole_correction", "continuation"),
    "vasp": ("pseudopotentials", "calculator", "dipole_correction", "continuation"),
    "cp2k": ("pseudopotentials", "pseudo_dir", "calculator", "hubbard_u", "dipole_correction", "continuation"),
    "ase": (*_FILES, *_DFT, "hubbard_u", "dipole_correction", "continuation"),
}
_NONE_FOR_POTENTIALS = (*_FILES, *_DFT, "calculator", "magnetic_moments", "hubbard_u", "dipole_correction", "continuation", "parameters")


def without_effect(engine: str) -> tuple[str, ...]:
    """Return the settings that have no effect on an engine; setting them is an error, so that no setting is silently ignored."""
    return _WITHOUT_EFFECT.get(engine, _NONE_FOR_POTENTIALS)


def make_reference(settings: ReferenceSettings, topology: Topology | None = None) -> Reference:
    """Return the reference that the settings describe.

    Args:
        settings: settings of the reference.
        topology: molecules of which crystals are built, for force fields; None: they are found by the distances of the atoms.

    Raises:
        MissingDependency: its program or package is not installed; the message names the command that installs it.
        BadInput: a setting contradicts the engine or has no effect on it.
    """
    idle = without_effect(settings.engine)
    for name in idle:
        if getattr(settings, name) != ReferenceSettings.model_fields[name].get_default(call_default_factory=True):
            hint = "use reference.parameters" if "parameters" not in idle else "remove it"
            raise BadInput(f"reference.{name} has no effect on engine '{settings.engine}'; {hint}")
    if settings.dispersion is not None:
        from nucleate.reference.dispersion import DispersionReference

        return DispersionReference(make_reference(settings.model_copy(update={"dispersion": None}), topology), settings.xc)
    if settings.engine == "gpaw":
        from nucleate.reference.gpaw import GPAWReference

        return GPAWReference(settings)
    if settings.engine not in ENGINES:
        from nucleate.reference.surrogates import SurrogateReference

        return SurrogateReference(settings.engine, topology)
    from nucleate.reference.engines import AseReference

    return AseReference(settings)
