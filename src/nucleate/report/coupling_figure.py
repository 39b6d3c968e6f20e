"""Exchange couplings of polymorphs against distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from nucleate.report.spins import shells
from nucleate.report.svg import ACCENT, LINE, MUTED, SECOND, draw_svg

if TYPE_CHECKING:
    from nucleate.polymorphs.magnets import CoupledPolymorph

MARKERS = ("o", "s", "^")
"""Markers of pairs of elements."""


def coupling_figure(coupled: Sequence[CoupledPolymorph]) -> str:
    """Return J(r) of all shells as SVG, one colour a polymorph and one marker a pair of elements."""
    kinds: list[str] = []

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=LINE, linewidth=1)
        for each, colour in zip(coupled, (ACCENT, SECOND, MUTED), strict=False):
            for shell in shells(each.couplings):
                kind = "-".join(shell["elements"])
                if kind not in kinds:
                    kinds.append(kind)
                place = MARKERS[kinds.index(kind) % len(MARKERS)]
                axes.plot([shell["distance"]], [shell["J"]], place, color=colour, markersize=4.5, mew=0)
            axes.plot([], [], "o", color=colour, markersize=4.5, mew=0, label=f"{each.rank}. {each.space_group}")
        if len(kinds) > 1:
            for kind, marker in zip(kinds, MARKERS, strict=False):
                axes.plot([], [], marker, color="none", mec=MUTED, markersize=4.5, label=kind)
        axes.set_xlabel("distance (Å)")
        axes.set_ylabel("J (meV)")
        axes.legend(loc="best")

    return draw_svg(draw, "Exchange couplings against distance")
