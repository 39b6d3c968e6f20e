"""Tables and figures of one-dimensional Kohn-Sham theory, for the command line. Columns and keys are in Hartree atomic units."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from nucleate.report.figure_file import check_figure, save_figure
from nucleate.units import HARTREE, HBAR

if TYPE_CHECKING:
    from nucleate.onedim.api import Inverted, Propagated

TIME = 1e-3 * HBAR / HARTREE
"""Atomic unit of time in fs."""
PULSE = ("amplitude", "frequency", "cycles")


def inverted_columns(result: Inverted) -> dict[str, np.ndarray]:
    """Return the columns of the table: x in bohr, n in 1/bohr, potentials in hartree."""
    return {
        "x": result.x, "n": result.density, "v_ext": result.external, "v_H": result.hartree, "v_xc": result.xc, "v_s": result.kohn_sham,
    }  # fmt: skip


def propagated_columns(result: Propagated) -> dict[str, np.ndarray]:
    """Return the columns of the table: time, field, dipole (integral of x n, bohr), norm and energy (hartree)."""
    motion = result.motion
    return {"time": motion.times, "field": motion.field, "dipole": motion.dipole, "norm": motion.norm, "energy": motion.energy}


def columns_csv(columns: Mapping[str, np.ndarray]) -> str:
    """Return columns of equal length as CSV text with twelve digits."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        table.writerow([f"{value:.12g}" for value in row])
    return stream.getvalue()


def inverted_data(result: Inverted) -> dict[str, Any]:
    """Return the JSON-serialisable data that --json prints."""
    names = ("energy", "ionisation", "orbital_energies", "error", "iterations", "analytic_difference")
    return {**{name: getattr(result, name) for name in names}, **_lists(inverted_columns(result))}


def propagated_data(result: Propagated) -> dict[str, Any]:
    """Return the JSON-serialisable data that --json prints."""
    pulse = {name: getattr(result.pulse, name) for name in PULSE}
    head = {"theory": result.theory, "electrons": result.electrons, "pulse": pulse, "time_step": result.time_step, "leak": result.leak}
    return {**head, **_lists(propagated_columns(result))}


def _lists(columns: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in columns.items()}


def inverted_lines(result: Inverted) -> list[str]:
    """Return the result of an inversion as lines of text."""
    levels = ", ".join(f"{e:.6f}" for e in result.orbital_energies)
    energy = "" if result.energy is None else f"energy {result.energy:.6f} Ha, "
    lines = [
        f"{energy}ionisation energy {result.ionisation:.6f} Ha; occupied Kohn-Sham energies {levels} Ha",
        f"density reproduced to {result.error:.1e} /bohr after {result.iterations} Newton steps; "
        f"v_xc from {result.xc.min():.4f} to {result.xc.max():.4f} Ha",
    ]
    if result.analytic_difference is not None:
        lines.append(f"analytic potential of one orbital: differs by at most {result.analytic_difference:.1e} Ha where n > 1e-6 /bohr")
    return lines


def propagated_lines(result: Propagated) -> list[str]:
    """Return the result of a propagation as lines of text."""
    motion = result.motion
    drift = float(np.abs(motion.norm - motion.norm[0]).max())
    lines = [
        f"{result.electrons} electrons, {result.theory}, {motion.times[-1]:.2f} atomic units of time ({motion.times[-1] * TIME:.3f} fs)",
        f"dipole from {motion.dipole.min():.5f} to {motion.dipole.max():.5f} bohr; energy absorbed "
        f"{motion.energy[-1] - motion.energy[0]:.6f} Ha; norm kept to {drift:.1e}",
    ]
    if result.walls_felt:
        lines.append(
            f"the density at the walls reached {result.leak:.1e} /bohr, so they reflect electrons: enlarge the grid or weaken the field"
        )
    return lines


def plot_inverted(result: Inverted, path: Path) -> None:
    """Plot density and potentials.

    Raises:
        BadInput: The file cannot be written or matplotlib does not support the format.
    """
    check_figure(path)
    figure = Figure(figsize=(6.4, 5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(result.x, result.density, color="C0")
    top.set(ylabel="density (1/bohr)", ylim=(0, None))
    for name, values in list(inverted_columns(result).items())[2:]:
        bottom.plot(result.x, values, label=f"${name[0]}_{{\\mathrm{{{name[2:]}}}}}$", linewidth=1.2)
    bottom.set(xlabel="x (bohr)", ylabel="potential (hartree)")
    bottom.legend(ncols=4, fontsize="small", frameon=False)
    visible = result.x[result.density > 1e-6]
    bottom.set_xlim(visible[0], visible[-1])
    save_figure(figure, path)


def plot_propagated(results: Sequence[Propagated], path: Path) -> None:
    """Plot field, dipole and energy of one or several propagations.

    Raises:
        BadInput: The file cannot be written or matplotlib does not support the format.
    """
    check_figure(path)
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    field, dipole, energy = figure.subplots(3, 1, sharex=True, height_ratios=(1, 2, 2))
    for k, result in enumerate(results):
        motion = result.motion
        if k == 0:
            field.plot(motion.times, motion.field, color="0.4")
        dipole.plot(motion.times, motion.dipole, label=result.theory)
        energy.plot(motion.times, motion.energy - motion.energy[0])
    field.set_ylabel("E(t)")
    dipole.set_ylabel("∫ x n (bohr)")
    dipole.legend(fontsize="small", frameon=False)
    energy.set(xlabel="time (atomic units)", ylabel="energy absorbed (Ha)")
    save_figure(figure, path)
