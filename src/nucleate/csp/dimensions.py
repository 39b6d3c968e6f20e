"""Settings that a search of crystals, layers or clusters does not use, and the vacuum that its images need."""

from __future__ import annotations

from nucleate.csp.run_settings import RunSettings
from nucleate.errors import BadInput
from nucleate.generate.clusters import SWELLING
from nucleate.pretrained import PRETRAINED
from nucleate.reference.kpoints import VACUUM

NAMES = {3: "crystals", 2: "layers", 0: "clusters"}
"""What is searched for, by the number of periodic directions."""


def check_dimensions(settings: RunSettings) -> None:
    """Refuse settings that do not fit the number of periodic directions, or have no effect with it.

    Raises:
        BadInput: such a setting is given; the message names it.
    """
    defaults = RunSettings()
    what = NAMES[settings.dimensions]
    for table, directions in (("layers", 2), ("clusters", 0)):
        own, plain = getattr(settings, table), getattr(defaults, table)
        for name in type(own).model_fields:
            if settings.dimensions != directions and getattr(own, name) != getattr(plain, name):
                raise BadInput(f"{table}.{name} has no effect on a search of {what}; give --dimensions {directions}, or remove it")
    if settings.dimensions == 3:
        return
    if settings.system is not None:
        raise BadInput(f"a chemical system ({settings.name}) is searched in three dimensions; give a formula for a search of {what}")
    if settings.molecules.molecule:
        raise BadInput("crystals of molecules are searched in three dimensions; remove --dimensions")
    if settings.pressure:
        raise BadInput(f"pressure {settings.pressure:g}: {what} in vacuum have no pressure; remove it")
    if settings.dimensions == 0 and sum(settings.counts.values()) < 2:
        raise BadInput(f"{settings.name}: a single atom has no structure; give a formula with at least two atoms")
    groups = "have layer groups" if settings.dimensions == 2 else "have point groups"
    for name, why in (
        ("symmetric_share", f"whose candidates {groups}"),
        ("prototype_share", "which are not drawn from known crystals"),
        ("space_groups", f"whose candidates {groups}"),
        ("space_group_weights", f"whose candidates {groups}"),
        ("conformers", "which have no molecules"),
    ):
        # A search of layers or clusters is stored with a share of zero.
        if getattr(settings.generate, name) not in (getattr(defaults.generate, name), *((0.0,) if name == "prototype_share" else ())):
            raise BadInput(f"generate.{name} has no effect on {what}, {why}; remove it")
    if settings.search.train_units:
        raise BadInput(f"search.train_units has no effect on {what}; remove it")
    table = "layers" if settings.dimensions == 2 else "clusters"
    vacuum = getattr(settings, table).vacuum
    names = (settings.reference.engine, settings.teacher.name, settings.model.prior)
    reach = max(VACUUM, settings.model.cutoff, *(PRETRAINED[name].cutoff for name in names if name in PRETRAINED)) + SWELLING
    if vacuum <= reach:
        raise BadInput(f"{table}.vacuum = {vacuum:g} Å is not more than {reach:g} Å, within which images may interact; increase it")
