"""Matplotlib figures as inline SVG, in the font and colours of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import Locator, MaxNLocator

# Placeholder colours, replaced by the colours of the page, so that figures follow its light or dark theme.
_COLOURS = {
    "#010101": "currentColor",
    "#020202": "var(--line)",
    "#030303": "var(--accent)",
    "#040404": "var(--second)",
    "#050505": "var(--muted)",
    "#060606": "var(--warn)",
    "#070707": "var(--card)",
}
INK, LINE, ACCENT, SECOND, MUTED, WARN, CARD = _COLOURS
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nucleate",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.0,
}


def words(text: str) -> str:
    """Escape external text for a matplotlib label."""
    return " " + text.replace("$", r"\$") if text.startswith("_") else text.replace("$", r"\$")


class LogTicks(Locator):
    """Ticks of a logarithmic axis whose labels do not overlap: the densest of some sets of round numbers with few enough members."""

    SETS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
    MOST = 7

    def __call__(self) -> Any:
        """Return the ticks of the axis."""
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Return the ticks between two positive numbers."""
        low, high = sorted((max(vmin, 1e-300), max(vmax, 1e-300)))
        powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        sets = [[f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high] for factors in self.SETS]
        decades = sets[0][:: -(-len(sets[0]) // self.MOST) or 1]
        few = [ticks for ticks in sets[1:] if len(ticks) <= self.MOST]
        chosen = max([decades, *few], key=len)
        # Less than a factor of two has round numbers as on a linear axis.
        return chosen if len(chosen) > 2 else MaxNLocator(4).tick_values(low, high)


def log_scale(axes: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers at ticks that do not overlap."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogTicks())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")


def draw_svg(draw: Callable[[Axes], None], title: str, width: float = 5.2, height: float = 3.1) -> str:
    """Return a figure as an `<svg>` element.

    Args:
        draw: draws into the given axes.
        title: description for screen readers.
        width, height: size, inches.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        stream = io.StringIO()
        # `savefig` draws a figure with a layout twice.
        canvas.print_svg(stream, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for stand_in, colour in _COLOURS.items():
        text = text.replace(stand_in, colour)
    # Without a fixed size the page scales the figure to its column.
    text = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", text)
    text = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
