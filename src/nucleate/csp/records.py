"""State of the loop between rounds, as records that are converted to JSON and back without loss."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.crystals.dimensions import is_cluster, is_layer
from nucleate.crystals.layers import HEIGHT
from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict
from nucleate.csp.evolution.records import EvolutionRecord
from nucleate.csp.magnetic.records import Magnetism
from nucleate.reference.base import Label
from nucleate.reference.ledger import LedgerRow
from nucleate.units import GPA

SPENT = "the budget of reference calls is spent"


def out_of_rounds(rounds: int) -> str:
    """Return the reason that ends a search at its largest number of rounds."""
    return f"the limit of {rounds} rounds is reached"


def round_seconds(value: float) -> float:
    """Return a time in s rounded to two decimals, for records."""
    return float(f"{value:.2f}")


@dataclass
class Carried:
    """A relaxed candidate that is carried over to the pool of the next round.

    Attributes:
        atoms: the structure.
        origin: generator or operator of the candidate.
        birth: its name in the family history; empty: it has none.
    """

    atoms: Atoms
    origin: str
    birth: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-serialisable dictionary."""
        return {"atoms": atoms_to_dict(self.atoms), "origin": self.origin, "birth": self.birth}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Carried:
        """Create a record from the result of `as_dict`."""
        return cls(atoms_from_dict(data["atoms"]), data["origin"], data.get("birth", ""))


def _left_to_gain(atoms: Atoms, forces: np.ndarray, smax: float) -> float:
    """Return the energy above the minimum, by force constants of 8 eV/Å² and a bulk modulus of 100 GPa, eV/atom.

    Args:
        atoms: structure.
        forces: (n, 3) forces, eV/Å.
        smax: largest component of stress plus pressure, GPa.
    """
    atomic = float((np.asarray(forces) ** 2).sum(1).mean()) / (2 * 8.0)
    return atomic + atoms.get_volume() / len(atoms) * (smax * GPA) ** 2 / (2 * 100 * GPA)


_PLAIN = ("energy", "fmax", "smax", "origin", "birth", "met", "calls", "status", "trust", "best", "tried")


@dataclass
class Lead:
    """A labelled minimum of the committee that is relaxed on the reference.

    Attributes:
        atoms: geometry of the best label.
        start: geometry of the first label, from which the proof starts.
        energy: enthalpy per atom of the best label, eV/atom.
        fmax, smax: largest reference force (eV/Å) and stress plus pressure (GPa) of the best label.
        origin: generator of the candidate.
        calls: number of reference calls.
        status: `open`, `confirmed`, `dropped` or `duplicate`.
        estimate: estimated energy of the minimum, eV/atom.
        forces, stress: forces (eV/Å) and stress (eV/Å³) of the best label.
        frame: geometry whose cell is the frame of `path`: `start`, or the last symmetrised geometry.
        path: coordinates and gradients of the labels in that frame (see `newton.Frame`).
        trust: trust radius, the largest displacement of an atom in the next step, Å.
        best: index of the best label in `path`.
        tried: space groups of the symmetrised geometries that have been tried.
        birth: name of the candidate in the family history; empty: it has none.
        met: how often random candidates have ended in it, see `Polymorph`.
    """

    atoms: Atoms
    start: Atoms
    energy: float
    fmax: float
    smax: float
    origin: str
    forces: np.ndarray
    stress: np.ndarray
    calls: int = 1
    status: str = "open"
    trust: float = 0.3
    best: int = 0
    path: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)
    frame: Atoms | None = None
    birth: str = ""
    met: int = 0

    def __post_init__(self) -> None:
        if self.frame is None:
            self.frame = self.start

    @property
    def estimate(self) -> float:
        """Harmonic estimate of the energy of the minimum, eV/atom."""
        return self.energy - _left_to_gain(self.atoms, self.forces, self.smax)

    def offer(self, atoms: Atoms, label: Label, pressure: float) -> bool:
        """Accept a new label if its energy is lower, or if less is left to gain at almost the same energy; else reduce `trust`.

        Args:
            atoms: geometry of the label.
            label: result of the reference.
            pressure: external pressure, GPa.

        Returns:
            Whether the label was accepted.
        """
        self.calls += 1
        energy = enthalpy_per_atom(atoms, label, pressure)
        fmax, smax = residuals(atoms, label, pressure)
        calmer = _left_to_gain(atoms, label.forces, smax) < self.energy - self.estimate
        if not (energy < self.energy - 1e-5 or (calmer and energy < self.energy + 1e-3)):
            self.trust *= 0.4
            return False
        self.trust = min(0.4, 1.5 * self.trust)
        self.atoms, self.energy, self.fmax, self.smax = atoms, energy, fmax, smax
        self.forces, self.stress = np.array(label.forces), np.array(label.stress)
        return True

    def offer_symmetrised(self, atoms: Atoms, label: Label, pressure: float) -> None:
        """Accept a symmetrised geometry unless its energy is higher."""
        self.calls += 1
        energy = enthalpy_per_atom(atoms, label, pressure)
        if energy > self.energy + 1e-3:
            return
        self.atoms, self.energy = atoms, energy
        self.fmax, self.smax = residuals(atoms, label, pressure)
        self.forces, self.stress = np.array(label.forces), np.array(label.stress)
        self.frame, self.path, self.best, self.trust = atoms, [], 0, 0.3

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-serialisable dictionary."""
        return {
            **{k: getattr(self, k) for k in _PLAIN},
            "atoms": atoms_to_dict(self.atoms),
            "start": atoms_to_dict(self.start),
            "frame": atoms_to_dict(self.frame or self.start),
            "forces": self.forces.tolist(),
            "stress": self.stress.tolist(),
            "path": [[point.tolist(), gradient.tolist()] for point, gradient in self.path],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Lead:
        """Create a record from the result of `as_dict`."""
        plain = {k: data[k] for k in _PLAIN if k in data}
        return cls(
            atoms=atoms_from_dict(data["atoms"]),
            start=atoms_from_dict(data["start"]),
            frame=atoms_from_dict(data["frame"]),
            forces=np.array(data["forces"]),
            stress=np.array(data["stress"]),
            path=[(np.array(point), np.array(gradient)) for point, gradient in data["path"]],
            **plain,
        )


_STRUCTURES = ("atoms", "start", "frame")


@dataclass
class Polymorph:
    """A minimum that is confirmed on the reference.

    Attributes:
        atoms: relaxed structure.
        start: first labelled geometry of its lead.
        energy: enthalpy, eV/atom.
        fmax, smax: residual force (eV/Å) and stress plus pressure (GPa).
        space_group, number: symbol and number of the space, layer or point group (`point_groups.number_of`) at a tolerance of 0.1 Å.
        sigma: calibrated uncertainty of the committee for this structure, eV/atom.
        origin: generator of the first candidate that reached the polymorph.
        calls: number of rows of the ledger at the confirmation.
        own_calls: number of calls of its lead.
        found: number of leads that reached the polymorph.
        round: round of the confirmation.
        check: result of the softest-mode check: `minimum`, `saddle` or `unchecked`.
        frame: structure whose k-point grid its label has; None: its own.
        accurate: enthalpy with converged sampling, eV/atom; None: not calculated.
        level: energy of the convex hull at its composition, eV/atom; 0 in a search of one formula.
        known: name of the known phase that it is, or None.
        compound: the molecules of which it consists if they are not those of the search; None: they are, or it is no search of molecules.
        birth: name of the first candidate that reached it in the family history; empty: it has none.
        met: how often random candidates have ended in it on the committee, in a search of all minima in a window; 0 in other searches.
        magnetic: final moments and magnetic orders; None: the reference has no moments, or the search has not ended.
    """

    atoms: Atoms
    start: Atoms
    energy: float
    fmax: float
    smax: float
    space_group: str
    number: int
    sigma: float
    origin: str
    calls: int
    own_calls: int
    round: int
    found: int = 1
    check: str = "unchecked"
    frame: Atoms | None = None
    accurate: float | None = None
    level: float = 0.0
    known: str | None = None
    compound: str | None = None
    birth: str = ""
    met: int = 0
    magnetic: Magnetism | None = None

    @property
    def own(self) -> bool:
        """Whether the search has found the polymorph itself."""
        return self.known is None and self.own_calls > 0

    @property
    def height(self) -> float:
        """Enthalpy above the level of its composition, eV/atom."""
        return self.energy - self.level

    def set_order(self, magnetic: Magnetism | None, **found: Any) -> None:
        """Set the magnetic order, in place of an earlier one.

        Args:
            magnetic: final moments and orders; None: they are not known.
            found: attributes that differ from those that the search has found; these are kept in `magnetic.before`.
        """
        if self.magnetic is not None and self.magnetic.before is not None:
            for name, value in self.magnetic.before.items():
                setattr(self, name, atoms_from_dict(value) if name in _STRUCTURES and value is not None else value)
        self.magnetic = magnetic
        if magnetic is not None and found:
            own = {name: getattr(self, name) for name in found}
            magnetic.before = {name: atoms_to_dict(value) if isinstance(value, Atoms) else value for name, value in own.items()}
            for name, value in found.items():
                setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-serialisable dictionary."""
        plain = {k: v for k, v in self.__dict__.items() if k not in (*_STRUCTURES, "magnetic")}
        frame = None if self.frame is None else atoms_to_dict(self.frame)
        magnetic = None if self.magnetic is None else self.magnetic.as_dict()
        return {**plain, "atoms": atoms_to_dict(self.atoms), "start": atoms_to_dict(self.start), "frame": frame, "magnetic": magnetic}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Polymorph:
        """Create a record from the result of `as_dict`."""
        plain = {k: v for k, v in data.items() if k not in (*_STRUCTURES, "magnetic")}
        frame = None if data.get("frame") is None else atoms_from_dict(data["frame"])
        atoms, start, magnetic = atoms_from_dict(data["atoms"]), atoms_from_dict(data["start"]), Magnetism.from_dict(data.get("magnetic"))
        return cls(atoms=atoms, start=start, frame=frame, magnetic=magnetic, **plain)


@dataclass
class RoundRecord:
    """Statistics of one round, for the report.

    Attributes:
        round: number of the round; 0 is the first batch.
        calls: number of rows of the ledger at its end.
        best: lowest confirmed enthalpy, eV/atom, or None.
        stops: number of relaxations of the pool for each stop reason.
        clusters: number of distinct relaxed structures.
        calibration: see `Calibration`.
        training: errors on the training labels.
        seconds: wall time of each phase, s.
        phases: number of confirmed phases on the hull of a chemical system; None in a search of one formula.
        quiet, clear: these numbers of `LoopState` after the round, before a softest-mode check.
    """

    round: int
    calls: int
    best: float | None
    stops: dict[str, int] = field(default_factory=dict)
    clusters: int = 0
    calibration: dict[str, Any] = field(default_factory=dict)
    training: dict[str, float | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    phases: int | None = None
    quiet: int = 0
    clear: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-serialisable dictionary."""
        return asdict(self)


_ALWAYS = ("round", "sigma_factor", "ratios", "quiet", "top", "finished", "proof")
"""Plain fields of a state that those of all versions have."""


@dataclass
class LoopState:
    """State of the loop between rounds; labels and model are stored elsewhere.

    Attributes:
        round: last finished round.
        carried: relaxed candidates that are added to the next pool.
        leads: leads, see `Lead`.
        polymorphs: confirmed polymorphs in the order of confirmation.
        sigma_factor: calibration factor of the committee's standard deviation.
        ratios: |error|/spread of the labels of recent rounds.
        quiet: number of consecutive rounds without a change among the lowest polymorphs.
        top: energies of the lowest polymorphs at the end of the last round, or of the phases on the hull, eV/atom.
        records: statistics of each round.
        finished: why the loop ended, or None.
        proof: result of the full relaxation of the best polymorph on the reference.
        accurate: cost of the accurate energies, see `rank_accurately`; None: not calculated.
        magnetic: number of calculations of magnetic orders, see `MagneticStage.run`; None: not calculated.
        base: deviation of the surface of the teacher from labels, see `TeacherJudged`; None: there is no teacher.
        chance: probability that the polymorphs of the stop rule will change, see `Space.chance`; 0 in most searches of one formula.
        clear: number of the quiet rounds that count twice, see `Space.clear`.
        left_out: known phases that could not be relaxed, each with the reason.
        evolution: family history, and credit of the operators.
    """

    round: int = -1
    carried: list[Carried] = field(default_factory=list)
    leads: list[Lead] = field(default_factory=list)
    polymorphs: list[Polymorph] = field(default_factory=list)
    sigma_factor: float = 1.0
    ratios: list[float] = field(default_factory=list)
    quiet: int = 0
    top: list[float] = field(default_factory=list)
    records: list[RoundRecord] = field(default_factory=list)
    finished: str | None = None
    proof: dict[str, Any] | None = None
    accurate: dict[str, Any] | None = None
    magnetic: dict[str, Any] | None = None
    base: dict[str, Any] | None = None
    chance: float = 0.0
    clear: int = 0
    left_out: list[str] = field(default_factory=list)
    evolution: EvolutionRecord = field(default_factory=EvolutionRecord)

    def ranking(self) -> list[Polymorph]:
        """Return the polymorphs sorted by their height, by accurate energy where they have one; saddles and other compounds come last."""
        # Phases on the hull have the height zero up to rounding.
        plain = sorted(self.polymorphs, key=lambda p: (p.compound is not None, p.check == "saddle", round(p.height, 9), p.energy))
        # The polymorphs with accurate energies are the lowest ones.
        accurate = sorted((p.accurate, place) for place, p in enumerate(plain) if p.accurate is not None)
        return [plain[place] for _, place in accurate] + [p for p in plain if p.accurate is None]

    def minima(self) -> list[Polymorph]:
        """Return the polymorphs sorted by energy, without saddles and other compounds."""
        return [polymorph for polymorph in self.ranking() if polymorph.check != "saddle" and polymorph.compound is None]

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-serialisable dictionary."""
        plain = {
            k: getattr(self, k)
            for k in (
                "round",
                "sigma_factor",
                "ratios",
                "quiet",
                "clear",
                "top",
                "chance",
                "left_out",
                "finished",
                "proof",
                "accurate",
                "magnetic",
                "base",
            )
        }
        lists = {k: [item.as_dict() for item in getattr(self, k)] for k in ("carried", "leads", "polymorphs", "records")}
        return {**plain, **lists, "evolution": self.evolution.as_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LoopState:
        """Create a record from the result of `as_dict`."""
        return cls(
            **{k: data[k] for k in _ALWAYS},
            clear=data.get("clear", 0),
            chance=data.get("chance", 0.0),
            left_out=data.get("left_out", []),
            accurate=data.get("accurate"),
            magnetic=data.get("magnetic"),
            base=data.get("base"),
            evolution=EvolutionRecord.from_dict(data.get("evolution")),
            carried=[Carried.from_dict(item) for item in data["carried"]],
            leads=[Lead.from_dict(item) for item in data["leads"]],
            polymorphs=[Polymorph.from_dict(item) for item in data["polymorphs"]],
            records=[RoundRecord(**item) for item in data["records"]],
        )


def enthalpy_per_atom(atoms: Atoms, label: Label, pressure: float) -> float:
    """Return the enthalpy (E + pV) / n, eV/atom; `pressure` is in GPa."""
    return (label.energy + pressure * GPA * atoms.get_volume()) / len(atoms)


def lowest_enthalpy(rows: Iterable[LedgerRow], size: int, pressure: float) -> float:
    """Return the lowest enthalpy among the labels of cells with `size` atoms, eV/atom; infinity without labels; `pressure` in GPa."""
    known = ((row.atoms, row.label) for row in rows if len(row.atoms) == size)
    return min((enthalpy_per_atom(atoms, label, pressure) for atoms, label in known if label is not None), default=math.inf)


def residuals(atoms: Atoms, label: Label, pressure: float) -> tuple[float, float]:
    """Return the largest force on an atom (eV/Å) and the largest component of stress plus `pressure` (GPa).

    For layers only the components in the plane count, for a cell of the height `layers.HEIGHT` instead of that with the vacuum. Clusters
    have no stress.
    """
    stress = np.array(label.stress) + pressure * GPA * np.array([1, 1, 1, 0, 0, 0])
    if is_cluster(atoms):
        stress = np.zeros(6)
    elif is_layer(atoms):
        stress = stress * np.array([1, 1, 0, 0, 0, 1]) * np.linalg.norm(atoms.cell.array[2]) / HEIGHT
    return float(np.linalg.norm(label.forces, axis=1).max()), float(np.abs(stress).max() / GPA)
