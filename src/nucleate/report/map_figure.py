"""Map of a search in its report: points of polymorphs are links to their structures."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from nucleate.polymorphs.families import expansion
from nucleate.polymorphs.landscape_map import WINDOW, LandscapeMap
from nucleate.report.svg import INK, draw_svg

MOST_NUMBERS = 12
"""Number of polymorphs with their rank beside the point."""


def map_figure(data: LandscapeMap) -> tuple[str, str]:
    """Return caption and SVG of a map."""
    count = len(data.families)
    found = int(data.families.max()) + 1
    x, y = data.coordinates.T
    scale: dict[str, Any] = {"cmap": "viridis_r", "vmin": 0.0, "vmax": float(data.energies.max())}

    def draw(axes: Axes) -> None:
        axes.scatter(x[count:], y[count:], s=10, c=data.energies[count:], alpha=0.5, linewidths=0, **scale)
        for k in reversed(range(count)):
            points = axes.scatter([x[k]], [y[k]], s=55, c=[data.energies[k]], edgecolors=INK, linewidths=1.2, **scale)
            points.set_urls([f"#polymorph-{k + 1}"])
            if k < MOST_NUMBERS:
                axes.annotate(f"{k + 1}", (x[k], y[k]), (5, 4), textcoords="offset points", fontsize=9, color=INK)
        axes.set_xlabel(f"coordinate 1 (Å), {100 * data.explained[0]:.0f} % of the variance")
        axes.set_ylabel(f"coordinate 2 (Å), {100 * data.explained[1]:.0f} %")
        figure = axes.get_figure()
        assert figure is not None
        figure.colorbar(ScalarMappable(Normalize(scale["vmin"], scale["vmax"]), scale["cmap"]), ax=axes, label="above best (eV/atom)")

    text = (
        "Similar structures are close: the coordinates are principal components of the distances to the nearest neighbours. "
        f"Numbered points are polymorphs and link to their structures; the others are labelled structures within {WINDOW:g} eV/atom."
    )
    if 1 < found < count:
        members = ["".join(f"{rank + 1} " for rank in range(count) if data.families[rank] == k).strip() for k in range(found)]
        text += f" Families of similar polymorphs: {'; '.join(member.replace(' ', ', ') for member in members)}."
        _, explained = expansion(data.families, data.energies[:count])
        if explained > 0:
            text += f" The means of the families explain {100 * explained:.0f} % of the variance of the energies."
    return text, draw_svg(draw, "Map of polymorphs and labelled structures by similarity")
