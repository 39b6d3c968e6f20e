"""Events of a search. Those derived from `LoggedEvent` are also lines of the run folder's events.jsonl."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nucleate.csp.records import RoundRecord
from nucleate.progress import Event, LoggedEvent


@dataclass(frozen=True)
class FolderOpened(Event):
    """The run folder is open and the search begins.

    Attributes:
        path: Run folder.
        formula: Formula of the search cell.
        reference: Name of the reference.
        surrogate: Whether the reference is a surrogate.
        budget: Largest number of reference calls; None: unlimited.
    """

    path: str
    formula: str
    reference: str
    surrogate: bool
    budget: int | None


@dataclass(frozen=True)
class EngineStarts(Event):
    """The settings of a resumed search start programs or import modules; `text` names them."""

    text: str


@dataclass(frozen=True)
class TeacherBegins(Event):
    """The search on the teacher begins.

    Attributes:
        name: Name of the teacher.
        budget: Largest number of its evaluations.
    """

    name: str
    budget: int


@dataclass(frozen=True)
class TeacherDone(LoggedEvent):
    """The search on the teacher ended; its minima are no results, but structures that the reference labels first.

    Attributes:
        name: Name of the teacher.
        evaluations: Number of its evaluations, which are not reference calls.
        core_seconds: Their core time in s.
        seconds: Wall time of the search on the teacher in s.
        minima: Space group and energy on the teacher (eV/atom) of each of its minima, lowest first.
    """

    kind: ClassVar[str] = "teacher"
    name: str
    evaluations: int
    core_seconds: float
    seconds: float
    minima: list[list[Any]]


@dataclass(frozen=True)
class MoleculeFitted(LoggedEvent):
    """A molecule was relaxed alone on the reference, and its force field was fitted.

    Attributes:
        formula: Formula of the molecule.
        energy: Energy of the isolated molecule, eV.
        relaxed: Whether it was relaxed; otherwise the given geometry is used.
        error: Root mean square error of the force components on the distorted geometries, eV/Å.
        calls: Number of reference calls so far.
    """

    kind: ClassVar[str] = "molecule"
    formula: str
    energy: float
    relaxed: bool
    error: float
    calls: int


@dataclass(frozen=True)
class TeacherJudged(LoggedEvent):
    """The surface of a teacher, of labels or of a model was compared with labels of the reference.

    Attributes:
        source: Name of the teacher or file.
        kept: Whether the search keeps it.
        labels: Number of labels.
        energy: Error of the energy after a constant shift, eV/atom.
        force: Error of the forces, eV/Å.
        stress: Error of the stress times the volume per atom, eV.
        round: Round of the search.
    """

    kind: ClassVar[str] = "teacher_judged"
    source: str
    kept: bool
    labels: int
    energy: float
    force: float
    stress: float
    round: int


@dataclass(frozen=True)
class SearchResumed(LoggedEvent):
    """The search continues after a committed round; `calls` counts reference calls so far."""

    kind: ClassVar[str] = "resumed"
    round: int
    calls: int


@dataclass(frozen=True)
class LabelDone(LoggedEvent):
    """A reference calculation ended.

    Attributes:
        round: Round of the search.
        purpose: Purpose of the calculation, as in the ledger.
        calls: Number of reference calls so far.
        failed: Reason of a failure; None for a label.
    """

    kind: ClassVar[str] = "label"
    round: int
    purpose: str
    calls: int
    failed: str | None


@dataclass(frozen=True)
class PolymorphConfirmed(LoggedEvent):
    """A polymorph is confirmed on the reference.

    Attributes:
        energy: Energy, or enthalpy under pressure, in eV/atom.
        space_group: Hermann-Mauguin symbol.
        calls: Number of reference calls so far.
        round: Round of the search.
        formula: Reduced formula in the search of a chemical system, otherwise empty.
    """

    kind: ClassVar[str] = "polymorph"
    energy: float
    space_group: str
    calls: int
    round: int
    formula: str = ""


@dataclass(frozen=True)
class PolymorphChecked(LoggedEvent):
    """A polymorph was displaced along its softest modes.

    Attributes:
        space_group: Hermann-Mauguin symbol.
        energy: Energy, or enthalpy under pressure, in eV/atom.
        check: `minimum`, `saddle`, or `unchecked` if a calculation failed or the budget was used up.
        calls: Number of reference calls so far.
    """

    kind: ClassVar[str] = "check"
    space_group: str
    energy: float
    check: str
    calls: int


@dataclass(frozen=True)
class RoundDone(LoggedEvent):
    """A round is complete."""

    kind: ClassVar[str] = "round"
    record: RoundRecord

    def facts(self) -> dict[str, Any]:
        """Return the entries of the record."""
        return self.record.as_dict()


@dataclass(frozen=True)
class RankedAccurately(LoggedEvent):
    """The lowest polymorphs were calculated with the preset `accurate`.

    Attributes:
        calls: Number of accurate calculations, which do not count against the budget.
        failed: Number of failed ones.
        core_seconds: Core time in s.
        relaxed: Number of polymorphs that were relaxed again because their order changed.
        ranked: Whether the accurate energies decide the order; False if a single point failed.
    """

    kind: ClassVar[str] = "accurate"
    calls: int
    failed: int
    core_seconds: float
    relaxed: int
    ranked: bool


@dataclass(frozen=True)
class MagneticDone(LoggedEvent):
    """The magnetic orders of the lowest polymorphs were calculated.

    Attributes:
        calls: Number of reference calls.
        failed: Number of failed ones.
        tried: Number of polymorphs whose orders were tried.
        changed: Number of polymorphs of which another order is lower than that of the search.
    """

    kind: ClassVar[str] = "magnetic"
    calls: int
    failed: int
    tried: int
    changed: int


@dataclass(frozen=True)
class SearchFinished(LoggedEvent):
    """The stop rule, the budget or the last round ended the search; `why` is the reason."""

    kind: ClassVar[str] = "finished"
    why: str
    calls: int


@dataclass(frozen=True)
class ProofDone(LoggedEvent):
    """The lowest polymorph was relaxed on the reference alone, from the geometry of its first label.

    Attributes:
        stop: How the relaxation ended.
        energy: Final energy in eV/atom; None after a failure.
        difference: Final energy minus that of the polymorph in eV/atom; None after a failure.
        steps: Number of steps; None after a failure.
        calls: Number of reference calls of the relaxation.
        seconds: Wall time in s.
        phases: Number of phases that were relaxed; the other values are those of the largest difference, with the steps and calls of all.
    """

    kind: ClassVar[str] = "proof"
    stop: str
    energy: float | None
    difference: float | None
    steps: int | None
    calls: int
    seconds: float
    phases: int = 1
