"""Family trees of the lowest polymorphs: candidates of generators and the operators that led from them to the polymorph."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from nucleate.csp.evolution.ancestry import Ancestor, ancestry
from nucleate.csp.run_data import RunData
from nucleate.report.svg import ACCENT, CARD, INK, LINE, MUTED, SECOND, draw_svg, words

TREES = 3
"""Largest number of polymorphs with a tree."""
GENERATIONS = 5
"""Number of generations before the polymorph that are drawn."""
STEP = 0.45
"""Distance of a child from its parents if they are of the same round."""
NAMED = 16
"""Largest number of candidates in a tree whose origins are written beside them."""


def places(tree: list[Ancestor], offset: float) -> dict[str, tuple[float, float]]:
    """Return the places of the candidates of a tree: rounds to the right, later generations of one round beside their parents."""
    at: dict[str, tuple[float, float]] = {}
    # Parents were born before their children.
    for each in sorted(tree, key=lambda each: (each.birth.round, -each.generation)):
        before = [at[parent][0] for parent in each.birth.parents if parent in at]
        at[each.name] = (max([float(each.birth.round), *(x + STEP for x in before)]), offset + each.row)
    return at


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
            at = places(tree, offset)
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
                    # Names of consecutive candidates in one row would overlap on one side of the line.
                    text = each.birth.origin if each.generation else f"{rank}: {each.birth.origin}"
                    shift, edge = (6, "bottom") if each.generation % 2 else (-7, "top")
                    axes.annotate(words(text), (x, y), (0, shift), textcoords="offset points", ha="center", va=edge, fontsize=8, color=INK)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(x=0.12)
        axes.set_ylim(-1.0, height - 0.6)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(False, axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)

    hidden = any(set(each.birth.parents) - {other.name for other in tree} for _, tree in trees for each in tree)
    text = "The lowest polymorphs that have parents, by rank, with the candidates of generators from which operators have led to them. "
    text += f"Ancestors more than {GENERATIONS} generations back are left out. " if hidden else ""
    text += "Each candidate was relaxed on the committee before it became a parent."
    return text, draw_svg(draw, "Family trees of the lowest polymorphs", height=min(1.7 + 0.42 * height, 8.0))
