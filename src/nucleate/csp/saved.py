"""Models that validate the contents of a run folder when they are read.

They describe the data that `LoopState.as_dict` and `RunFolder.event` write; other data are damaged and raise an error.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nucleate.errors import quoted

LARGEST_STATE = 256_000_000
"""Largest size of an uncompressed state, in bytes; the largest known state has some ten million."""
MOST_ATOMS = 5000

# The bounds prevent overflow of squares and volumes that are computed from these numbers.
Finite = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
Length = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=1, le=118)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Text = Annotated[str, Field(max_length=10_000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9.\-]{0,40}$")]
"""Name of a candidate in the family history, or of an operator."""
Symbol = Annotated[str, Field(pattern=r"^[A-Za-z0-9/_\-]{1,20}$")]
"""Pattern of a space-group symbol, which becomes part of a file name."""
Point = tuple[Length, Length, Length]
Rows = Annotated[list[tuple[Finite, Finite, Finite]], Field(max_length=MOST_ATOMS)]
Coordinates = Annotated[list[Finite], Field(max_length=3 * MOST_ATOMS + 9)]
Voigt = tuple[Finite, Finite, Finite, Finite, Finite, Finite]


class _Saved(BaseModel):
    """Base class of the saved records; validation is strict, because nucleate never writes numbers as text."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SavedAtoms(_Saved):
    """Structure with N atomic numbers, three lattice vectors (Å) and N positions (Å)."""

    numbers: list[Number] = Field(min_length=1, max_length=MOST_ATOMS)
    cell: list[Point] = Field(min_length=3, max_length=3)
    positions: list[Point] = Field(max_length=MOST_ATOMS)
    periodic: Literal[3, 2, 0] = 3
    moments: list[Finite] | None = Field(None, max_length=MOST_ATOMS)

    @model_validator(mode="after")
    def _fits(self) -> SavedAtoms:
        """Check the number of positions and the volume of the cell."""
        if len(self.positions) != len(self.numbers):
            raise ValueError("the number of positions differs from the number of atoms")
        if self.moments is not None and len(self.moments) != len(self.numbers):
            raise ValueError("the number of moments differs from the number of atoms")
        a, b, c = self.cell
        volume = (
            a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
        )  # numpy would take longer than the rest of the check
        if abs(volume) < 1e-6:
            raise ValueError("the cell has no volume")
        return self


class SavedCarried(_Saved):
    """Saved form of `Carried`."""

    atoms: SavedAtoms
    origin: Text
    birth: Name = ""


class SavedLead(_Saved):
    """Saved form of `Lead`."""

    energy: Finite
    fmax: Finite
    smax: Finite
    origin: Text
    birth: Name = ""
    met: Count = 0
    calls: Count
    status: Text
    trust: Finite
    best: Count
    tried: list[Annotated[int, Field(ge=1, le=230)]] = Field(max_length=1000)
    atoms: SavedAtoms
    start: SavedAtoms
    frame: SavedAtoms
    forces: Rows
    stress: Voigt
    path: list[tuple[Coordinates, Coordinates]] = Field(max_length=100_000)

    @model_validator(mode="after")
    def _fits(self) -> SavedLead:
        """Check the number of forces and the points of the path."""
        if len(self.forces) != len(self.atoms.numbers):
            raise ValueError("the number of forces differs from the number of atoms")
        rows = {len(part) for step in self.path for part in step}
        if len(rows) > 1 or (self.path and self.best >= len(self.path)):
            raise ValueError("the points of the path have different sizes, or the best one is not among them")
        return self


class SavedOrder(_Saved):
    """Saved form of `OrderEnergy`."""

    name: Text
    energy: Finite | None
    relaxed: Finite | None
    ended: Text
    moment: Finite | None
    net: Finite | None
    failure: Text


class SavedBefore(_Saved):
    """What a polymorph was before another magnetic order replaced that of the search, see `Polymorph.set_order`."""

    energy: Finite
    fmax: Finite
    smax: Finite
    space_group: Symbol
    number: Annotated[int, Field(ge=1, le=230)]
    atoms: SavedAtoms
    start: SavedAtoms
    frame: SavedAtoms | None


class SavedMagnetism(_Saved):
    """Saved form of `Magnetism`."""

    order: Text
    moment: Finite
    net: Finite
    orders: list[SavedOrder] = Field(max_length=10_000)
    before: SavedBefore | None


class SavedMagnetic(_Saved):
    """Number of calculations of magnetic orders."""

    calls: Count
    failed: Count
    tried: Count
    changed: Count


class SavedPolymorph(_Saved):
    """Saved form of `Polymorph`."""

    energy: Finite
    fmax: Finite
    smax: Finite
    space_group: Symbol
    number: Annotated[int, Field(ge=1, le=230)]
    sigma: float
    origin: Text
    calls: Count
    own_calls: Count
    round: Count
    found: Count
    check: Literal["minimum", "saddle", "unchecked"] = "unchecked"
    atoms: SavedAtoms
    start: SavedAtoms
    frame: SavedAtoms | None = None
    accurate: Finite | None = None
    level: Finite = 0.0
    known: Text | None = None
    compound: Text | None = None
    birth: Name = ""
    met: Count = 0
    magnetic: SavedMagnetism | None = None


class SavedRound(_Saved):
    """Saved form of `RoundRecord`; statistics of a round without labels are NaN."""

    round: Count
    calls: Count
    best: Finite | None
    stops: dict[Text, Count] = Field(max_length=100)
    clusters: Count
    calibration: dict[Text, float | None] = Field(max_length=100)
    training: dict[Text, float | None] = Field(max_length=100)
    seconds: dict[Text, Finite] = Field(max_length=100)
    phases: Count | None = None
    quiet: Count = 0
    clear: Count = 0


class SavedProof(_Saved):
    """Result of the relaxation of the best polymorph on the reference."""

    stop: Text
    energy: Finite | None
    difference: Finite | None
    steps: Count | None
    calls: Count
    seconds: Finite = 0.0
    phases: Count = 1


class SavedAccurate(_Saved):
    """Cost of the accurate energies."""

    calls: Count
    failed: Count
    core_seconds: Finite
    relaxed: Count
    ranked: bool = True


class SavedBase(_Saved):
    """Deviation of the surface of the teacher from labels of the reference."""

    source: Text
    kept: bool
    labels: Count
    energy: Finite
    force: Finite
    stress: Finite
    round: Count


class SavedBirth(_Saved):
    """Saved form of `Birth`."""

    origin: Text
    parents: list[Name] = Field(max_length=10)
    round: Count
    energy: Finite | None = None


class SavedCredit(_Saved):
    """Saved form of `Credit`."""

    children: Annotated[Finite, Field(ge=0)]
    successes: Annotated[Finite, Field(ge=0)]


class SavedEvolution(_Saved):
    """Saved form of `EvolutionRecord`."""

    births: dict[Name, SavedBirth] = Field(max_length=1_000_000)
    credit: dict[Text, SavedCredit] = Field(max_length=100)
    met: dict[Name, Annotated[Finite, Field(ge=0)]] = Field(max_length=1_000_000)
    smaller: list[SavedAtoms] = Field(default_factory=list, max_length=10_000)


class SavedState(_Saved):
    """Saved form of `LoopState`."""

    round: int = Field(ge=-1, lt=2**53)
    # These may be NaN after a training that diverged, which the next training corrects.
    sigma_factor: float
    ratios: list[float] = Field(max_length=10_000)
    quiet: Count
    clear: Count = 0
    top: list[Finite] = Field(max_length=10_000)
    chance: Annotated[float, Field(ge=0, le=1)] = 0.0
    left_out: list[Text] = Field(default_factory=list, max_length=10_000)
    finished: Text | None
    proof: SavedProof | None
    accurate: SavedAccurate | None = None
    magnetic: SavedMagnetic | None = None
    base: SavedBase | None = None
    carried: list[SavedCarried] = Field(max_length=100_000)
    leads: list[SavedLead] = Field(max_length=100_000)
    polymorphs: list[SavedPolymorph] = Field(max_length=100_000)
    records: list[SavedRound] = Field(max_length=100_000)
    evolution: SavedEvolution | None = None


class SavedReference(BaseModel):
    """Saved reference whose calculations a folder contains."""

    model_config = ConfigDict(strict=True)

    name: Text
    surrogate: bool
    settings: dict[str, Any] | None = None


class SavedTeacher(BaseModel):
    """Saved summary of the search on the teacher, see `events.TeacherDone`."""

    model_config = ConfigDict(strict=True)

    name: Text
    evaluations: Count
    core_seconds: Finite
    seconds: Finite
    minima: list[tuple[Symbol, Finite]] = Field(max_length=100_000)


class SavedMolecule(BaseModel):
    """Saved summary of an isolated molecule, see `events.MoleculeFitted`."""

    model_config = ConfigDict(strict=True)

    formula: Text
    energy: Finite
    relaxed: bool
    error: Finite
    calls: Count


class SavedVersions(BaseModel):
    """Versions of the programs with which a search began or went on."""

    model_config = ConfigDict(strict=True)

    versions: list[dict[Text, Text]] = Field(max_length=10_000)


class SavedLimit(BaseModel):
    """Limits with which a search went on after a round."""

    model_config = ConfigDict(strict=True)

    round: int = Field(ge=-1, lt=2**53)
    budget: Count
    max_rounds: Count


class PolymorphEvent(BaseModel):
    """Line of events.jsonl about a confirmed polymorph."""

    model_config = ConfigDict(strict=True)

    energy: Finite
    space_group: Symbol
    calls: Count
    round: Count


def unpacked(blob: Any) -> bytes:
    """Decompress the JSON of a state that `RunFolder.save_state` has written.

    Raises:
        ValueError: the data are not compressed, incomplete, or larger than `LARGEST_STATE` when decompressed.
    """
    if not isinstance(blob, bytes):
        raise ValueError("it is not compressed data")
    packer = zlib.decompressobj()
    try:
        text = packer.decompress(blob, LARGEST_STATE)
    except zlib.error as error:
        raise ValueError(quoted(str(error))) from None
    if packer.unconsumed_tail or not packer.eof:
        raise ValueError("it is incomplete, or larger than a valid state")
    return text
