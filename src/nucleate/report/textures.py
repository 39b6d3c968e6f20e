"""Tables and figures of textures of films."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from rich.table import Table

from nucleate.report.figure_file import check_figure, save_figure
from nucleate.spins.couplings import Couplings
from nucleate.spins.textures.films import FilmTexture, film_lattice

COLUMNS = 4
"""Largest number of pictures in a row."""


def texture_data(found: Sequence[FilmTexture]) -> list[dict[str, Any]]:
    """Return the states of each field as JSON data."""
    rows = []
    for each in found:
        skyrmion, path = each.skyrmion, None if each.skyrmion is None else each.skyrmion.path
        rows.append({
            "field": each.field, "lowest": each.lowest, "wave_vector": list(each.wave_vector), "tilt": each.tilt,
            "lowest_energy": each.lowest_energy, "converged": each.converged, "undecided": each.undecided,
            "skyrmion": None if skyrmion is None else {
                "energy": skyrmion.energy, "charge": skyrmion.charge, "radius": skyrmion.radius,
                "barrier": None if path is None else path.barrier, "converged": None if path is None else path.converged,
                "path": None if path is None else {"distances": path.distances.tolist(), "energies": path.energies.tolist()},
            },
        })  # fmt: skip
    return rows


def texture_table(found: Sequence[FilmTexture]) -> Table:
    """Return the states of each field as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("field, T", "lowest state", "meV/cell", "skyrmion: charge", "radius, Å", "energy, meV", "barrier, meV"):
        table.add_column(name, justify="left" if name == "lowest state" else "right")
    for row in texture_data(found):
        state = row["lowest"]
        if state == "uniform":
            state += f", {row['tilt']:.0f}° from the normal"
        else:
            state += f", q = ({', '.join(f'{x + 0.0:.3f}' for x in row['wave_vector'][:2])})"
        if not row["converged"]:
            state += ", not converged"
        cells = ["none" if not row["undecided"] else f"none; {row['undecided']} not converged", "", "", ""]
        if (skyrmion := row["skyrmion"]) is not None:
            barrier = skyrmion["barrier"]
            text = "" if barrier is None else f"{barrier:.2f}" if skyrmion["converged"] else f"about {barrier:.2f}"
            cells = [f"{skyrmion['charge']:+.2f}", f"{skyrmion['radius']:.1f}", f"{skyrmion['energy']:.2f}", text]
        table.add_row(f"{row['field']:g}", state, f"{row['lowest_energy']:.3f}", *cells)
    return table


def plot_textures(found: Sequence[FilmTexture], couplings: Couplings, path: Path) -> None:
    """Plot the skyrmion, or else the lowest state, in each field from above: arrows in the plane, colour along the normal.

    Raises:
        BadInput: matplotlib does not support the figure format.
    """
    check_figure(path)
    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(3.4 * columns + 0.8, 2.4 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    drawn = None
    for panel, each in zip(panels, found, strict=False):
        spins = each.lowest_spins if each.skyrmion is None else each.skyrmion.spins
        sites = len(couplings.positions)
        a, b = each.size
        where = film_lattice(couplings, (a, b), each.field).positions
        plane = slice(None, None, sites)
        # One patch a cell, coloured by the component out of the plane, and arrows for the rest.
        vectors = couplings.cell[:2, :2]
        corners = where[plane, None, :2] + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 @ vectors
        drawn = PolyCollection(corners, array=spins[plane, 2], cmap="coolwarm", clim=(-1, 1), edgecolors="face", linewidths=0.2)
        panel.add_collection(drawn)
        panel.quiver(
            where[plane, 0], where[plane, 1], spins[plane, 0], spins[plane, 1], pivot="mid", units="xy", angles="xy", scale_units="xy",
            scale=0.4, width=0.25, color="0.15",
        )  # fmt: skip
        panel.set_aspect("equal")
        what = each.lowest if each.skyrmion is None else "skyrmion"
        panel.set_title(f"{each.field:g} T: {what}", fontsize=9)
    for panel in panels[len(found) :]:
        panel.set_visible(False)
    figure.supxlabel("x, Å", fontsize=9)
    figure.supylabel("y, Å", fontsize=9)
    if drawn is not None:
        figure.colorbar(drawn, ax=panels.tolist(), label="z component", shrink=0.7)
    save_figure(figure, path)
