"""Page, table and figures of barriers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from nucleate.persist.files import write_whole
from nucleate.polymorphs.barriers.results import EXTRAPOLATION, Barrier, BarriersResult, Connection
from nucleate.polymorphs.barriers.tree import Merge
from nucleate.report.pages import environment
from nucleate.report.svg import ACCENT, INK, MUTED, WARN, draw_svg, words

COLUMNS = ("from", "to", "barrier (meV/atom)", "back (meV/atom)", "atoms", "strain", "shift (Å)", "remarks")
TEXT = (0, 1, 7)
"""Columns with text."""


def write_barriers_page(result: BarriersResult) -> Path:
    """Write barriers.html to the folder of the result; return its path.

    Raises:
        StorageFailed: the file could not be written.
    """
    path = result.out / "barriers.html"
    write_whole(path, render(result))
    return path


def render(result: BarriersResult) -> str:
    """Return the page as HTML."""
    shown = sorted({k for i, j in result.pairs if (k := int(result.tree.bottleneck[i, j])) >= 0})
    profiles = [
        {
            "title": f"{result.minima[each.first].name} to {result.minima[each.second].name}",
            "words": f"{each.atoms} atoms, {each.file.name}",
            "svg": Markup(profile_figure(result, each)),
        }
        for each in (result.connections[k] for k in shown)
    ]
    return (
        environment()
        .get_template("barriers.html.j2")
        .render(
            name=result.source.name or str(result.source.resolve().name),
            headline=headline(result),
            warnings=warnings_of(result),
            graph=Markup(graph_figure(result)),
            columns=COLUMNS,
            text_columns=TEXT,
            rows=rows_of(result),
            remarks=remarks(result),
            profiles=profiles,
        )
    )


def headline(result: BarriersResult) -> str:
    """Return one line that says what was calculated."""
    own, others = len(result.polymorphs), len(result.minima) - len(result.polymorphs)
    pressure = f" at {result.pressure:g} GPa" if result.pressure else ""
    members = "1 member" if result.members == 1 else f"{result.members} members"
    via = f" and {others} intermediate{'' if others == 1 else 's'}" if others else ""
    return f"{len(result.connections)} paths between {own} polymorphs{via}{pressure}, on the mean of a committee of {members}"


def warnings_of(result: BarriersResult) -> list[str]:
    """Return warnings for the beginning of the output."""
    if result.surrogate is None:
        return []
    return [f"the committee learned from {result.surrogate}, a surrogate for tests; these are not barriers of a first-principles method"]


def _text(barrier: Barrier) -> str:
    if barrier.height is None:
        return "no path"
    return f"{1e3 * barrier.height:.1f}" + ("" if barrier.spread is None else f" ± {1e3 * barrier.spread:.1f}")


def rows_of(result: BarriersResult) -> list[list[str]]:
    """Return the rows of the table of pairs."""
    rows = []
    for i, j in result.pairs:
        each = result.bottleneck(i, j)
        names = [result.minima[i].name, result.minima[j].name]
        cells = [_text(result.barrier(i, j)), _text(result.barrier(j, i))]
        if each is None:
            rows.append([*names, *cells, "", "", "", ""])
            continue
        marks = []
        if {each.first, each.second} != {i, j}:
            marks.append(f"highest between {result.minima[each.first].name} and {result.minima[each.second].name}")
        if not each.band.converged:
            marks.append("not converged")
        if each.extrapolates:
            marks.append("extrapolated")
        strain = float(np.linalg.norm(each.strain))
        rows.append([*names, *cells, str(each.atoms), f"{strain:.3f}", f"{each.displacement:.2f}", "; ".join(marks)])
    return rows


def remarks(result: BarriersResult) -> list[str]:
    """Return what the reader must know of the numbers, one line each."""
    lines = [
        "Barriers are those of transformations in which every cell does the same; nucleation, defects and temperature are left out.",
        "A path that moves only part of a cell at a time, such as one layer, has a lower barrier per atom in a larger cell.",
    ]
    if result.members > 1:
        lines.append("± is the standard deviation over the members of the committee along the same path, not the error of its reference.")
    ways = [result.bottleneck(i, j) for i, j in result.pairs]
    if any(each is not None and not each.band.converged for each in ways):
        lines.append(
            f"not converged: forces of the path are above {result.settings.fmax:g} eV/Å, so its highest image is not an exact saddle point."
        )
    if any(each is not None and each.extrapolates for each in ways):
        lines.append(
            f"extrapolated: the members disagree along the path more than {EXTRAPOLATION:g} times as much as in its minima, "
            "so the training data do not cover it."
        )
    if result.spots:
        errors = [1e3 * float((each.committee[1] - each.committee[0]) - (each.reference[1] - each.reference[0])) for each in result.spots]
        lines.append(
            f"Labels of {result.spot_reference} at the ends and the top of {len(errors)} paths: the committee's barriers differ by "
            f"{', '.join(f'{error:+.1f}' for error in errors)} meV/atom (mean {fmean(errors):+.1f})."
        )
    return lines + [f"left out: {line}" for line in result.omitted]


def branchings(result: BarriersResult) -> tuple[list[int], list[Merge]]:
    """Return the minima that are drawn, with the groups of every branching side by side, and the branchings between them.

    Of the intermediates only those are drawn at which the highest path between two polymorphs ends.
    """
    ways = [way for i, j in result.pairs if (way := result.bottleneck(i, j)) is not None]
    shown = {*result.polymorphs, *(k for way in ways for k in (way.first, way.second))}
    merges = []
    groups: dict[int, list[int]] = {k: [k] for k in sorted(shown)}
    for merge in result.tree.merges:
        left, right = (tuple(k for k in side if k in shown) for side in (merge.left, merge.right))
        if left and right:
            merges.append(replace(merge, left=left, right=right))
            first, second = sorted((left[0], right[0]))
            groups[first] += groups.pop(second)
    return [k for own in groups.values() for k in own], merges


def graph_figure(result: BarriersResult) -> str:
    """Return the disconnectivity graph as SVG."""
    order, merges = branchings(result)
    lowest = min(float(each.energy.mean()) for each in result.minima)
    energy = [1e3 * (float(each.energy.mean()) - lowest) for each in result.minima]

    def draw(axes: Axes) -> None:
        place = {k: float(x) for x, k in enumerate(order)}
        centre = {k: place[k] for k in order}
        base = dict(enumerate(energy))
        for merge in merges:
            height = 1e3 * (merge.height - lowest)
            a, b = merge.left[0], merge.right[0]
            uncertain = not result.connections[merge.edge].band.converged or result.connections[merge.edge].extrapolates
            colour = WARN if uncertain else INK
            for k in (a, b):
                axes.plot([centre[k]] * 2, [base[k], height], color=INK, linewidth=1.4, solid_capstyle="butt")
            axes.plot([centre[a], centre[b]], [height, height], color=colour, linewidth=1.4)
            first = min(a, b)
            centre[first], base[first] = (centre[a] + centre[b]) / 2, height
        for k in order:
            axes.plot(place[k], energy[k], "o", color=MUTED if result.minima[k].intermediate else ACCENT)
        axes.set_xticks(range(len(order)), [words(result.minima[k].name) for k in order], rotation=45, ha="right", rotation_mode="anchor")
        axes.set_ylabel("meV/atom above the lowest")
        axes.grid(False, axis="x")
        axes.set_xlim(-0.5, len(order) - 0.5)

    return draw_svg(draw, "Disconnectivity graph of the polymorphs", width=max(6.8, 0.6 * len(order)), height=3.8)


def profile_figure(result: BarriersResult, each: Connection) -> str:
    """Return the enthalpy along a path as SVG, with the spread of the members."""
    x = np.arange(len(each.band.enthalpy))
    y = 1e3 * (each.band.enthalpy - each.band.enthalpy[0])
    relative = 1e3 * (each.members - each.members[:, :1])

    def draw(axes: Axes) -> None:
        if len(relative) > 1:
            spread = relative.std(axis=0, ddof=1)
            axes.fill_between(x, y - spread, y + spread, color=MUTED, alpha=0.3, linewidth=0)
        axes.plot(x, y, "o-", color=ACCENT)
        axes.set_xlabel("image")
        axes.set_ylabel("meV/atom")

    return draw_svg(draw, f"Path from {result.minima[each.first].name} to {result.minima[each.second].name}", height=2.6)
