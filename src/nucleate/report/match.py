"""Comparison with measurements: JSON data, table of the terminal, and a page with figures."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from rich.table import Table
from rich.text import Text

from nucleate.errors import BadInput
from nucleate.observables import pair_distribution, powder
from nucleate.observables.variable_cell import CellFit
from nucleate.persist.files import write_whole
from nucleate.polymorphs.match import Comparison, Match
from nucleate.progress import Progress, Step, silent
from nucleate.report.pages import environment
from nucleate.report.svg import ACCENT, INK, MUTED, SECOND, WARN, draw_svg, words
from nucleate.report.terminal import plain

DRAWN = 3
"""Number of the most probable structures whose curves are drawn."""
SHADES = (ACCENT, SECOND, WARN)


def check_page(source: Path, out: Path | None) -> Path:
    """Return the path of the page, by default in the run folder or beside the structure file.

    Raises:
        BadInput: the path is not an HTML file in an existing folder that can be written to.
    """
    page = out or (source / "match.html" if source.is_dir() else source.with_name(f"{source.stem}-match.html"))
    if page.suffix.lower() not in (".html", ".htm"):
        raise BadInput(f"{page}: the page is an HTML file; give a name that ends with .html")
    if page.is_dir() or (source.exists() and not page.parent.is_dir()):
        raise BadInput(
            f"{page}: {'is a folder' if page.is_dir() else 'the folder does not exist'}; give the name of a file in an existing folder"
        )
    if source.exists() and not os.access(page.parent, os.W_OK):
        raise BadInput(f"{page}: the folder cannot be written to; give another place with --out")
    return page


def strain_percent(fit: CellFit) -> list[float]:
    """Return the principal strains of a fit in per cent, in ascending order."""
    return [round(100 * float(np.expm1(value)), 3) for value in np.linalg.eigvalsh(fit.strain)]


def match_data(result: Match) -> dict[str, Any]:
    """Return the data that `nucleate match --json` prints."""
    options = result.options
    return {
        "source": str(result.source),
        "measurements": {name: None if value is None else str(value) for name, value in _measurements(result).items()},
        "wavelength": None if result.powder is None else result.powder.radiation.wavelength,
        "neutron": options.neutron,
        "deuterated": options.deuterated,
        "energies_used": result.energies,
        "energy_scale": options.energy_scale,
        "energy_error": options.energy_error,
        "structures": [
            {
                "rank": rank,
                "number": c.candidate.number,
                "formula": c.candidate.formula,
                "space_group": c.candidate.space_group,
                "above_best": c.candidate.above,
                "probability": c.probability,
                "powder": None if c.powder is None else {**_fit_data(c.powder), "zero_shift": c.powder.zero},
                "pair_distribution": None if c.pairs is None else _fit_data(c.pairs),
                "shifts": None
                if c.shifts is None
                else [
                    {
                        "element": each.element,
                        "rms": each.rms,
                        "chi2": each.chi2,
                        "slope": each.reference.slope,
                        "offset": each.reference.offset,
                        "measured": each.measured.tolist(),
                        "predicted": each.predicted.tolist(),
                    }
                    for each in c.shifts
                ],
            }
            for rank, c in enumerate(result.ranking, 1)
        ],
    }


def _measurements(result: Match) -> dict[str, Path | None]:
    options = result.options
    return {"xrd": options.xrd, "pdf": options.pdf, "shifts": options.shifts}


def _fit_data(fit: CellFit) -> dict[str, Any]:
    return {"similarity": fit.plain, "similarity_variable_cell": fit.fitted, "strain_percent": strain_percent(fit)}


def rows(result: Match) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns and the cells of the table, the most probable structure first."""
    names = ["#", "structure", "formula", "space group", "meV/atom", "probability"]
    names += ["XRD plain", "XRD fitted", "strain, %"] if result.powder else []
    names += ["G(r) plain", "G(r) fitted", "strain, %"] if result.pairs else []
    names += [f"{element} rms, ppm" for element in _elements(result)]
    cells = []
    for rank, c in enumerate(result.ranking, 1):
        above = "" if c.candidate.above is None else f"{c.candidate.above:.1f}"
        row = [str(rank), str(c.candidate.number), c.candidate.formula, c.candidate.space_group, above, percent(c.probability)]
        for fit in (c.powder, c.pairs):
            if fit is not None:
                row += [f"{fit.plain:.3f}", f"{fit.fitted:.3f}", _strain_text(fit)]
        row += [f"{each.rms:.2f}" for each in c.shifts or []]
        cells.append(row)
    return names, cells


def _elements(result: Match) -> list[str]:
    return sorted({shift.element for shift in result.shifts or []})


def _strain_text(fit: CellFit) -> str:
    low, _, high = strain_percent(fit)
    return f"{low:+.1f}" if high - low < 0.05 else f"{low:+.1f} … {high:+.1f}"


def percent(probability: float) -> str:
    """Return a probability in per cent with as many digits as count."""
    if probability > 0.9995 or probability < 0.0005:
        return "> 99.9 %" if probability > 0.5 else "< 0.1 %"
    return f"{100 * probability:.1f} %"


def match_table(result: Match, top: int = 20) -> Table:
    """Return the table of the terminal, the `top` most probable structures."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    names, cells = rows(result)
    for name in names:
        table.add_column(name, justify="left" if name in ("formula", "space group") else "right", overflow="fold")
    for row in cells[:top]:
        table.add_row(*(Text(plain(cell)) for cell in row), style="green" if row[0] == "1" else None)
    return table


def match_lines(result: Match) -> list[str]:
    """Return the remarks below the table."""
    lines = [] if len(result.ranking) <= 20 else [f"{len(result.ranking) - 20} less probable structures are in the page and in --json"]
    lines.append(
        "Probabilities assume that one of these structures is the measured one" + ("." if result.energies else "; energies are unknown.")
    )
    best = result.ranking[0]
    for fit, name in ((best.powder, "powder pattern"), (best.pairs, "G(r)")):
        if fit is None:
            continue
        if fit.fitted < UNLIKE:
            lines.append(
                f"The similarity of the first structure to the {name} is {fit.fitted:.2f}: probably none of these structures fits."
            )
        if np.abs(np.linalg.eigvalsh(fit.strain)).max() > 0.98 * result.options.strain > 0:
            lines.append(
                f"The strain of the first structure is at its limit ({100 * result.options.strain:g} %): its cell differs by more, or "
                "the structure is wrong."
            )
    if result.options.neutron and not result.options.deuterated and any(1 in entry.candidate.atoms.numbers for entry in result.ranking):
        lines.append("Hydrogen scatters neutrons as 1H; give --deuterated for a deuterated sample.")
    return lines


UNLIKE = 0.5
"""Similarity below which a fit is worthless: that of a structure to unrelated data can reach 0.4."""


def write_match(page: Path, result: Match, progress: Progress = silent) -> None:
    """Write the page with figures, one HTML file without external resources.

    Raises:
        StorageFailed: the file could not be written.
    """
    names, cells = rows(result)
    text = environment().get_template("match.html.j2").render(
        source=str(result.source), best=result.ranking[0], percent=percent, names=names, rows=cells, figures=figures(result, progress),
        measurements=[str(path) for path in _measurements(result).values() if path is not None], lines=match_lines(result),
        powder=result.powder, pairs=result.pairs, options=result.options, energies=result.energies,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )  # fmt: skip
    write_whole(page, text)


def figures(result: Match, progress: Progress = silent) -> list[dict[str, Any]]:
    """Return heading, caption and SVG of each figure: curves of the most probable structures, and their shifts."""
    drawn = []
    shown = result.ranking[:DRAWN]
    for rank, c in enumerate(shown, 1):
        progress(Step("figures", rank - 1, len(shown)))
        name = f"{c.candidate.formula}, {c.candidate.space_group}"
        for kind, fit, draw in (("Powder pattern", c.powder, _powder), ("G(r)", c.pairs, _pairs)):
            if fit is not None:
                caption = (
                    f"Rank {rank}, structure {c.candidate.number}, probability {percent(c.probability)}. "
                    f"Similarity {fit.plain:.3f}, after the fit of the cell {fit.fitted:.3f}."
                )
                head = {"heading": kind, "formula": c.candidate.formula, "group": c.candidate.space_group, "caption": caption}
                drawn.append({**head, "svg": Markup(draw(result, c, name))})
    for element in _elements(result):
        caption = "Shifts from the shieldings of the most probable structures against the measured ones assigned to them."
        head = {"heading": f"Chemical shifts of {element}", "formula": "", "group": "", "caption": caption}
        drawn.append({**head, "svg": Markup(_shifts(result, element))})
    return drawn


def _powder(result: Match, c: Comparison, name: str) -> str:
    data, fit = result.powder, c.powder
    assert data is not None
    assert fit is not None
    clean = data.counts - data.background
    curve = powder.calculated(c.candidate.atoms, data, fit.strain, fit.zero, not result.options.any_strain)
    scale = 100 / clean.max()

    def draw(axes: Axes) -> None:
        _curves(axes, data.two_theta, scale * clean, scale * curve)
        axes.set_xlabel("2θ (degrees)")
        axes.set_ylabel("intensity (% of maximum)")

    return draw_svg(draw, f"Measured powder pattern and that of {name}", 10.0, 3.4)


def _pairs(result: Match, c: Comparison, name: str) -> str:
    data, fit = result.pairs, c.pairs
    assert data is not None
    assert fit is not None
    curve = pair_distribution.calculated(c.candidate.atoms, data, fit.strain, not result.options.any_strain)

    def draw(axes: Axes) -> None:
        _curves(axes, data.r, data.g, curve)
        axes.set_xlabel("r (Å)")
        axes.set_ylabel("G(r) (1/Å²)")

    return draw_svg(draw, f"Measured G(r) and that of {name}", 10.0, 3.4)


def _curves(axes: Axes, x: np.ndarray, measured: np.ndarray, calculated: np.ndarray) -> None:
    """Draw a measured and a calculated curve, and their difference below them."""
    low = min(float(measured.min()), float(calculated.min()))
    difference = measured - calculated
    shift = low - 1.1 * float(difference.max())
    axes.plot(x, measured, color=INK, lw=0.9, label="measured")
    axes.plot(x, calculated, color=ACCENT, lw=1.1, label="calculated")
    axes.plot(x, difference + shift, color=MUTED, lw=0.8, label="difference, shifted")
    axes.axhline(shift, color=MUTED, lw=0.5, ls=":")
    axes.margins(x=0.01)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.2)


def _shifts(result: Match, element: str) -> str:
    best = result.ranking[:DRAWN]

    def draw(axes: Axes) -> None:
        ends = []
        for rank, (c, colour) in enumerate(zip(best, SHADES, strict=False), 1):
            each = next(item for item in c.shifts or [] if item.element == element)
            label = f"{rank}. {c.candidate.formula}, {c.candidate.space_group}: {each.rms:.2f} ppm"
            axes.plot(each.measured, each.predicted, "o", color=colour, label=words(label))
            ends += [*each.measured, *each.predicted]
        margin = 0.05 * (max(ends) - min(ends)) + 0.5
        line = [min(ends) - margin, max(ends) + margin]
        axes.plot(line, line, color=MUTED, lw=0.8)
        axes.set_xlabel(f"measured shift of {element} (ppm)")
        axes.set_ylabel("calculated shift (ppm)")
        axes.legend(loc="upper left")

    return draw_svg(draw, f"Calculated against measured shifts of {element}", 5.2, 4.0)
