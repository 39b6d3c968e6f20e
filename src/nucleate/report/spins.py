"""Tables and figures of couplings and spin simulations, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from nucleate.report.electrons import check_figure
from nucleate.spins.couplings import Couplings
from nucleate.spins.order.binder import Crossing
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.simulation import Row

SAME = 2e-3
"""Distance tolerance in Å within which sorted pair lengths belong to one shell."""


def shells(couplings: Couplings) -> list[dict[str, Any]]:
    """Group pairs by elements and distance, nearest first.

    Returns:
        For each shell the elements, the distance (Å), the number of pairs, mean J and |D| (meV), and the error: the larger of the error
        bars and the standard deviation of J.
    """
    names = ["-".join(sorted((couplings.symbols[i], couplings.symbols[j]))) for i, j in zip(couplings.first, couplings.second, strict=True)]
    groups: dict[tuple[int, str], list[int]] = {}
    order = np.argsort(couplings.distances)
    # Shells are separated at gaps between sorted distances, since rounding of distances could split a shell.
    shell = np.cumsum(np.diff(couplings.distances[order], prepend=0.0) > SAME)
    for k, p in zip(shell, order, strict=True):
        groups.setdefault((int(k), names[p]), []).append(int(p))
    result = []
    dm = np.linalg.norm(couplings.dm, axis=1)
    for (_, name), rows in sorted(groups.items()):
        j = couplings.isotropic[rows]
        error = np.nanmax([*couplings.errors[rows], j.std()]) if np.isfinite(couplings.errors[rows]).any() or j.std() > 1e-9 else None
        result.append({
            "elements": name.split("-"), "distance": float(couplings.distances[rows].mean()), "pairs": len(rows), "J": float(j.mean()),
            "D": float(dm[rows].mean()), "error": None if error is None else float(error),
        })  # fmt: skip
    return result


def shell_table(couplings: Couplings) -> Table:
    """Return the shells as a table in meV; positive J is ferromagnetic."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("pair", "Å", "pairs/cell", "J, meV", "error", "|D|, meV"):
        table.add_column(name, justify="left" if name == "pair" else "right")
    for s in shells(couplings):
        error = "" if s["error"] is None else f"{s['error']:.2g}"
        table.add_row(
            escape("-".join(s["elements"])),
            f"{s['distance']:.3f}",
            str(s["pairs"]),
            f"{s['J']:+.3f}",
            error,
            f"{s['D']:.3f}" if s["D"] > 5e-4 else "",
        )
    return table


def temperature_table(rows: Sequence[Row]) -> Table:
    """Return the simulation results as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("cells", "K", "meV/spin", "heat, k_B", "magnetisation", "order", "susceptibility, 1/meV", "Binder"):
        table.add_column(name, justify="right")
    for r in rows:
        table.add_row(
            str(r.size), f"{r.temperature:g}", f"{r.energy:.4f} ±{r.energy_error:.4f}",
            f"{r.specific_heat:.3f} ±{r.specific_heat_error:.3f}",
            f"{r.magnetisation:.4f} ±{r.magnetisation_error:.4f}", f"{r.order:.4f} ±{r.order_error:.4f}",
            f"{r.susceptibility:.3f} ±{r.susceptibility_error:.3f}", f"{r.binder:.4f} ±{r.binder_error:.4f}",
        )  # fmt: skip
    return table


def simulation_data(rows: Sequence[Row], crossings: Sequence[Crossing], estimates: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON-serialisable data that --json prints."""
    return {"rows": [asdict(r) for r in rows], "crossings": [asdict(c) for c in crossings], "estimates": estimates}


def plot_curves(rows: Sequence[Row], path: Path, crossings: Sequence[Crossing] = ()) -> None:
    """Plot order parameter, susceptibility, specific heat and Binder cumulant against temperature, one line per size.

    Raises:
        BadInput: matplotlib does not support the figure format.
    """
    check_figure(path)
    figure = Figure(figsize=(8, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for panel, (name, text) in zip(panels.flat, {
        "order": "order parameter", "susceptibility": "susceptibility, 1/meV", "specific_heat": "specific heat, k_B per spin",
        "binder": "Binder cumulant",
    }.items(), strict=True):  # fmt: skip
        for size in sorted({r.size for r in rows}):
            mine = [r for r in rows if r.size == size]
            panel.errorbar(
                [r.temperature for r in mine], [getattr(r, name) for r in mine], [getattr(r, f"{name}_error") for r in mine],
                marker="o", markersize=3, linewidth=1, label=f"{size} cells",
            )  # fmt: skip
        for c in crossings:
            panel.axvline(c.temperature, color="0.6", linewidth=0.8)
        panel.set_ylabel(text)
    for panel in panels[1]:
        panel.set_xlabel("temperature, K")
    panels[0, 0].legend(frameon=False)
    figure.savefig(path)


def plot_spins(lattice: SpinLattice, spins: np.ndarray, path: Path) -> None:
    """Plot the lowest plane of cells from above: arrows show the in-plane components, colour the z component.

    Raises:
        BadInput: matplotlib does not support the figure format.
    """
    check_figure(path)
    plane = np.arange(len(spins)).reshape(*lattice.size, -1)[:, :, 0].ravel()
    where = lattice.positions[plane]
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    arrows = axes.quiver(
        where[:, 0], where[:, 1], spins[plane, 0], spins[plane, 1], spins[plane, 2], cmap="coolwarm", clim=(-1, 1), pivot="mid",
        units="xy", scale=0.45, scale_units="xy", width=0.25,
    )  # fmt: skip
    axes.scatter(where[:, 0], where[:, 1], c=spins[plane, 2], cmap="coolwarm", vmin=-1, vmax=1, s=4)
    axes.set_aspect("equal")
    axes.set_xlabel("x, Å")
    axes.set_ylabel("y, Å")
    figure.colorbar(arrows, ax=axes, label="z component")
    figure.savefig(path)
