"""Tables and figures of couplings and spin simulations, for the command line."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from nucleate.report.figure_file import check_figure, save_figure
from nucleate.spins.couplings import Couplings
from nucleate.spins.order.binder import Crossing
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.simulation import Row

if TYPE_CHECKING:
    from nucleate.polymorphs.magnets import CoupledPolymorph
    from nucleate.spins.api import LongWaves, Magnons

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


def polymorph_data(coupled: Sequence[CoupledPolymorph]) -> list[dict[str, Any]]:
    """Return couplings and ordering of polymorphs as JSON data.

    Temperatures and stiffness are those without a cutoff where the method gives them, otherwise those of the couplings in the table.
    """
    found = []
    for each in coupled:
        order, estimate = each.facts.get("order"), each.estimate
        unstable = None if order is None else order["unstable"]
        source = estimate if order is None or unstable else order
        stiffness = source.get("stiffness")
        found.append({
            "rank": each.rank, "space_group": each.space_group, "order": each.order, "method": each.method,
            "shells": shells(each.couplings), "unstable": unstable, "mean_field": source.get("mean_field"), "rpa": source.get("rpa"),
            "stiffness": None if stiffness is None else sum(stiffness[k][k] for k in range(3)) / 3,
            "without_cutoff": source is order, "wave_vector": estimate.get("wave_vector"), "failure": estimate.get("failure"),
            "folder": str(each.folder),
        })  # fmt: skip
    return found


def _nearest(shell: dict[str, Any]) -> str:
    return f"{shell['J']:+.2f} ({'-'.join(shell['elements'])}, {shell['distance']:.2f} Å)"


def polymorph_table(coupled: Sequence[CoupledPolymorph]) -> Table:
    """Return couplings and ordering of polymorphs as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("rank", "group", "order", "nearest J, meV", "mean field, K", "RPA, K", "stiffness, meV Å²"):
        table.add_column(name, justify="left" if name in ("group", "order", "nearest J, meV") else "right")
    for row in polymorph_data(coupled):
        order = row["order"] if row["unstable"] is None else f"{row['order']}, unstable"
        numbers = ["" if row[name] is None else f"{row[name]:.0f}" for name in ("mean_field", "rpa", "stiffness")]
        table.add_row(str(row["rank"]), escape(row["space_group"]), escape(order), _nearest(row["shells"][0]), *numbers)
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
    save_figure(figure, path)


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
    save_figure(figure, path)


def magnon_table(result: Magnons, bands: int = 6) -> Table:
    """Return the energies at the special points of the path as a table; of many bands the lowest and the highest ones."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("point", "wave vector", "energies, meV"):
        table.add_column(name, justify="left")
    seen = set()
    for label, q, energies in zip(result.labels, result.wave_vectors, result.energies, strict=True):
        if not label or label in seen:
            continue
        seen.add(label)
        shown = [f"{energy:.3f}" for energy in energies]
        if len(shown) > bands:
            shown = [*shown[: bands // 2], "...", *shown[-(bands // 2) :]]
        table.add_row(escape(label), " ".join(f"{x:.3f}" for x in q), " ".join(shown))
    return table


def magnon_lines(result: Magnons) -> list[str]:
    """Return the order, the gap and the long-wave limit as lines of text."""
    order = f"{result.kind}, net moment {result.moment:.3f} Bohr magnetons per cell"
    if result.axis is not None:
        q, axis = (", ".join(f"{x + 0.0:.4f}" for x in np.round(vector, 9)) for vector in (result.wave_vector, result.axis))
        order += f"; rotating frame of q = ({q}) about ({axis})"
    if np.prod(result.cells) > 1:
        order += f"; bands folded by a supercell of {' x '.join(map(str, result.cells))} cells"
    where = ", ".join(f"{x:.3f}" for x in result.gap_at)
    lines = [order, f"gap {result.gap:.4f} meV at q = ({where}); highest energy on the path {result.energies.max():.3f} meV"]
    for name, unit, limit in (("stiffness", "meV Å²", result.stiffness), ("velocity", "meV Å", result.velocity)):
        if limit is not None:
            lines.append(f"{name} {limit.mean:.2f} {unit}{_cutoff_effect(limit, unit)}")
    return lines


def _cutoff_effect(limit: LongWaves, unit: str) -> str:
    if limit.shorter_mean is None:
        return ""
    return f"; {limit.shorter_mean:.2f} {unit} with pairs up to {limit.shorter_distance:.2f} Å alone"


def magnon_data(result: Magnons) -> dict[str, Any]:
    """Return the JSON-serialisable data that --json prints."""
    data = {
        name: getattr(result, name)
        for name in ("kind", "wave_vector", "axis", "cells", "moment", "labels", "gap", "gap_at")
    }  # fmt: skip
    limits = {name: None if (limit := getattr(result, name)) is None else asdict(limit) for name in ("stiffness", "velocity")}
    arrays = {name: getattr(result, name).tolist() for name in ("wave_vectors", "distances", "energies", "dos_energies", "dos")}
    return {**data, **limits, **arrays}


def magnon_csv(result: Magnons) -> str:
    """Return the energies on the path as a table: label, distance (1/Å), wave vector, and a column in meV for each band."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    bands = range(1, result.energies.shape[1] + 1)
    table.writerow(["label", "distance", "q_a", "q_b", "q_c", *(f"energy_{band}" for band in bands)])
    for label, x, q, energies in zip(result.labels, result.distances, result.wave_vectors, result.energies, strict=True):
        table.writerow([label, f"{x:.8g}", *(f"{part:.8g}" for part in q), *(f"{energy:.8g}" for energy in energies)])
    return stream.getvalue()


def plot_magnons(result: Magnons, path: Path) -> None:
    """Plot the energies along the path and the density of states beside them.

    Raises:
        BadInput: matplotlib does not support the figure format.
    """
    check_figure(path)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    bands, density = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    jumps = np.flatnonzero(np.diff(result.distances) < 1e-9) + 1
    for part in np.split(np.arange(len(result.distances)), jumps):
        bands.plot(result.distances[part], result.energies[part], color="C0", linewidth=1.2)
    ticks: dict[float, str] = {}
    for x, label in zip(result.distances, result.labels, strict=True):
        if label:
            name = "Γ" if label == "G" else label
            ticks[float(x)] = f"{ticks[float(x)]}|{name}" if float(x) in ticks else name
    for x in ticks:
        bands.axvline(x, color="0.8", linewidth=0.8, zorder=0)
    bands.set_xticks(list(ticks), list(ticks.values()))
    bands.set_xlim(result.distances[0], result.distances[-1])
    bands.set_ylim(0, None)
    bands.set_ylabel("energy, meV")
    density.fill_betweenx(result.dos_energies, 0, result.dos, alpha=0.3, linewidth=0)
    density.plot(result.dos, result.dos_energies, linewidth=1)
    density.set_xlim(0, None)
    density.set_xlabel("states per meV")
    save_figure(figure, path)
