"""Fit of the cell of a structure to a measured curve: the strain that makes the calculated lines most similar to it.

The cell becomes A expm(L) with a symmetric logarithmic strain L, while fractional positions stay. Comparing powder patterns after such a
fit is the idea of the variable-cell similarities VC-xPWDF (R. A. Mayo, K. M. Marczenko and E. R. Johnson, Chem. Sci. (2023),
doi 10.1039/D3SC00168G) and VC-GPWDF (A. Otero-de-la-Roza, J. Appl. Cryst. (2024), doi 10.1107/S1600576724007489). The search for the
strain differs from theirs: the similarity has many maxima for narrow lines and few for a wide triangle, so that a set of strains that
fills the allowed range is evaluated with a wide triangle, and the best of them climb while the triangle becomes narrower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from nucleate.observables.correlation import Binned, Measured, binned
from nucleate.progress import Progress, Step, silent

CHUNK = 1_000_000
"""Largest number of strained lines that are placed at a time."""


class Lines(Protocol):
    """Lines whose positions depend on lengths of vectors that a strain changes.

    Attributes:
        vectors: (k, 3) vectors at zero strain.
        strains: (d, 3, 3) orthonormal basis of the allowed strains.
        sense: how a strain acts on the vectors: 1 for vectors between atoms, -1 for reciprocal vectors.
    """

    @property
    def vectors(self) -> np.ndarray: ...  # noqa: D102

    @property
    def strains(self) -> np.ndarray: ...  # noqa: D102

    @property
    def sense(self) -> int: ...  # noqa: D102

    def place(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return positions, areas and derivatives of the positions with respect to the lengths of the vectors, each of their shape."""

    def background(self, measured: Measured, volumes: np.ndarray) -> np.ndarray | None:
        """Return the curves (m, n) that are added to the lines for relative volumes (m,), or None."""


@dataclass(frozen=True)
class FitSettings:
    """How the strain is searched.

    Attributes:
        bound: largest absolute principal logarithmic strain.
        zero: largest shift of the zero of the positions, in their unit.
        widths: widths of the triangle from the first stage to the last, in units of the width of the final comparison.
        starts: number of strains in the first stage for each allowed component.
        kept: number of strains that climb in each stage.
        steps: steps of each climb.
    """

    bound: float = 0.05
    zero: float = 0.1
    widths: tuple[int, ...] = (6, 2, 1)
    starts: int = 48
    kept: tuple[int, ...] = (8, 4, 2)
    steps: int = 12


@dataclass(frozen=True)
class CellFit:
    """Result of a fit.

    Attributes:
        plain: similarity of the unstrained cell, at the best shift of the zero.
        fitted: similarity at the strain.
        strain: (3, 3) logarithmic strain L.
        zero: shift of the zero, in the unit of the positions.
    """

    plain: float
    fitted: float
    strain: np.ndarray
    zero: float


def stages(measured: Measured, settings: FitSettings) -> list[Measured]:
    """Return the measurement for each width of the fit; the last one is the measurement itself."""
    return [measured if width == 1 else measured.wider(width) for width in settings.widths]


def fit_cell(
    lines: Lines, levels: Sequence[Measured], settings: FitSettings, guess: CellFit | None = None, progress: Progress = silent
) -> CellFit:
    """Return the strain that makes the lines of a structure most similar to a measurement.

    Args:
        lines: lines of the structure.
        levels: the measurement for decreasing widths, see `stages`.
        settings: see `FitSettings`.
        guess: strain and shift of the zero from which the last stage also starts.
        progress: called with a `Step` after each group of first strains and each step of a climb.
    """
    d = len(lines.strains)
    plain, shift = plain_similarity(lines, levels[-1], settings.zero)
    if settings.bound == 0 or not len(lines.vectors):
        return CellFit(plain, plain, np.zeros((3, 3)), shift)
    points = np.concatenate([_isotropic(lines.strains, settings.bound), settings.bound * _spread(d, settings.starts * d)])
    points = _bounded(points, lines.strains, settings.bound)
    unknowns = np.concatenate([points, np.zeros((len(points), 1))], 1)
    rows = max(1, CHUNK // len(lines.vectors))
    groups = range(0, len(unknowns), rows)
    done, total = 0, len(groups) + settings.steps * len(levels)
    values = []
    for k in groups:
        values.append(_evaluate(lines, levels[0], unknowns[k : k + rows], slopes=False)[0])
        progress(Step("fit of the cell", done := done + 1, total))
    value = np.concatenate(values)
    for level, kept in zip(levels, settings.kept, strict=True):
        chosen = unknowns[np.argsort(-value)[:kept]]
        if guess is not None and level is levels[-1]:
            chosen = np.vstack([chosen, [*np.einsum("ij,dij->d", guess.strain, lines.strains), guess.zero]])
        unknowns, value = _climb(lines, level, chosen, settings, settings.bound * level.width / levels[0].width, done, total, progress)
        done += settings.steps
    best = int(np.argmax(value))
    if value[best] <= plain:
        return CellFit(plain, plain, np.zeros((3, 3)), shift)
    return CellFit(plain, float(value[best]), np.tensordot(unknowns[best, :-1], lines.strains, 1), float(unknowns[best, -1]))


def plain_similarity(lines: Lines, measured: Measured, zero: float) -> tuple[float, float]:
    """Return the similarity at zero strain and the shift of the zero, within +-`zero`, at which it is largest."""
    shifts = np.linspace(-zero, zero, 2 * int(np.ceil(zero / measured.step)) + 1) if zero > 0 else np.zeros(1)
    unknowns = np.zeros((len(shifts), len(lines.strains) + 1))
    unknowns[:, -1] = shifts
    value, _ = _evaluate(lines, measured, unknowns, slopes=False)
    best = int(np.argmax(value))
    return float(value[best]), float(shifts[best])


def _isotropic(strains: np.ndarray, bound: float) -> np.ndarray:
    """Return 41 isotropic strains up to the bound as coefficients of the basis."""
    return np.asarray(np.linspace(-bound, bound, 41)[:, None] * np.einsum("nii->n", strains))


@lru_cache(maxsize=16)
def _spread(d: int, count: int) -> np.ndarray:
    """Return about `count` points that fill a cube of `d` dimensions from -1 to 1, the same in every call."""
    # Every start of nucleate would wait half a second for scipy.stats.
    from scipy.stats import qmc

    if d == 0:
        return np.zeros((1, 0))
    points: np.ndarray = 2 * qmc.Sobol(d, scramble=False).random_base2(int(np.ceil(np.log2(count)))) - 1
    return points


def _bounded(points: np.ndarray, strains: np.ndarray, bound: float) -> np.ndarray:
    """Return strains scaled down so that no absolute principal strain is above the bound."""
    if not points.shape[1]:
        return points
    largest = np.abs(np.linalg.eigvalsh(np.einsum("md,dij->mij", points, strains))).max(1)
    scaled: np.ndarray = points * np.minimum(1.0, bound / np.maximum(largest, 1e-12))[:, None]
    return scaled


def strained_curve(lines: Lines, measured: Measured, strain: np.ndarray, zero: float) -> np.ndarray:
    """Return the lines on the grid (n,) of a measurement, without profile, for a logarithmic strain (3, 3) and a shift of the zero."""
    return np.asarray(_on_grid(lines, measured, strain[None], np.array([[zero]]))[1][0])


def _on_grid(
    lines: Lines, measured: Measured, strain: np.ndarray, zero: np.ndarray
) -> tuple[Binned, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return lines and curves (m, n) on the grid at strains (m, 3, 3) and shifts (m, 1), and what derivatives need.

    The latter are the strained vectors (m, k, 3), their lengths (m, k) and the derivatives of the positions by the lengths (m, k).
    """
    values, vectors = np.linalg.eigh(strain)
    stretch = (vectors * np.exp(lines.sense * values)[:, None]) @ vectors.transpose(0, 2, 1)
    moved = lines.vectors @ stretch
    lengths = np.sqrt(moved[..., 0] ** 2 + moved[..., 1] ** 2 + moved[..., 2] ** 2)
    positions, areas, derivative = lines.place(lengths)
    grid = binned(measured, positions + zero, areas)
    background = lines.background(measured, np.exp(values.sum(1)))
    return grid, grid.curves if background is None else grid.curves + background, moved, lengths, derivative


def _evaluate(lines: Lines, measured: Measured, unknowns: np.ndarray, slopes: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return similarities (m,) and derivatives (m, d + 1) at strains and shifts of the zero (m, d + 1)."""
    strain = np.einsum("md,dij->mij", unknowns[:, :-1], lines.strains)
    grid, curves, moved, lengths, derivative = _on_grid(lines, measured, strain, unknowns[:, -1:])
    similarity, slope = measured.similarities(curves)
    if not slopes:
        return similarity, np.zeros_like(unknowns)
    by_line = grid.line_slopes(slope, measured.step)
    by_length = by_line * derivative / np.maximum(lengths, 1e-12)
    # d|v| = v·L v / |v| to first order in the strain; the commutators of L are small.
    by_strain = lines.sense * np.matmul((by_length[..., None] * moved).transpose(0, 2, 1), moved)
    return similarity, np.concatenate([np.einsum("mij,dij->md", by_strain, lines.strains), by_line.sum(1, keepdims=True)], 1)


def _climb(
    lines: Lines, measured: Measured, unknowns: np.ndarray, settings: FitSettings, reach: float, done: int, total: int, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Climb from strains along the gradient with steps that each of them adapts (resilient propagation).

    M. Riedmiller and H. Braun, IEEE Int. Conf. on Neural Networks, 586 (1993), doi 10.1109/ICNN.1993.298623.

    Args:
        lines: lines of the structure.
        measured: the measurement.
        unknowns: (m, d + 1) strains and shifts.
        settings: see `FitSettings`.
        reach: first step of a strain.
        done, total: number of finished parts of the fit, and of all.
        progress: called with a `Step` after each step.
    """
    step = np.full(unknowns.shape, 0.2 * reach)
    step[:, -1] = 0.2 * settings.zero
    largest = step.copy()
    best, best_value = unknowns.copy(), np.full(len(unknowns), -np.inf)
    before = np.zeros_like(unknowns)
    for number in range(settings.steps):
        value, slope = _evaluate(lines, measured, unknowns)
        better = value > best_value
        best[better], best_value[better] = unknowns[better], value[better]
        agree = slope * before
        step = np.minimum(np.where(agree > 0, 1.2 * step, np.where(agree < 0, 0.5 * step, step)), largest)
        before = np.where(agree < 0, 0.0, slope)
        unknowns = unknowns + np.sign(before) * step
        unknowns[:, :-1] = _bounded(unknowns[:, :-1], lines.strains, settings.bound)
        unknowns[:, -1] = np.clip(unknowns[:, -1], -settings.zero, settings.zero)
        progress(Step("fit of the cell", done + number + 1, total))
    return best, best_value
