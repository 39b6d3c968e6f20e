"""Tables and figures of cluster expansions, for the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from nucleate.errors import BadInput
from nucleate.lattice.parent import VACANCY, Parent
from nucleate.report.figure_file import check_figure, save_figure

if TYPE_CHECKING:
    from nucleate.lattice.api import GroundStates
    from nucleate.lattice.coexistence import Coexistence
    from nucleate.lattice.enumeration import Arrangement
    from nucleate.lattice.expansion import ClusterExpansion
    from nucleate.lattice.labels import LatticeData
    from nucleate.lattice.simulation import Averages
    from nucleate.lattice.supercells import Supercell

LISTED = 25
"""Number of ground states that are printed."""


def enumerated_lines(data: LatticeData) -> list[str]:
    """Return the numbers of arrangements as lines of text."""
    counts = Counter(entry.arrangement.supercell.count for entry in data.labelled)
    sizes = ", ".join(f"{number} of {cells}" for cells, number in sorted(counts.items()))
    sites = "; ".join(", ".join(names) for names in dict.fromkeys(data.parent.allowed))
    mesh = "" if data.mesh is None else f"; their k-points fold to the mesh {'x'.join(map(str, data.mesh))} of the primitive cell"
    count, operations = len(data.parent.active), len(data.parent.operations)
    return [
        f"{len(data.labelled)} distinct arrangements: {sizes} primitive cells{mesh}",
        f"{count} site{'' if count == 1 else 's'} per cell with one of: {sites}; {operations} symmetry operations",
    ]


def enumerated_data(data: LatticeData) -> dict[str, Any]:
    """Return the JSON-serialisable data of enumerated or calculated arrangements."""
    return {
        "mesh": data.mesh,
        "arrangements": [
            {
                "cells": entry.arrangement.supercell.count, "matrix": entry.arrangement.supercell.matrix.tolist(),
                "shares": entry.arrangement.fractions(), "energy": _per_cell(entry.energy, entry.arrangement), "dipole": entry.dipole,
                "moved": entry.moved, "strain": entry.strain, "failure": entry.failure or None,
            }
            for entry in data.labelled
        ],
    }  # fmt: skip


def _per_cell(energy: float | None, arrangement: Arrangement) -> float | None:
    return None if energy is None else energy / arrangement.supercell.count


def fit_lines(model: ClusterExpansion) -> list[str]:
    """Return interactions and errors of a fit as lines of text."""
    facts = model.facts
    errors = facts["errors"]
    unit = f"atom of {model.parent.names[0]}" if facts["per_atom"] else "primitive cell"
    lines = [
        f"{facts['arrangements']} arrangements, {facts['parameters']} parameters, {facts['method']}: errors in meV per {unit}: fit "
        f"{1e3 * facts['rmse']:.2f}, leave-one-out {1e3 * facts['loo']:.2f}, nested cross-validation {1e3 * facts['nested']:.2f}"
    ]
    if facts["left_out"]:
        lines.append(f"{facts['left_out']} arrangements without an energy, or that have left their sites, were not used")
    rows = model.rows()
    for row, error in zip(rows, errors, strict=False):
        spread = "" if error is None else f" ± {1e3 * error:.2f}"
        lines.append(f"{row['figure']:<28s} {row['multiplicity']:>4d} per cell  {1e3 * row['interaction']:>10.2f}{spread} meV")
    if model.dipoles is not None:
        spread = "" if errors[-1] is None else f" ± {errors[-1]:.3f}"
        lines.append(f"dipoles beyond {model.dipoles.beyond:.3f} Å: J_d = {model.dipole_strength:.3f}{spread} eV Å³")
    return lines


def fit_data(model: ClusterExpansion) -> dict[str, Any]:
    """Return the JSON-serialisable data of a fit."""
    distant = None if model.dipoles is None else {"beyond": model.dipoles.beyond, "strength": model.dipole_strength}
    return {"interactions": model.rows(), "dipoles": distant, **{k: v for k, v in model.facts.items() if k != "reference"}}


def hull_lines(found: GroundStates) -> list[str]:
    """Return the ground states as lines of text."""
    names = found.arrangements[0].supercell.parent.names
    order = sorted(found.hull.ground_states.tolist(), key=lambda k: tuple(found.hull.fractions[k]))
    lines = [f"{len(found.arrangements)} arrangements, {len(order)} on the hull; mixing energies in meV per primitive cell"]
    for k in order[:LISTED]:
        text = ", ".join(f"{name} {share:.4f}" for name, share in zip(names, found.hull.fractions[k], strict=True))
        lines.append(f"{text}: {1e3 * found.hull.mixing[k]:9.3f}, {found.arrangements[k].supercell.count} cells")
    if len(order) > LISTED:
        lines.append(f"... and {len(order) - LISTED} more; --json prints all")
    return lines


def hull_data(found: GroundStates) -> dict[str, Any]:
    """Return the JSON-serialisable data of a hull."""
    names = found.arrangements[0].supercell.parent.names
    order = sorted(found.hull.ground_states.tolist(), key=lambda k: tuple(found.hull.fractions[k]))
    return {
        "arrangements": len(found.arrangements),
        "ground_states": [
            {
                "shares": dict(zip(names, found.hull.fractions[k].tolist(), strict=True)), "mixing": float(found.hull.mixing[k]),
                "energy": float(found.energies[k]), "matrix": found.arrangements[k].supercell.matrix.tolist(),
                "occupation": found.arrangements[k].occupation.tolist(),
            }
            for k in order
        ],
    }  # fmt: skip


def simulated_lines(rows: Sequence[Averages], parent: Parent) -> list[str]:
    """Return averages as lines of text."""
    name = parent.allowed[0][0]
    lines = [
        f"{'T (K)':>8s} {'energy (eV/cell)':>22s} {'C (k_B/cell)':>13s} {f'share of {name}':>20s} {'accepted':>9s} {'time (sweeps)':>14s}"
    ]
    for row in rows:
        lines.append(
            f"{row.temperature:8.1f} {row.energy:12.6f} ± {row.energy_error:.1e} {row.heat_capacity:13.4f} "
            f"{row.fraction:10.5f} ± {row.fraction_error:.1e} {row.accepted:9.4f} {row.correlation:14.1f}"
        )
    return lines


def coexistence_lines(results: Sequence[Coexistence], parent: Parent) -> list[str]:
    """Return equilibria as lines of text."""
    name = parent.allowed[0][0]
    lines = [f"{'T (K)':>8s} {'potential (eV)':>15s} {f'{name} in the dilute phase':>26s} {'in the ordered phase':>21s}"]
    for result in results:
        if np.isnan(result.potential):
            lines.append(f"{result.temperature:8.1f} the phases do not coexist, or one of them is not metastable")
        else:
            lines.append(f"{result.temperature:8.1f} {result.potential:15.5f} {result.dilute:26.3e} {result.ordered:21.4f}")
    return lines


def coexistence_data(results: Sequence[Coexistence]) -> dict[str, Any]:
    """Return the JSON-serialisable data of equilibria."""
    return {
        "coexistence": [
            {name: getattr(result, name) for name in ("temperature", "potential", "dilute", "ordered")}
            | {
                phase: {key: getattr(branch, key).tolist() for key in ("potentials", "fractions", "grand")}
                for phase, branch in zip(("dilute_branch", "ordered_branch"), result.branches, strict=True)
            }
            for result in results
        ]
    }


def plot_fit(model: ClusterExpansion, path: Path) -> None:
    """Plot fitted against calculated energies, and the interactions of pairs over distance; raise `BadInput` for an unknown format."""
    check_figure(path)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    calculated, fitted = np.array(model.facts["calculated"]), np.array(model.facts["fitted"])
    out = calculated - np.array(model.facts["loo_each"])
    # Total energies would hide the interactions behind their dependence on composition.
    shares = np.array(model.facts["shares"])
    linear = shares @ np.linalg.lstsq(shares, calculated, rcond=None)[0]
    left.axline((0, 0), slope=1, color="0.7", linewidth=1)
    left.plot(1e3 * (calculated - linear), 1e3 * (out - linear), "o", markersize=4, mfc="none", label="left out")
    left.plot(1e3 * (calculated - linear), 1e3 * (fitted - linear), ".", label="fitted")
    left.set(xlabel="calculated (meV per cell)", ylabel="predicted (meV per cell)")
    left.set_title("energy without its linear part in composition", fontsize="small")
    left.legend(frameon=False, fontsize="small")
    rows = [row for row in model.rows() if row["points"] == 2]
    right.axhline(0, color="0.7", linewidth=1)
    right.plot([row["length"] for row in rows], [1e3 * row["interaction"] for row in rows], "o-", label="pairs")
    if model.dipoles is not None:
        r = np.linspace(model.dipoles.beyond, 2.5 * model.dipoles.beyond, 80)
        right.plot(r, 1e3 * model.dipole_strength / r**3, "--", label="dipoles")
        right.legend(frameon=False, fontsize="small")
    right.set(xlabel="distance (Å)", ylabel="interaction (meV)")
    save_figure(figure, path)


def plot_hull(found: GroundStates, path: Path, labels: LatticeData | None = None) -> None:
    """Plot predicted mixing energies over composition, the hull and calculated energies; raise `BadInput` for an unknown format.

    Raises:
        BadInput: the parent has more than two species.
    """
    from nucleate.lattice.api import shares
    from nucleate.lattice.hull import lower_hull

    check_figure(path)
    parent = found.arrangements[0].supercell.parent
    if len(parent.names) != 2:
        raise BadInput("the hull is drawn for two species; --json prints all")
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    x = found.hull.fractions[:, 0]
    axes.plot(x, 1e3 * found.hull.mixing, ".", color="0.75", markersize=3, label="predicted")
    order = found.hull.ground_states[np.argsort(x[found.hull.ground_states])]
    axes.plot(x[order], 1e3 * found.hull.mixing[order], "o-", color="C0", label="hull")
    if labels is not None:
        known = labels.with_energies
        calculated = lower_hull(shares([entry.arrangement for entry in known]), labels.energies())
        axes.plot(calculated.fractions[:, 0], 1e3 * calculated.mixing, "x", color="C1", markersize=5, label="calculated")
    name = parent.names[0]
    axes.set(xlabel=f"share of sites with {name}", ylabel="mixing energy (meV per cell)", xlim=(-0.02, 1.02))
    axes.legend(frameon=False, fontsize="small")
    save_figure(figure, path)


def plot_simulated(rows: Sequence[Averages], supercell: Supercell, occupation: np.ndarray, path: Path) -> None:
    """Plot energy and heat capacity over temperature, and the last arrangement seen along the third axis.

    Raises:
        BadInput: Matplotlib does not support the format.
    """
    check_figure(path)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    energy, heat, picture = figure.subplots(1, 3)
    t = [row.temperature for row in rows]
    lowest = min(row.energy for row in rows)
    energy.errorbar(t, [1e3 * (row.energy - lowest) for row in rows], [1e3 * row.energy_error for row in rows], fmt="o-", markersize=4)
    energy.set(xlabel="temperature (K)", ylabel="energy above the lowest one (meV per cell)")
    heat.plot(t, [row.heat_capacity for row in rows], "o-", markersize=4)
    heat.set(xlabel="temperature (K)", ylabel="heat capacity (k$_B$ per cell)")
    draw_arrangement(picture, supercell, occupation)
    picture.set_title(f"{rows[-1].temperature:g} K", fontsize="small")
    save_figure(figure, path)


def draw_arrangement(axes: Any, supercell: Supercell, occupation: np.ndarray) -> None:
    """Draw the active sites of an arrangement, one colour a species; vacancies are small dots."""
    positions = supercell.positions
    parent = supercell.parent
    names = np.array([parent.allowed[s][o] for s, o in zip(supercell.sublattice, occupation, strict=True)])
    for k, name in enumerate(parent.names):
        here = positions[names == name]
        vacant = name == VACANCY
        axes.scatter(
            here[:, 0],
            here[:, 1],
            s=1 if vacant else max(2.0, 9000 / len(positions)),
            color="0.8" if vacant else f"C{k}",
            linewidths=0,
            label=name,
        )
    axes.set_aspect("equal")
    axes.set_axis_off()


def plot_coexistence(results: Sequence[Coexistence], parent: Parent, path: Path) -> None:
    """Plot the shares of both phases over temperature; raise `BadInput` for an unknown format."""
    check_figure(path)
    figure = Figure(figsize=(5.4, 4), layout="constrained")
    axes = figure.subplots()
    known = [result for result in results if not np.isnan(result.potential)]
    t = [result.temperature for result in known]
    axes.plot([result.dilute for result in known], t, "o-", label="dilute")
    axes.plot([result.ordered for result in known], t, "s-", label="ordered")
    axes.set(xlabel=f"share of sites with {parent.allowed[0][0]}", ylabel="temperature (K)", xlim=(-0.02, 1.02))
    axes.legend(frameon=False, fontsize="small")
    save_figure(figure, path)
