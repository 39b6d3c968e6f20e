"""Page of a training with errors, parity, weights, gradient noise and shares of the species, from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from nucleate.persist.files import write_whole
from nucleate.report.pages import environment
from nucleate.report.svg import ACCENT, INK, MUTED, SECOND, WARN, draw_svg, log_scale, words
from nucleate.report.training_events import parity_pairs, training_events

SHADES = ("#2a9d8f", "#d1495b", "#4c72b0", "#e9a23b", "#6d597a", "#8d99ae")
LAYERS = 24
"""Largest number of layers whose histograms are drawn."""


def write_page(folder: Path) -> Path:
    """Write monitor.html to the folder of a training; return its path.

    Raises:
        BadInput: the folder contains no training, or its events are damaged.
    """
    path = folder / "monitor.html"
    write_whole(path, render(folder))
    return path


def render(folder: Path) -> str:
    """Return the page as HTML."""
    events = training_events(folder)
    start, evaluations, steps, steered = events["start"][0], events["evaluation"], events["step"], events["steer"]
    finished = events["finished"][-1] if events["finished"] else None
    parity = folder / "parity.json"
    figures = [
        _figure(
            "Loss",
            "Loss of each minibatch, and of the averaged weights on the training and validation sets.",
            lambda: _loss(steps, evaluations, steered),
        ),
        _figure("Energy", "Root mean square error.", lambda: _errors(evaluations, "energy_rmse", "meV/atom", 1e3)),
        _figure("Forces", "Root mean square error of components.", lambda: _errors(evaluations, "force_rmse", "eV/Å", 1.0)),
        _figure("Parity", "Energy per atom of each structure.", lambda: _parity(parity, "energy")),
        _figure("Parity of forces", "A sample of the components.", lambda: _parity(parity, "force")),
        _figure(
            "Temperature and noise",
            "Learning rate divided by batch size, which determines the noise of the optimisation, and the gradient noise scale, the batch "
            "size above which larger batches have little effect.",
            lambda: _temperature(steps, evaluations),
        ),
        _figure(
            "Informants",
            "Share of each species in the energy differences between structures, cov(E_z, E) / var(E); the shares add up to 1.",
            lambda: _informants(evaluations, steered),
        ),
    ]
    layers = [] if len(evaluations) < 1 else [_layer(name, evaluations) for name in list(evaluations[-1]["weights"])[:LAYERS]]
    return (
        environment()
        .get_template("training.html.j2")
        .render(
            name=folder.name,
            start=start,
            last=evaluations[-1] if evaluations else None,
            finished=finished,
            figures=[figure for figure in figures if figure["svg"]],
            layers=layers,
            steered=steered,
            toml=(folder / "fit.toml").read_text(encoding="utf-8", errors="replace"),
        )
    )


def _figure(title: str, words: str, draw: Any) -> dict[str, Any]:
    """Return title, description and SVG of a figure."""
    svg = draw()
    return {"title": title, "words": words, "svg": Markup(svg) if svg else None}


def _mark(axes: Axes, steered: list[dict[str, Any]]) -> None:
    """Mark the steps at which commands were applied."""
    for k, event in enumerate(event for event in steered if "refused" not in event):
        axes.axvline(event["step"], color=WARN, linewidth=0.9, linestyle=":", label="steered" if k == 0 else None)


def _loss(steps: list[dict[str, Any]], evaluations: list[dict[str, Any]], steered: list[dict[str, Any]]) -> str | None:
    """Plot the loss against the step."""
    if not steps:
        return None

    def draw(axes: Axes) -> None:
        axes.plot([e["step"] for e in steps], [e["loss"] for e in steps], color=MUTED, linewidth=0.8, label="minibatch")
        for name, colour in (("training", ACCENT), ("validation", SECOND)):
            points = [(e["step"], e[name]["loss"]) for e in evaluations if name in e]
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
        _mark(axes, steered)
        log_scale(axes)
        axes.set_xlabel("step")
        axes.legend()

    return draw_svg(draw, "Loss against step")


def _errors(evaluations: list[dict[str, Any]], key: str, unit: str, factor: float) -> str | None:
    """Plot the errors of an evaluation against the step."""
    points = {
        name: [(e["step"], factor * e[name][key]) for e in evaluations if name in e and e[name][key] is not None]
        for name in ("training", "validation")
    }
    if not points["training"]:
        return None

    def draw(axes: Axes) -> None:
        for name, colour in (("training", ACCENT), ("validation", SECOND)):
            if points[name]:
                axes.plot(*zip(*points[name], strict=True), "o-", color=colour, label=name)
        log_scale(axes)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.legend()

    return draw_svg(draw, f"{key} against step")


def _parity(path: Path, what: str) -> str | None:
    """Plot predictions against labels."""
    data = parity_pairs(path)
    if not any(data[name][what] for name in data):
        return None

    def draw(axes: Axes) -> None:
        ends = []
        for name, colour in (("training", ACCENT), ("validation", SECOND)):
            pairs = np.array(data.get(name, {}).get(what, []))
            if len(pairs):
                axes.plot(pairs[:, 0], pairs[:, 1], "o", color=colour, markersize=3, mew=0, alpha=0.6, label=name)
                ends += [pairs.min(), pairs.max()]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=INK, linewidth=0.8)
        unit = "eV/atom" if what == "energy" else "eV/Å"
        axes.set_xlabel(f"reference ({unit})")
        axes.set_ylabel(f"model ({unit})")
        axes.legend()

    return draw_svg(draw, f"Parity of {what}")


def _temperature(steps: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> str | None:
    """Plot temperature and gradient noise scale against the step."""
    if not steps:
        return None

    def draw(axes: Axes) -> None:
        axes.plot([e["step"] for e in steps], [e["temperature"] for e in steps], color=ACCENT, label="temperature: rate / batch")
        log_scale(axes)
        axes.set_xlabel("step")
        scales = [(e["step"], e["noise"]["scale"]) for e in evaluations if e["noise"]["scale"] is not None]
        if scales:
            other = axes.twinx()
            other.plot(*zip(*scales, strict=True), "o", color=SECOND, label="noise scale (structures)")
            other.set_ylim(0, 1.3 * max(scale for _, scale in scales))
            other.grid(False)
            other.legend(loc="lower left")
        axes.legend(loc="upper right")

    return draw_svg(draw, "Temperature and gradient noise scale against step")


def _informants(evaluations: list[dict[str, Any]], steered: list[dict[str, Any]]) -> str | None:
    """Plot the share of each species in the variance of energies against the step."""
    name = "validation" if evaluations and "validation" in evaluations[-1] else "training"
    rows = [(e["step"], e[name]["informants"]) for e in evaluations if name in e and e[name]["informants"]]
    if not rows or len(rows[-1][1]) < 2:
        return None

    def draw(axes: Axes) -> None:
        for k, species in enumerate(rows[-1][1]):
            axes.plot(
                [step for step, _ in rows],
                [shares.get(species) for _, shares in rows],
                "o-",
                color=SHADES[k % len(SHADES)],
                label=words(species),
            )
        _mark(axes, steered)
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.set_xlabel("step")
        axes.set_ylabel("share of the variance")
        axes.legend()

    return draw_svg(draw, "Share of each species in the variance of energies")


def _layer(name: str, evaluations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the histograms of the weights of one layer at up to six evaluations."""
    chosen = sorted({round(x) for x in np.linspace(0, len(evaluations) - 1, 6)})

    def draw(axes: Axes) -> None:
        for k, place in enumerate(chosen):
            histogram = evaluations[place]["weights"].get(name)
            if histogram is None:
                continue
            counts = np.array(histogram["counts"], dtype=float)
            edges = np.linspace(histogram["low"], histogram["high"], len(counts) + 1)
            axes.stairs(counts / max(counts.max(), 1) * 0.9 + k, edges, baseline=k, fill=True, color=ACCENT, alpha=0.25 + 0.12 * k)
        axes.set_yticks(range(len(chosen)), [f"step {evaluations[place]['step']}" for place in chosen])

    return {"name": name, "svg": Markup(draw_svg(draw, f"Weights of {name} over time", 3.4, 2.6))}
