"""Pair distribution function G(r) of a crystal, and its similarity to a measured one.

G(r) = (1/r) sum_ij b_i b_j / (N <b>²) delta(r - r_ij) - 4 pi rho r, with the number density rho, N atoms and scattering weights b of mean
<b>: T. Egami and S. J. L. Billinge, Underneath the Bragg Peaks, Pergamon (2003). D. A. Keen, J. Appl. Cryst. 34, 172 (2001),
doi 10.1107/S0021889800019993, compares it with other definitions. X-rays have the weights Z, the form factors at zero angle; this is an
approximation, since the form factors of the elements decay differently with the angle.

Distances are broadened by independent isotropic displacements of both atoms. A measurement up to Qmax removes the faster oscillations of
G(r), and its finite resolution multiplies G(r) by exp(-(Qdamp r)²/2). Comparing pair distribution functions by cross-correlation follows
S. Habermehl, C. Schlesinger and D. Prill, J. Appl. Cryst. 54, 612 (2021), doi 10.1107/S1600576721001722.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.errors import BadInput
from nucleate.observables.correlation import Measured, Profile
from nucleate.observables.powder import uniform
from nucleate.observables.radiation import Radiation
from nucleate.observables.reflections import allowed_strains, primitive, turned
from nucleate.observables.variable_cell import CellFit, FitSettings, fit_cell, plain_similarity, stages, strained_curve
from nucleate.progress import Progress, silent

GRID = 12
"""Points of the uniform grid per width of the triangle."""


@dataclass(frozen=True)
class PairSettings:
    """How a pair distribution function is compared.

    Attributes:
        neutron: whether the weights are neutron scattering lengths instead of atomic numbers.
        deuterated: whether hydrogen atoms are deuterium.
        r_min, r_max: range of distances that is compared, Å.
        width: width of the triangle of the similarity, Å.
        b_iso: isotropic displacement parameter B of all atoms, Å².
        q_max: largest momentum transfer of the measurement, 1/Å; None: as in the file, or infinite.
        q_damp: damping by the resolution of the instrument, 1/Å.
        strain: largest absolute principal strain of the variable-cell comparison.
    """

    neutron: bool = False
    deuterated: bool = False
    r_min: float = 1.0
    r_max: float = 15.0
    width: float = 0.5
    b_iso: float = 0.5
    q_max: float | None = None
    q_damp: float = 0.03
    strain: float = 0.05

    @property
    def profile(self) -> Profile:
        """Gaussian of a distance between two atoms that move independently, with <u²> = B / (8 pi²) for each."""
        sigma = math.sqrt(2 * self.b_iso / (8 * math.pi**2))
        return Profile(sigma * math.sqrt(8 * math.log(2)), 0.0, None if self.q_max is None else self.q_max / (2 * math.pi))


@dataclass(frozen=True)
class PairLines:
    """Distances of a crystal as lines in r, for `variable_cell`.

    Attributes:
        vectors: (k, 3) vectors between atoms, one of each set of equivalent ones, Å.
        weights: (k,) sum of b_i b_j / (N <b>²) of each set.
        strains: (d, 3, 3) orthonormal symmetric strains that keep the point group.
        density: atoms per Å³.
        damping: Qdamp, 1/Å.
        radial: whether the areas are those of r G(r) instead of G(r).
    """

    vectors: np.ndarray
    weights: np.ndarray
    strains: np.ndarray
    density: float
    damping: float
    radial: bool = False
    sense: int = field(default=1, init=False)

    def place(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return distances in Å, areas of the lines in G(r) in 1/Å, and derivatives of the distances by themselves.

        The factor 1/r of G(r) is taken at the distance. It varies little over the width of a line.
        """
        areas = self.weights * np.exp(-((self.damping * lengths) ** 2) / 2)
        return lengths, areas if self.radial else areas / lengths, np.ones_like(lengths)

    def background(self, measured: Measured, volumes: np.ndarray) -> np.ndarray:
        """Return -4 pi rho r on the grid (m, n) for relative volumes (m,), as areas."""
        r = measured.start + measured.step * np.arange(measured.points)
        line = -4 * math.pi * self.density * measured.step * r * np.exp(-((self.damping * r) ** 2) / 2)
        return np.asarray(line / volumes[:, None])


def pair_lines(atoms: Atoms, settings: PairSettings, symmetry: bool = True) -> PairLines:
    """Return the distances of a crystal up to the largest one that a strain moves into the range of `settings`.

    Args:
        atoms: crystal, periodic in three directions.
        settings: see `PairSettings`.
        symmetry: whether strains keep the symmetry of the crystal.

    Raises:
        BadInput: an element has no scattering length, or the mean scattering length vanishes.
    """
    cell, scaled, numbers, dataset = primitive(atoms, symmetry)
    rotations = np.eye(3, dtype=int)[None] if dataset is None else np.unique(dataset.rotations, axis=0)
    owners = np.arange(len(numbers)) if dataset is None else dataset.equivalent_atoms
    strains = allowed_strains(cell, rotations)
    reach = (settings.r_max + settings.width) * math.exp(settings.strain)
    batch = CrystalBatch.from_atoms([Atoms(numbers, scaled_positions=scaled, cell=cell, pbc=True)])
    edges = neighbour_edges(batch, reach)
    centre, neighbour = edges.centre.numpy(), edges.neighbour.numpy()
    # Equivalent atoms have the same distances, so that one of them is the centre for all.
    first = centre == owners[centre]
    vectors, centre, neighbour = edges.vectors(batch).numpy()[first], centre[first], neighbour[first]
    scattering = _weights(numbers, settings)
    share = np.bincount(owners, minlength=len(numbers))[centre] / len(numbers)
    weights = share * scattering[centre] * scattering[neighbour]
    # Vectors with equal lengths and equal first derivatives of the length by every strain are merged.
    invariants = np.column_stack([(vectors**2).sum(1), np.einsum("ki,dij,kj->kd", vectors, strains, vectors, optimize=True)])
    _, chosen, own = np.unique(np.round(invariants, 3), axis=0, return_index=True, return_inverse=True)
    merged = np.bincount(own.ravel(), weights, len(chosen))
    return PairLines(vectors[chosen], merged, strains, len(numbers) / abs(np.linalg.det(cell)), settings.q_damp)


def _weights(numbers: np.ndarray, settings: PairSettings) -> np.ndarray:
    """Return scattering weights (n,) of atoms relative to their mean."""
    kinds, own = np.unique(numbers, return_inverse=True)
    source = Radiation(1.0, True, settings.deuterated)
    values = np.array([source.amplitudes(int(z), np.zeros(1))[0] for z in kinds]) if settings.neutron else kinds.astype(float)
    mean = values[own].mean()
    if abs(mean) < 0.05 * np.abs(values).max():
        raise BadInput("the mean neutron scattering length of a structure is close to 0, so that G(r) is not defined")
    relative: np.ndarray = values[own] / mean
    return relative


@dataclass(frozen=True)
class PairData:
    """A measured pair distribution function, prepared for comparison.

    Attributes:
        settings: see `PairSettings`; the range is that of the data.
        r: (n,) uniform grid, Å.
        g: (n,) measured G(r) on this grid, 1/Å².
        levels: the function for decreasing widths of the triangle.
        fit: settings of the variable-cell fit.
    """

    settings: PairSettings
    r: np.ndarray
    g: np.ndarray
    levels: list[Measured]
    fit: FitSettings


def pair_data(r: np.ndarray, g: np.ndarray, settings: PairSettings | None = None) -> PairData:
    """Prepare a measured pair distribution function.

    Args:
        r: (n,) increasing distances, Å.
        g: (n,) G(r), 1/Å².
        settings: see `PairSettings`.

    Raises:
        BadInput: the data do not overlap with the range of the settings, or are zero.
    """
    settings = settings or PairSettings()
    inside = (r >= settings.r_min) & (r <= settings.r_max)
    if inside.sum() < 10:
        raise BadInput(f"G(r) has {int(inside.sum())} points between {settings.r_min:g} and {settings.r_max:g} Å; at least 10 are needed")
    grid, values = uniform(r[inside], g[inside], settings.width / GRID)
    if not np.abs(values).max() > 0:
        raise BadInput("G(r) is zero everywhere; is the column of G right?")
    measured = Measured(grid[0], grid[1] - grid[0], values / np.abs(values).max(), settings.width, settings.profile)
    fit = FitSettings(bound=settings.strain, zero=0.0, widths=(4, 2, 1))
    return PairData(settings, grid, values, stages(measured, fit), fit)


def similarity(candidates: Sequence[Atoms], data: PairData) -> np.ndarray:
    """Return the similarity (n,) of crystals in their own cells to a measured pair distribution function, at most 1.

    Raises:
        BadInput: as for `pair_lines`.
    """
    return np.array([plain_similarity(pair_lines(atoms, data.settings), data.levels[-1], 0.0)[0] for atoms in candidates])


def fit_pairs(atoms: Atoms, data: PairData, symmetry: bool = True, progress: Progress = silent) -> CellFit:
    """Return the similarity of a crystal to a measured pair distribution function in its own and in the best strained cell.

    `progress` is called with a `Step` of each stage, see `fit_cell`.

    Raises:
        BadInput: as for `pair_lines`.
    """
    guess = None
    if not symmetry:
        within = fit_pairs(atoms, data, progress=progress)
        guess = replace(within, strain=turned(atoms, within.strain))
    return fit_cell(pair_lines(atoms, data.settings, symmetry), data.levels, data.fit, guess, progress)


def pair_distribution(
    atoms: Atoms, r: np.ndarray, settings: PairSettings, strain: np.ndarray | None = None, symmetry: bool = True
) -> np.ndarray:
    """Return G(r) of a crystal, 1/Å².

    Args:
        atoms: crystal, periodic in three directions.
        r: (n,) uniform increasing distances above 0, Å.
        settings: weights, broadening, Qmax and Qdamp; the range is that of `r`.
        strain: (3, 3) logarithmic strain; None: none.
        symmetry: whether the strain keeps the symmetry of the crystal.

    Raises:
        BadInput: as for `pair_lines`.
    """

    # Tails of lines beyond the end reach into the range.
    lines = replace(pair_lines(atoms, replace(settings, r_max=float(r[-1]) + 1.0), symmetry), radial=True)
    step = float(r[1] - r[0])
    margin = math.ceil(1.0 / step)
    grid = Measured(float(r[0]) - margin * step, step, np.ones(len(r) + 2 * margin), settings.width, settings.profile)
    stretch = np.zeros((3, 3)) if strain is None else strain
    background = lines.background(grid, np.exp([np.trace(stretch)]))[0]
    curve = grid.curve(strained_curve(lines, grid, stretch, 0.0) - background)[margin : margin + len(r)]
    return np.asarray(curve / r + background[margin : margin + len(r)] / step)


def calculated(atoms: Atoms, data: PairData, strain: np.ndarray, symmetry: bool = True) -> np.ndarray:
    """Return G(r) of a strained crystal on the grid of a measured one, scaled to it by least squares, 1/Å².

    Raises:
        BadInput: as for `pair_lines`.
    """
    curve = pair_distribution(atoms, data.r, data.settings, strain, symmetry)
    return np.asarray(curve * max(float(curve @ data.g), 0.0) / max(float(curve @ curve), 1e-300))
