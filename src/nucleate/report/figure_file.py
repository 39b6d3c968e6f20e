"""Formats of figure files."""

from __future__ import annotations

from pathlib import Path

from nucleate.errors import BadInput


def check_figure(path: Path) -> None:
    """Raise `BadInput` if matplotlib does not support the figure format."""
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in known:
        raise BadInput(f"{path}: matplotlib cannot write this format; choose one of {', '.join(sorted(known))}")
