"""Figures of the search of a chemical system: the hull diagram, and the phases found against reference calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from nucleate.csp.records import enthalpy_per_atom
from nucleate.csp.run_data import RunData
from nucleate.csp.systems.hull import Hull
from nucleate.csp.systems.phases import EQUAL, Phase, phases
from nucleate.report.svg import ACCENT, CARD, INK, MUTED, SECOND, draw_svg, words

FRAME = 0.2
"""Largest height of a label in the binary diagram, eV/atom above the hull."""
TRIANGLE = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
"""Corners of the ternary diagram."""


def _placed(run: RunData) -> list[Phase] | None:
    assert run.settings.system is not None
    return phases(run.settings.system, run.state.ranking(), run.settings.search.resolution * 1e-3)


def hull_diagram(run: RunData) -> str | None:
    """Plot formation energies over the composition with the hull (two end members), or the phases in a triangle (three)."""
    system = run.settings.system
    assert system is not None
    placed = _placed(run)
    if placed is None or len(system.end_members) > 3:
        return None
    names = [words(system.formula(member)) for member in system.end_members]
    sound = [phase for phase, polymorph in zip(placed, run.state.ranking(), strict=True) if polymorph.check != "saddle"]
    if len(names) == 3:
        return hull_of_phases(sound, names)
    labels, energies = _labels(run)
    return hull_of_phases(sound, names, labels[:, 1], energies - labels @ _end_energies(run, sound))


def hull_of_phases(
    placed: list[Phase], names: Sequence[str], x: np.ndarray | None = None, formation: np.ndarray | None = None
) -> str | None:
    """Plot phases on the hull diagram of a system; None if it has more than three end members.

    Args:
        placed: phases of the system.
        names: names of the end members.
        x, formation: (n,) fractions of the second end member and energies of formation (eV/atom) of further labels, for a binary system.
    """
    if len(names) > 3:
        return None
    none = np.zeros(0)
    draw = _line(placed, names, none if x is None else x, none if formation is None else formation) if len(names) == 2 else None
    return draw_svg(draw or _triangle(placed, names), "Convex hull of the formation energies", height=3.4 if len(names) == 2 else 4.4)


def _line(placed: list[Phase], names: Sequence[str], labelled: np.ndarray, formation: np.ndarray) -> Callable[[Axes], None]:
    x = np.array([phase.fractions[1] for phase in placed])
    y = np.array([phase.formation for phase in placed])
    on = np.array([phase.above < EQUAL for phase in placed])
    hull = Hull(np.column_stack([1 - x, x]), y)

    def draw(axes: Axes) -> None:
        if len(labelled):
            low = formation < hull.energy(np.column_stack([1 - labelled, labelled])) + FRAME
            axes.plot(labelled[low], 1e3 * formation[low], "o", color=MUTED, alpha=0.45, markersize=3.5, mew=0, label="labelled")
        order = np.argsort(x[on])
        axes.plot(x[on][order], 1e3 * y[on][order], "-", color=ACCENT, zorder=2)
        axes.plot(x[~on], 1e3 * y[~on], "o", color=SECOND, mec=CARD, mew=0.8, markersize=5.5, label="above the hull")
        axes.plot(x[on], 1e3 * y[on], "o", color=ACCENT, mec=CARD, mew=1, markersize=7.5, label="on the hull", zorder=3)
        for k in np.flatnonzero(on):
            axes.annotate(
                words(placed[k].formula), (x[k], 1e3 * y[k]), (0, -13), textcoords="offset points", fontsize=9, color=INK, ha="center"
            )
        axes.set_xlabel(f"fraction of atoms from {names[1]}")
        axes.set_ylabel("formation energy (meV/atom)")
        low, high = 1e3 * min(y.min(), 0.0), 1e3 * min(FRAME, max(y.max(), 0.03))
        axes.set_ylim(low - 0.18 * (high - low), high)
        axes.set_xlim(-0.04, 1.04)
        axes.legend(loc="best")

    return draw


def _end_energies(run: RunData, placed: list[Phase]) -> np.ndarray:
    """Return the (2,) energies of the end members, eV/atom."""
    sound = [polymorph for polymorph in run.state.ranking() if polymorph.check != "saddle"]
    pairs = list(zip(sound, placed, strict=True))
    return np.array([min(polymorph.energy for polymorph, phase in pairs if phase.fractions[k] > 1 - EQUAL) for k in (0, 1)])


def _labels(run: RunData) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, K) fractions and (n,) enthalpies (eV/atom) of all labels."""
    system = run.settings.system
    assert system is not None
    rows = [(row.atoms, row.label) for row in run.rows if row.label is not None and system.contains(row.atoms)]
    energies = np.array([enthalpy_per_atom(atoms, label, run.settings.pressure) for atoms, label in rows])
    return system.fractions(system.counts([atoms for atoms, _ in rows])), energies


def _triangle(placed: list[Phase], names: Sequence[str]) -> Callable[[Axes], None]:
    fractions = np.array([phase.fractions for phase in placed])
    points = fractions @ TRIANGLE
    heights = 1e3 * np.array([phase.above for phase in placed])
    on = heights < 1e3 * EQUAL
    hull = Hull(fractions, np.array([phase.formation for phase in placed]))

    def draw(axes: Axes) -> None:
        axes.set_axis_off()
        for facet in hull.facets:
            axes.fill(*points[facet].T, fill=False, edgecolor=ACCENT, linewidth=1.0, zorder=1)
        if (~on).any():
            shown = axes.scatter(points[~on, 0], points[~on, 1], c=heights[~on], cmap="viridis_r", s=22, zorder=2)
            axes.figure.colorbar(shown, ax=axes, label="above the hull (meV/atom)", shrink=0.7)
        axes.plot(points[on, 0], points[on, 1], "o", color=ACCENT, mec=CARD, mew=1, markersize=8, zorder=3)
        for k in np.flatnonzero(on & (fractions.max(axis=1) < 1 - EQUAL)):
            axes.annotate(words(placed[k].formula), points[k], (6, 5), textcoords="offset points", fontsize=9, color=INK)
        for corner, name, below in zip(TRIANGLE, names, (True, True, False), strict=True):
            axes.annotate(
                name,
                corner,
                (0, -14 if below else 8),
                textcoords="offset points",
                fontsize=10,
                color=INK,
                ha="center",
                annotation_clip=False,
            )
        axes.set_aspect("equal")
        axes.set_xlim(-0.08, 1.08)
        axes.set_ylim(-0.1, 0.98)

    return draw


def phases_against_calls(run: RunData) -> str | None:
    """Plot the number of confirmed phases of the present hull against reference calls."""
    placed = _placed(run)
    if placed is None:
        return None
    on = sorted(
        (polymorph.calls, phase.formula)
        for polymorph, phase in zip(run.state.ranking(), placed, strict=True)
        if phase.above < EQUAL and polymorph.check != "saddle"
    )

    def draw(axes: Axes) -> None:
        calls = [0] + [call for call, _ in on]
        axes.step([*calls, run.calls], [*range(len(calls)), len(on)], where="post", color=ACCENT)
        for k, (call, formula) in enumerate(on):
            axes.annotate(words(formula), (call, k + 1), (3, 4), textcoords="offset points", fontsize=9, color=INK)
        axes.set_xlabel("reference calls")
        axes.set_ylabel("phases of the hull")
        axes.set_xlim(0, max(run.calls, 1) * 1.06)
        axes.set_ylim(0, len(on) + 0.8)

    return draw_svg(draw, "Confirmed phases of the hull against reference calls")
