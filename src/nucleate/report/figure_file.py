"""Figure files: their formats, and writing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nucleate.errors import BadInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_figure(path: Path) -> None:
    """Raise `BadInput` if matplotlib does not support the figure format."""
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in known:
        raise BadInput(f"{path}: matplotlib cannot write this format; choose one of {', '.join(sorted(known))}")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; raise `BadInput` if the file cannot be written."""
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error
