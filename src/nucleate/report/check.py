"""Results of a check as lines, a table and figures, which the terminal and the page share."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from nucleate.polymorphs.stability.elastic import moduli
from nucleate.polymorphs.stability.results import CheckedPolymorph, CheckResult, formula_of
from nucleate.report.run_text import surrogate_warning
from nucleate.report.svg import ACCENT, LINE, MUTED, draw_svg, words

SHADES = ("#2a9d8f", "#d1495b", "#4c72b0", "#e9a23b", "#6d597a", "#8d99ae")
COLUMNS = (
    "polymorph", "formula", "space group", "verdict", "relaxation, meV/atom", "volume, %", "lowest mode, THz", "zero point, meV/atom",
    "bulk, GPa", "shear, GPa", "force error",
)  # fmt: skip
"""Columns of the table; the first four are text."""
TEXT = 4
SMALL = 0.05
"""Elastic constant in GPa below which zero is printed."""


def plus_minus(value: float, spread: float | None, digits: int) -> str:
    """Return a number with its spread."""
    return f"{value:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def table_of(result: CheckResult) -> tuple[list[str], list[list[str]]]:
    """Return the columns that have a value, and the cells, one row per polymorph."""
    rows = [_row(each) for each in result.polymorphs]
    used = [k for k in range(len(COLUMNS)) if any(row[k] for row in rows)]
    return [COLUMNS[k] for k in used], [[row[k] for k in used] for row in rows]


def _row(each: CheckedPolymorph) -> list[str]:
    p = each.prepared
    lowest = zero = bulk = shear = ""
    if each.phonons is not None:
        frequencies = each.phonons.commensurate
        # Translations at the zone centre are left out.
        values = np.where(np.abs(frequencies.mean) < 0.02, np.inf, frequencies.mean)
        place = np.unravel_index(int(values.argmin()), values.shape)
        if np.isfinite(values[place]):
            lowest = plus_minus(float(values[place]), None if frequencies.spread is None else float(frequencies.spread[place]), 2)
    curve = each.free_energy
    if curve is not None and np.isfinite(curve.zero_point):
        zero = f"{1e3 * curve.zero_point:.1f}"
    if each.elastic is not None and (average := moduli(each.elastic.mean)) is not None:
        members = [moduli(member) for member in each.elastic.members]
        kept = [member for member in members if member is not None]
        spreads = [np.std([getattr(m, name) for m in kept], ddof=1) if len(kept) > 1 else None for name in ("bulk", "shear")]
        bulk, shear = plus_minus(average.bulk, spreads[0], 1), plus_minus(average.shear, spreads[1], 1)
    return [
        p.name, formula_of(p.atoms), f"{p.space_group} ({p.number})", each.verdict, f"{1e3 * p.energy_change:+.2f}",
        f"{100 * p.volume_change:+.2f}", lowest, zero, bulk, shear,
        "" if each.spot is None else f"{each.spot.rmse:.3f} eV/Å ({100 * each.spot.share:.0f} %)",
    ]  # fmt: skip


def headline(result: CheckResult) -> str:
    """Return a sentence on the surface of the check."""
    members = "" if result.members == 1 else f", a committee of {result.members} members; errors after ± are standard deviations over them"
    at = f" at {result.pressure:g} GPa" if result.pressure else ""
    labels = "" if result.trained is None else f", trained on {result.trained} labels near the minima besides its own"
    return f"checked on {result.surface}{at}{labels}{members}"


def warnings_of(result: CheckResult) -> list[str]:
    """Return the warnings that stand above the table."""
    return [] if result.surrogate is None else [surrogate_warning(result.surrogate)]


def remarks(result: CheckResult) -> list[str]:
    """Return sentences on what the table cannot say, one for each line."""
    lines = [f"{each.name} is left out: {each.reason}" for each in result.unusable]
    for each in result.polymorphs:
        lines += _remarks_on(each)
    polar = [each.prepared.name for each in result.polymorphs if each.polar and each.phonons is not None]
    if polar:
        lines.append(
            f"{', '.join(polar)}: the splitting of longitudinal and transversal optical modes is left out; "
            "if the crystal is an insulator, its longitudinal modes near the zone centre are higher"
        )
    names = [each.prepared.name for each in result.polymorphs]
    for t in result.transitions:
        members = "" if t.of == 1 else f" ({t.members} of {t.of} members have this transition)"
        lines.append(f"{names[t.low]} becomes {names[t.high]} above {plus_minus(t.temperature, t.spread, 0)} K{members}")
    return lines


def _remarks_on(each: CheckedPolymorph) -> list[str]:
    p, lines = each.prepared, []
    if p.stop != "converged":
        lines.append(f"{p.name}: the relaxation is not converged ({p.stop}, largest force {p.fmax:.4f} eV/Å)")
    if not p.same:
        lines.append(f"{p.name}: the relaxation led to another crystal, {p.space_group}")
    if each.phonons is not None:
        for mode in each.phonons.imaginary[:3]:
            of = "" if mode.spread is None else f", imaginary on {mode.members} of {len(p.energy)} members"
            count = "" if len(mode.bands) == 1 else f", {len(mode.bands)} modes"
            where = " ".join(f"{x:.3g}" for x in mode.point)
            lines.append(f"{p.name}: imaginary mode {plus_minus(mode.frequency, mode.spread, 2)} THz at q = ({where}){count}{of}")
        if len(each.phonons.imaginary) > 3:
            lines.append(f"{p.name}: and {len(each.phonons.imaginary) - 3} more imaginary modes")
        if each.phonons.change is not None:
            lines.append(f"{p.name}: in a longer supercell the frequencies change by at most {each.phonons.change:.2f} THz")
    curve = each.free_energy
    if curve is not None and curve.missing:
        what = "no free energy at higher temperatures" if np.isfinite(curve.mean[0]) else "no curve of the free energy"
        lines.append(f"{p.name} has {what}: {curve.missing}")
    if each.elastic is not None:
        if each.elastic.relaxed is None:
            lines.append(f"{p.name}: elastic constants are those with clamped ions, because the zone centre has an unstable mode")
        if not each.elastic.stable:
            lines.append(f"{p.name}: the lowest eigenvalue of the elastic constants is {each.elastic.eigenvalues[0]:.1f} GPa")
        elif each.elastic.stable_members < len(p.energy):
            lines.append(f"{p.name}: elastically stable on {each.elastic.stable_members} of {len(p.energy)} members")
    for lead, path in each.leads:
        gain = plus_minus(1e3 * lead.gain, None if lead.spread is None else 1e3 * lead.spread, 1)
        lines.append(f"new lead below {p.name}: {formula_of(lead.atoms)} {lead.space_group}, lower by {gain} meV/atom: {path.name}")
    if each.phonons is not None and each.phonons.imaginary and not each.leads:
        lines.append(f"{p.name}: no structure of lower energy was found along its imaginary modes")
    return lines


def bands_figure(each: CheckedPolymorph) -> str:
    """Plot the frequencies along the band path, with the spread over the members as a band."""
    assert each.phonons is not None
    path = each.phonons.path
    spread = path.frequencies.spread

    def draw(axes: Axes) -> None:
        for band in range(path.frequencies.mean.shape[1]):
            line = path.frequencies.mean[:, band]
            if spread is not None:
                axes.fill_between(path.distances, line - spread[:, band], line + spread[:, band], color=ACCENT, alpha=0.25, linewidth=0)
            axes.plot(path.distances, line, color=ACCENT, linewidth=1.1)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        for tick in path.ticks:
            axes.axvline(tick, color=LINE, linewidth=0.8)
        ticks, labels = _joined(path.ticks, path.labels)
        axes.set_xticks(ticks, labels)
        axes.grid(False)
        axes.set_xlim(path.distances[0], path.distances[-1])
        axes.set_ylabel("frequency (THz)")

    return draw_svg(draw, f"Phonon frequencies of {each.prepared.name} along the band path")


def _joined(ticks: np.ndarray, labels: list[str]) -> tuple[list[float], list[str]]:
    """Return positions and names of special points; two points at one position share a name."""
    places: list[float] = []
    names: list[str] = []
    for tick, label in zip(ticks, labels, strict=True):
        name = "Γ" if label == "G" else label
        if places and abs(places[-1] - tick) < 1e-9:
            names[-1] = f"{names[-1]}|{name}"
        else:
            places.append(float(tick))
            names.append(name)
    return places, names


def density_figure(each: CheckedPolymorph) -> str:
    """Plot the density of states."""
    assert each.phonons is not None
    phonons = each.phonons

    def draw(axes: Axes) -> None:
        axes.fill_between(phonons.axis, phonons.density, color=ACCENT, alpha=0.25, linewidth=0)
        axes.plot(phonons.axis, phonons.density, color=ACCENT, linewidth=1.2)
        axes.set_xlabel("frequency (THz)")
        axes.set_ylabel("states per THz and cell")
        axes.set_xlim(phonons.axis[0], phonons.axis[-1])
        axes.set_ylim(0, None)

    return draw_svg(draw, f"Phonon density of states of {each.prepared.name}")


def free_energy_figure(polymorphs: list[CheckedPolymorph]) -> str | None:
    """Plot the free energies of polymorphs of one composition above that of the first one with a curve; None without curves."""
    curves = [(each.prepared.name, each.free_energy) for each in polymorphs]
    known = [(name, curve) for name, curve in curves if curve is not None and np.isfinite(curve.mean[0])]
    if not known:
        return None
    _, first = known[0]

    def draw(axes: Axes) -> None:
        if len(known) == 1:
            axes.plot(first.temperatures, 1e3 * (first.mean - first.mean[0]), color=ACCENT)
            axes.set_ylabel("F above that at 0 K (meV/atom)")
        else:
            for k, (name, curve) in enumerate(known):
                own = 1e3 * (curve.mean - first.mean)
                colour = SHADES[k % len(SHADES)]
                if k and len(curve.members) > 1:
                    own_spread = 1e3 * np.nanstd(curve.members - first.members, axis=0, ddof=1)
                    axes.fill_between(curve.temperatures, own - own_spread, own + own_spread, color=colour, alpha=0.2, linewidth=0)
                axes.plot(curve.temperatures, own, color=colour, label=words(name))
            axes.set_ylabel(f"F above {words(known[0][0])} (meV/atom)")
            axes.legend()
        axes.set_xlabel("temperature (K)")
        axes.set_xlim(0, first.temperatures[-1])

    return draw_svg(draw, "Free energy against temperature")


def elastic_cells(each: CheckedPolymorph) -> list[list[str]] | None:
    """Return the 6x6 elastic constants as text with their spread; None if they are not calculated."""
    if each.elastic is None:
        return None
    mean, spread = each.elastic.mean, each.elastic.spread

    def cell(i: int, j: int) -> str:
        if abs(mean[i, j]) < SMALL:
            return "0"
        return plus_minus(float(mean[i, j]), None if spread is None else float(spread[i, j]), 1)

    return [[cell(i, j) for j in range(6)] for i in range(6)]


def facts(result: CheckResult) -> list[tuple[str, Any]]:
    """Return names and values of the row of figures of the page."""
    stable = sum(each.verdict == "stable" for each in result.polymorphs)
    leads = sum(len(each.leads) for each in result.polymorphs)
    figures: list[tuple[str, Any]] = [("Checked", len(result.polymorphs)), ("Stable", stable), ("New leads", leads)]
    if result.members > 1:
        figures.append(("Committee members", result.members))
    if result.calls:
        figures.append(("Calls of the surrogate" if result.surrogate is not None else "Reference calls", result.calls))
    return figures
