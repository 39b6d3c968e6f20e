"""Matplotlib figures as inline SVG, in the font and colours of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from markupsafe import escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

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


def draw_svg(draw: Callable[[Axes], None], title: str, width: float = 5.2, height: float = 3.1) -> str:
    """Return a figure as an `<svg>` element.

    Args:
        draw: draws into the given axes.
        title: description for screen readers.
        width, height: size, inches.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        stream = io.StringIO()
        figure.savefig(
            stream,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for stand_in, colour in _COLOURS.items():
        text = text.replace(stand_in, colour)
    # Without a fixed size the page scales the figure to its column.
    text = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", text)
    text = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
