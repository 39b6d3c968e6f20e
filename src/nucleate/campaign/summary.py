"""What the searches of a campaign have found: a table, and the hulls of the chemical systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from nucleate.campaign.members import Member
from nucleate.crystals.compositions import parse_system
from nucleate.csp.records import Polymorph
from nucleate.csp.run_data import RunData, lower_label_text, read_run, show_data
from nucleate.csp.systems.phases import Phase, phases
from nucleate.errors import NucleateError

MOST_ELEMENTS = 6
"""Largest number of elements of a hull."""


@dataclass(frozen=True)
class Line:
    """One search.

    Attributes:
        name: formula of the search cell, or chemical system.
        folder: run folder, relative to that of the campaign.
        status: `finished`, `stopped`, `failed` or `waiting`.
        error: why it failed; None: it did not.
        calls: number of reference calls.
        found: number of labels that were found in the shared ledger.
        learned: number of run folders and files from whose labels it learned.
        core_seconds: core time of its calls, s.
        space_group: space group of the lowest polymorph; None: there is none.
        energy: energy of the lowest polymorph, eV/atom, with the enthalpy's term at a pressure.
        polymorphs: number of confirmed polymorphs.
        advice: what to do if a label is below the lowest polymorph, so that the ranking is not final; None: no label is.
    """

    name: str
    folder: str
    status: str
    error: str | None = None
    calls: int = 0
    found: int = 0
    learned: int = 0
    core_seconds: float = 0.0
    space_group: str | None = None
    energy: float | None = None
    polymorphs: int = 0
    advice: str | None = None


@dataclass(frozen=True)
class SystemHull:
    """The hull of a chemical system.

    Attributes:
        symbols: its elements.
        missing: elements without a confirmed polymorph; the hull is then unknown.
        phases: lowest polymorph of each composition on the hull diagram; empty if an element is missing.
        space_groups: space group of each phase.
    """

    symbols: tuple[str, ...]
    missing: tuple[str, ...]
    phases: tuple[Phase, ...] = ()
    space_groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """Result of a campaign.

    Attributes:
        folder: folder of the campaign.
        lines: one for each search, in the order in which they were made.
        hulls: one for each chemical system with more than one element that no other one contains.
    """

    folder: Path
    lines: tuple[Line, ...]
    hulls: tuple[SystemHull, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the result as data, as in campaign.json."""
        hulls = [
            {
                "system": "-".join(hull.symbols), "missing": list(hull.missing),
                "phases": [
                    {
                        "formula": phase.formula, "space_group": group, "formation_energy": 1e3 * phase.formation,
                        "above_hull": 1e3 * phase.above, "reaction": phase.reaction,
                    }
                    for phase, group in zip(hull.phases, hull.space_groups, strict=True)
                ],
            }
            for hull in self.hulls
        ]  # fmt: skip
        total = {key: sum(getattr(line, key) for line in self.lines) for key in ("calls", "found", "core_seconds")}
        return {"folder": str(self.folder), "searches": [asdict(line) for line in self.lines], "hulls": hulls, "total": total}


def summarise(folder: Path, members: Sequence[Member], failures: dict[str, str]) -> Summary:
    """Read the run folders of a campaign.

    Args:
        folder: folder of the campaign.
        members: its searches.
        failures: error message of each search that failed.
    """
    runs: dict[str, RunData] = {}
    lines = []
    for member in members:
        error = failures.get(member.name)
        path = folder / member.name
        if not (path / "run.toml").is_file():
            lines.append(Line(member.name, member.name, "waiting" if error is None else "failed", error))
            continue
        try:
            run = read_run(path, running=False)
        except NucleateError as failure:
            lines.append(Line(member.name, member.name, "failed", error or str(failure)))
            continue
        runs[member.name] = run
        ranking = run.state.ranking()
        one_formula = run.settings.system is None and bool(ranking)
        lines.append(
            Line(
                member.name, member.name, "failed" if error is not None else run.status, error, run.calls, run.found,
                len(run.settings.teacher.labels_from), sum(row.core_seconds for row in run.rows),
                ranking[0].space_group if one_formula else None, float(ranking[0].energy) if one_formula else None, len(ranking),
                lower_label_text(show_data(run)) or None,
            )
        )  # fmt: skip
    return Summary(folder, tuple(lines), tuple(_hulls(members, runs)))


def _hulls(members: Sequence[Member], runs: dict[str, RunData]) -> list[SystemHull]:
    sets = {frozenset(member.species) for member in members if 1 < len(member.species) <= MOST_ELEMENTS}
    largest = sorted((own for own in sets if not any(own < other for other in sets)), key=sorted)
    hulls = []
    for species in largest:
        inside = [runs[member.name] for member in members if member.name in runs and set(member.species) <= species]
        polymorphs = [polymorph for run in inside for polymorph in run.state.minima()]
        alone = {polymorph.atoms.get_chemical_symbols()[0] for polymorph in polymorphs if len(set(polymorph.atoms.numbers)) == 1}
        symbols = tuple(chemical_symbols[z] for z in sorted(species))
        missing = tuple(symbol for symbol in symbols if symbol not in alone)
        if missing:
            hulls.append(SystemHull(symbols, missing))
            continue
        system = parse_system("-".join(symbols))
        lowest = _lowest(polymorphs)
        resolution = max(run.settings.search.resolution for run in inside) * 1e-3
        placed = phases(system, lowest, resolution) or []
        hulls.append(SystemHull(symbols, (), tuple(placed), tuple(polymorph.space_group for polymorph in lowest[: len(placed)])))
    return hulls


def _lowest(polymorphs: Sequence[Polymorph]) -> list[Polymorph]:
    """Return the lowest polymorph of each composition."""
    best: dict[str, Polymorph] = {}
    for polymorph in polymorphs:
        formula = polymorph.atoms.symbols.formula.reduce()[0].format("hill")
        if formula not in best or polymorph.energy < best[formula].energy:
            best[formula] = polymorph
    return list(best.values())
