"""Settings of the generators."""

from __future__ import annotations

from typing import Annotated, Literal

from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nucleate.errors import quoted

Distance = Annotated[float, Field(gt=0.0, le=20.0)]
PROTOTYPE_SHARE = 0.2
"""Share of candidates from known crystals with `--prototypes`, and in searches of compositions that the tables hold."""
SpaceGroup = Annotated[int, Field(ge=1, le=230)]


class GenerateSettings(BaseModel):
    """Settings of random candidates."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    symmetric_share: float = Field(
        default=0.9,
        ge=0.0,
        le=1.0,
        description="Fraction of random candidates that are generated with a space group; the others have no symmetry.",
    )
    prototype_share: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Fraction of random candidates from known crystals: half AFLOW prototypes, half on observed Wyckoff positions; "
        "unset: 0.2 in searches of crystals of a formula or a chemical system for which there are some, else 0.",
    )
    volume_per_atom: float | None = Field(
        default=None,
        gt=0.0,
        le=1000.0,
        description="Volume per atom in Å³ at volume factor 1; unset: estimated from radii.",
    )
    volume_range: tuple[float, float] = Field(
        default=(0.9, 1.4),
        description="Range of the random factor by which the volume per atom is multiplied.",
    )
    min_distance: dict[str, Distance] = Field(
        default_factory=dict,
        description="Smallest distance in Å between two species, such as {'Al-O': 1.6}, in place of the estimate.",
    )
    distance_factor: float = Field(
        default=0.75,
        gt=0.0,
        le=1.2,
        description="Smallest distance between two atoms as a fraction of the sum of their radii.",
    )
    like_charge_factor: float = Field(
        default=0.85,
        gt=0.0,
        le=1.2,
        description="Smallest distance between two anions as a fraction of the sum of their ionic radii.",
    )
    max_length_ratio: float = Field(
        default=3.0,
        ge=1.0,
        le=20.0,
        description="Largest ratio of the free cell lengths of a random lattice.",
    )
    space_groups: tuple[SpaceGroup, ...] | None = Field(
        default=None,
        description="International numbers of the space groups to draw from; unset: all that fit the formula, except P1.",
    )
    space_group_weights: Literal["nature", "uniform"] = Field(
        default="nature",
        description="Frequencies of the space groups of molecular crystals: nature, as among known organic crystals, or uniform.",
    )
    conformers: Literal["rigid", "flexible"] = Field(
        default="rigid",
        description="Conformers of molecules: rigid, the given or relaxed one, or flexible, with random torsions about single bonds.",
    )
    try_seconds: float = Field(default=5.0, gt=0.0, le=600.0, description="Limit of the processor time for generating one candidate, s.")
    workers: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Number of processes that generate candidates; unset: all available cores. The structures do not depend on it.",
    )

    @property
    def estimated(self) -> bool:
        """Whether distances, volumes and shapes are the estimates, for which candidates of almost all compositions can be generated."""
        names = ("volume_per_atom", "volume_range", "min_distance", "distance_factor", "like_charge_factor", "max_length_ratio")
        fields = type(self).model_fields
        return all(getattr(self, name) == fields[name].get_default(call_default_factory=True) for name in names)

    @field_validator("volume_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not 0.1 <= low <= high <= 10.0:
            raise ValueError(f"volume_range ({low:g}, {high:g}): give two ascending factors between 0.1 and 10")
        return value

    @field_validator("min_distance")
    @classmethod
    def _pairs(cls, value: dict[str, float]) -> dict[str, float]:
        seen: set[tuple[str, ...]] = set()
        for key in value:
            pair = key.split("-")
            if len(pair) != 2 or any(symbol not in atomic_numbers or symbol == "X" for symbol in pair):
                raise ValueError(f"min_distance '{quoted(key, 20)}': name two elements joined by a hyphen, such as 'Al-O'")
            if tuple(sorted(pair)) in seen:
                raise ValueError(f"min_distance '{quoted(key, 20)}': this pair is given twice; remove one")
            seen.add(tuple(sorted(pair)))
        return value

    @field_validator("space_groups")
    @classmethod
    def _unique(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        if not value:
            raise ValueError("space_groups is empty; leave it out to draw from all compatible space groups")
        return tuple(sorted(set(value)))
