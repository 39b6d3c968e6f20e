"""Family trees of the lowest polymorphs: candidates of generators and the operators that led from them to the polymorph."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from nucleate.csp.evolution.ancestry import ancestry
from nucleate.csp.run_data import RunData
from nucleate.report.svg import ACCENT, CARD, INK, LINE, MUTED, SECOND, draw_svg, words

TREES = 3
"""Largest number of polymorphs with a tree."""
GENERATIONS = 5
"""Number of generations before the polymorph that are drawn."""
NAMED = 16
"""Largest number of candidates in a tree whose origins are written beside them."""


def family_figure(run: RunData) -> tuple[str, str] | None:
    """Return caption and SVG of the family trees; None if no polymorph has parents."""
    record = run.state.evolution
    trees = [(rank, ancestry(polymorph.birth, record, GENERATIONS)) for rank, polymorph in enumerate(run.state.ranking(), start=1)]
    trees = [(rank, tree) for rank, tree in trees if len(tree) > 1][:TREES]
    if not trees:
        return None
    offsets: list[float] = []
    height = 0.0
    for _, tree in trees:
        offsets.append(height)
        height += max(each.row for each in tree) + 2.0

    def draw(axes: Axes) -> None:
        kinds: set[str] = set()
        for (rank, tree), offset in zip(trees, offsets, strict=True):
            at = {each.name: (each.birth.round, offset + each.row) for each in tree}
            for each in tree:
                for parent in each.birth.parents:
                    if parent in at:
                        axes.plot(*zip(at[parent], at[each.name], strict=True), color=LINE, linewidth=1.2, zorder=1)
            for each in tree:
                x, y = at[each.name]
                kind = "polymorph" if each.generation == 0 else "child" if each.birth.parents else "generated"
                colour = {"polymorph": ACCENT, "child": SECOND, "generated": MUTED}[kind]
                size = 9 if kind == "polymorph" else 6
                axes.plot([x], [y], "o", color=colour, mec=CARD, mew=1, markersize=size, label=None if kind in kinds else kind, zorder=2)
                kinds.add(kind)
                if len(tree) <= NAMED:
                    text = each.birth.origin if each.generation else f"{rank}: {each.birth.origin}"
                    axes.annotate(words(text), (x, y), (0, 6), textcoords="offset points", ha="center", fontsize=8, color=INK)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(x=0.12)
        axes.set_ylim(-0.7, height - 0.6)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(False, axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.14), ncols=3)

    hidden = any(set(each.birth.parents) - {other.name for other in tree} for _, tree in trees for each in tree)
    text = "The lowest polymorphs that have parents, by rank, with the candidates of generators from which operators have led to them. "
    text += f"Ancestors more than {GENERATIONS} generations back are left out. " if hidden else ""
    text += "Each candidate was relaxed on the committee before it became a parent."
    return text, draw_svg(draw, "Family trees of the lowest polymorphs", height=min(1.4 + 0.42 * height, 8.0))
