"""Figures of the report of a search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from nucleate.crystals.clusters import extent
from nucleate.crystals.layers import area
from nucleate.csp.records import RoundRecord, enthalpy_per_atom
from nucleate.csp.run_data import RunData
from nucleate.polymorphs.landscape_map import LandscapeMap
from nucleate.report.family_figure import family_figure
from nucleate.report.hull_figures import phases_against_calls
from nucleate.report.map_figure import map_figure
from nucleate.report.svg import ACCENT, CARD, INK, MUTED, SECOND, draw_svg, log_scale, words

STOP_COLOURS = {
    "converged": "#2a9d8f",
    "uncertain": "#e9a23b",
    "stalled": "#8d99ae",
    "out of steps": "#5c677d",
    "exploded": "#d1495b",
    "collapsed": "#7b2d43",
}
PHASES = {
    "generate": "generating",
    "known": "known phases",
    "molecules": "isolated molecules",
    "relax": "relaxing the pool",
    "select": "selecting",
    "label": "reference: labels",
    "confirm": "confirming",
    "check": "softest-mode check",
    "train": "training",
    "proof": "proof of the best polymorph",
}
PHASE_COLOURS = ("#8d99ae", "#b56576", "#2a9d8f", "#c9ada7", "#d1495b", "#e9a23b", "#90a955", "#4c72b0", "#6d597a")


def _labelled(run: RunData) -> list[tuple[int, float, float]]:
    """Return call number, enthalpy (eV/atom) and size (see `size_of`) of every label."""
    return [
        (
            row.number,
            enthalpy_per_atom(row.atoms, row.label, run.settings.pressure),
            size_of(row.atoms, run.settings.dimensions),
        )
        for row in run.crystals
        if row.label is not None
    ]


SIZES = {3: ("volume", "Å³/atom"), 2: ("area", "Å²/atom"), 0: ("extent", "Å")}
"""Name and unit of the size of a structure, by the number of periodic directions."""


def size_of(atoms: Atoms, dimensions: int) -> float:
    """Return the volume of a crystal (Å³/atom), the area of a layer (Å²/atom) or the largest distance of two atoms of a cluster (Å)."""
    if dimensions == 0:
        return extent(atoms.positions)
    return area(atoms) if dimensions == 2 else atoms.get_volume() / len(atoms)


def energy_name(run: RunData) -> str:
    """Return the name of the energy: enthalpy if there is an external pressure."""
    return "enthalpy" if run.settings.pressure else "energy"


def landscape(run: RunData) -> str | None:
    """Plot energy against the size of the structures, with polymorphs marked among labelled structures."""
    labelled = _labelled(run)
    if not labelled:
        return None
    ranking = run.state.ranking()
    energies = np.array([energy for _, energy, _ in labelled])
    sizes = np.array([size for _, _, size in labelled])
    name, unit = SIZES[run.settings.dimensions]
    best = ranking[0].energy if ranking else energies.min()
    above = energies - best
    high = max([0.25, *(p.energy - best for p in ranking)]) * 1.15
    high = max(high, min(float(np.quantile(above, 0.7)), 1.0))
    shown = above <= high

    def draw(axes: Axes) -> None:
        axes.plot(
            sizes[shown],
            above[shown],
            "o",
            color=MUTED,
            alpha=0.45,
            markersize=3.5,
            mew=0,
            label="labelled",
        )
        for k, p in enumerate(ranking):
            x, y = size_of(p.atoms, run.settings.dimensions), p.energy - best
            axes.plot(x, y, "o", color=ACCENT, markersize=7, mec=CARD, mew=1, label="polymorph" if k == 0 else None)
            if k < 10:
                axes.annotate(f"{k + 1}", (x, y), (5, 4), textcoords="offset points", fontsize=9, color=INK)
        axes.set_xlabel(f"{name} ({unit})")
        axes.set_ylabel(f"{energy_name(run)} above best (eV/atom)")
        axes.set_ylim(min(-0.03 * high, float(above.min()) * 1.05), high)
        hidden = int((~shown).sum())
        if hidden:
            axes.set_title(f"{hidden} labels are above the frame", fontsize=9, loc="right", color=MUTED)
        axes.legend(loc="best")

    return draw_svg(draw, f"Energy against {name} of all labelled structures and polymorphs")


def best_against_calls(run: RunData) -> str | None:
    """Plot the lowest label and the lowest confirmed polymorph against reference calls."""
    labelled = _labelled(run)
    if not labelled:
        return None
    calls = np.array([call for call, _, _ in labelled])
    lowest = np.minimum.accumulate([energy for _, energy, _ in labelled])
    confirmed = sorted(run.state.polymorphs, key=lambda p: p.calls)
    floor = min(float(lowest[-1]), *(p.energy for p in confirmed)) if confirmed else float(lowest[-1])

    def draw(axes: Axes) -> None:
        axes.step(calls, 1e3 * (lowest - floor), where="post", color=MUTED, label="lowest label")
        if confirmed:
            x = [p.calls for p in confirmed] + [run.calls]
            y = np.minimum.accumulate([p.energy for p in confirmed] + [confirmed[-1].energy])
            axes.step(x, 1e3 * (y - floor), where="post", color=ACCENT, label="best polymorph")
            axes.plot(
                [p.calls for p in confirmed],
                [1e3 * (p.energy - floor) for p in confirmed],
                "o",
                color=ACCENT,
                mec=CARD,
                mew=0.8,
                markersize=5.5,
            )
        axes.set_xlabel("reference calls")
        axes.set_ylabel("above the best (meV/atom)")
        axes.set_xlim(0, max(run.calls, 1) * 1.02)
        # The energies of the first random cells may be many eV above the others.
        high = max([250.0, 1e3 * (float(np.median(lowest)) - floor), *(1e3 * (p.energy - floor) for p in confirmed)])
        axes.set_ylim(-0.04 * high, min(1.3 * high, max(1e3 * float(lowest[0] - floor), 10.0) * 1.05))
        axes.legend(loc="best")

    return draw_svg(draw, "Lowest energy against reference calls")


def _rounds(axes: Axes) -> None:
    """Label the horizontal axis with rounds."""
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _series(records: list[RoundRecord], key: str) -> tuple[list[int], list[float]]:
    """Return rounds and values of an entry of the calibration, without missing values."""
    pairs = [(r.round, r.calibration.get(key)) for r in records]
    kept = [(n, float(v)) for n, v in pairs if v is not None and np.isfinite(v)]
    return [n for n, _ in kept], [v for _, v in kept]


def learning(run: RunData) -> str | None:
    """Plot the errors on new labels in each round."""
    rounds, mae = _series(run.state.records, "mae")
    if not rounds:
        return None
    force_rounds, forces = _series(run.state.records, "force_rmse")

    def draw(axes: Axes) -> None:
        axes.plot(rounds, [1e3 * x for x in mae], "o-", color=ACCENT, label="energy MAE (meV/atom)")
        axes.plot(force_rounds, [1e3 * x for x in forces], "s--", color=SECOND, label="force RMSE (meV/Å)")
        log_scale(axes)
        axes.set_ylabel("error on new labels")
        _rounds(axes)
        axes.legend(loc="best")

    return draw_svg(draw, "Error on new labels in each round")


def calibration(run: RunData) -> str | None:
    """Plot the coverage of the 90 % interval, and error against sigma."""
    rounds, coverage = _series(run.state.records, "coverage")
    if not rounds:
        return None
    rank_rounds, ranks = _series(run.state.records, "rank_correlation")

    def draw(axes: Axes) -> None:
        axes.axhline(0.9, color=INK, linewidth=1, linestyle=":")
        axes.annotate(
            "0.9",
            (1, 0.9),
            (3, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
        )
        axes.plot(rounds, coverage, "o-", color=ACCENT, label="fraction within the 90 % interval")
        axes.plot(rank_rounds, ranks, "s--", color=SECOND, label="rank correlation, sigma and |error|")
        axes.set_ylim(min(-0.05, *(ranks or [0])) - 0.02, 1.05)
        _rounds(axes)
        axes.legend(loc="best")

    return draw_svg(draw, "Calibration of the uncertainty in each round")


def _stacked(run: RunData, parts: dict[str, list[float]], colours: dict[str, str], name: str, title: str) -> str | None:
    """Plot stacked bars of each round."""
    rounds = [record.round for record in run.state.records]
    parts = {key: values for key, values in parts.items() if any(values)}
    if not parts:
        return None

    def draw(axes: Axes) -> None:
        floor = np.zeros(len(rounds))
        for key, values in parts.items():
            axes.bar(rounds, values, bottom=floor, color=colours[key], width=0.82, label=words(key))
            floor = floor + np.array(values)
        axes.set_ylabel(name)
        axes.grid(False, axis="x")
        axes.set_xlim(min(rounds) - 0.7, max(rounds) + 0.7)
        _rounds(axes)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return draw_svg(draw, title)


def stops(run: RunData) -> str | None:
    """Plot the stopping reasons of the pool's relaxations."""
    names = [*STOP_COLOURS, *sorted({key for r in run.state.records for key in r.stops} - set(STOP_COLOURS))]
    parts: dict[str, list[float]] = {key: [float(r.stops.get(key, 0)) for r in run.state.records] for key in names}
    colours = {key: STOP_COLOURS.get(key, "#999999") for key in names}
    return _stacked(run, parts, colours, "relaxations", "How the relaxations of the pool ended in each round")


def seconds(run: RunData) -> str | None:
    """Plot the wall time of each round by phase."""
    extra = sorted({key for r in run.state.records for key in r.seconds} - set(PHASES))
    # Unknown phases keep their names; the blank prevents a collision with the name of a known phase.
    names = {**PHASES, **{key: f"{key} " for key in extra}}
    del names["proof"]
    parts = {name: [r.seconds.get(key, 0.0) for r in run.state.records] for key, name in names.items()}
    palette = [*PHASE_COLOURS[: len(PHASES) - 1], *("#999999" for _ in extra)]
    return _stacked(
        run,
        parts,
        dict(zip(parts, palette, strict=True)),
        "wall time (s)",
        "Wall time of each round by phase",
    )


def all_figures(run: RunData, charted: LandscapeMap | None) -> list[dict[str, Any]]:
    """Return heading, caption and SVG of all figures of a run that have data, with the map if there is one."""
    counted = "A call is one reference calculation; failed calculations and confirmations are included."
    caption = f"The {energy_name(run)} of every labelled structure against its {SIZES[run.settings.dimensions][0]}; numbers are ranks."
    of_the_search: tuple[tuple[str, str, Callable[[RunData], str | None]], ...]
    of_the_search = (("Landscape", caption, landscape), ("Cost of discovery", counted, best_against_calls))
    if run.settings.system is not None:
        of_the_search = (("Cost of discovery", counted, phases_against_calls),)
    figures = []
    if charted is not None:
        caption_of_map, svg_of_map = map_figure(charted)
        figures.append({"heading": "Map", "caption": caption_of_map, "svg": svg_of_map})
    family = family_figure(run)
    if family is not None:
        figures.append({"heading": "Family trees", "caption": family[0], "svg": family[1]})
    for heading, caption, draw in (
        *of_the_search,
        ("Learning", "Errors on the labels of each round before they are used in the training.", learning),
        ("Calibration", "A well calibrated 90 % interval contains nine of ten errors.", calibration),
        ("Relaxations", "Stop reasons of the relaxations of the pool on the committee.", stops),
        ("Wall time", "Wall time of each round by phase.", seconds),
    ):
        svg = draw(run)
        if svg is not None:
            figures.append({"heading": heading, "caption": caption, "svg": svg})
    return figures
