"""Tables and figures of the dynamical structure factor of spins."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from nucleate.report.figure_file import check_figure, save_figure
from nucleate.spins.simulate.dynamic_structure import DynamicStructure

DECADES = 3.0
"""Range of the colours below the largest inelastic intensity, in powers of ten."""


def spectrum_data(found: DynamicStructure) -> dict[str, Any]:
    """Return the spectrum as JSON data; peaks that are not resolved are null."""
    return {
        "temperature": found.temperature, "resolution": found.resolution, "wave_vectors": found.wave_vectors.tolist(),
        "distances": found.distances.tolist(), "labels": found.labels, "peaks": [None if math.isnan(x) else x for x in found.peaks],
        "energies": found.energies.tolist(), "intensities": found.intensities.tolist(),
    }  # fmt: skip


def spectrum_table(found: DynamicStructure) -> Table:
    """Return the energies of the highest intensities as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("point", "wave vector", "peak, meV", "static intensity"):
        table.add_column(name, justify="right" if "," in name or name.startswith("static") else "left")
    step = found.energies[1] - found.energies[0]
    for q, label, peak, row in zip(found.wave_vectors, found.labels, found.peaks, found.intensities, strict=True):
        shown = "" if math.isnan(peak) else f"{peak:.2f}"
        table.add_row(escape(label), " ".join(f"{x + 0.0:.3f}" for x in q), shown, f"{row.sum() * step:.4g}")
    return table


def spectrum_csv(found: DynamicStructure) -> str:
    """Return the intensities as a table with a row for each wave vector and energy."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["q_a", "q_b", "q_c", "energy_meV", "intensity_per_meV"])
    for q, row in zip(found.wave_vectors, found.intensities, strict=True):
        for energy, value in zip(found.energies, row, strict=True):
            table.writerow([*(f"{x:.8g}" for x in q), f"{energy:.6g}", f"{value:.6g}"])
    return stream.getvalue()


def plot_spectrum(found: DynamicStructure, path: Path) -> None:
    """Plot the intensities against wave vector and energy, with the peaks.

    Raises:
        BadInput: matplotlib does not support the figure format.
    """
    check_figure(path)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    x = found.distances
    middle = (x[1:] + x[:-1]) / 2
    edges = np.concatenate([[x[0]], middle, [x[-1]]])
    step = found.energies[1] - found.energies[0]
    rows = np.concatenate([found.energies - step / 2, [found.energies[-1] + step / 2]])
    top = float(found.intensities[:, 3:].max())
    shown = np.maximum(found.intensities.T, top * 10**-DECADES)
    image = axes.pcolormesh(edges, rows, shown, norm=LogNorm(top * 10**-DECADES, top), cmap="magma", rasterized=True)
    axes.plot(x, found.peaks, "o", markersize=3, mfc="none", mec="white", mew=0.8)
    ticks: dict[float, str] = {}
    for place, label in zip(x, found.labels, strict=True):
        if label:
            ticks.setdefault(float(place), "Γ" if label == "G" else label)
    axes.set_xticks(list(ticks), list(ticks.values()))
    known = found.peaks[np.isfinite(found.peaks)]
    axes.set_ylim(0, min(found.energies[-1], 1.4 * known.max()) if len(known) else found.energies[-1])
    axes.set_ylabel("energy, meV")
    figure.colorbar(image, ax=axes, label="S(q, E), 1/meV")
    save_figure(figure, path)
