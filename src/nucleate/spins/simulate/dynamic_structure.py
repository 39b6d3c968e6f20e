"""Dynamical structure factor of classical spins at a temperature.

    S(q, E) = 1 / (2 pi hbar N) sum_ij int dt exp(i E t / hbar) <s_i(t) . s_j(0)> exp(-i q . (r_i - r_j))

with s_i = m_i e_i / m_rms, so that its integral over all E is the static structure factor. The spins are drawn by Monte Carlo and move by
the undamped Landau-Lifshitz equation; spectra of overlapping windows with Hann's weights are averaged (P. D. Welch, IEEE Trans. Audio
Electroacoust. 15, 70 (1967)). Classical spins have equal intensity at E and -E, and the sum of both is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleate.errors import BadInput
from nucleate.progress import Progress, Step, silent
from nucleate.spins.couplings import Couplings
from nucleate.spins.simulate.dynamics import Dynamics
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.monte_carlo import MonteCarlo
from nucleate.spins.waves.spectrum import wave_path
from nucleate.spins.waves.state import coupled_directions, ordered_state
from nucleate.units import HBAR, K_B

SAMPLES = 4
"""Samples in a period of the fastest magnon of the ordered state."""
STEPS = 10
"""Time steps between two samples."""
MOST_VALUES = 10**8
"""Largest number of values that a run records, and of phases of the spins."""
EQUILIBRATION = 500
"""Sweeps of the heat bath before a run, each followed by over-relaxation."""
BETWEEN = 100
"""Sweeps between runs."""
ON_PATH = 1e-6
"""Distance in reciprocal vectors within which a wave vector of the supercell is on the path."""
POINTS = 4000
"""Points of the path among which those of the supercell are found."""


@dataclass(frozen=True)
class DynamicStructure:
    """Dynamical structure factor on a path.

    Attributes:
        temperature: Temperature in K.
        wave_vectors: (k, 3) wave vectors of the supercell on the path, in units of reciprocal vectors of the crystal.
        distances: (k,) length along the path in 1/Å.
        labels: (k,) names of special points, or empty strings.
        energies: (b,) energies in meV.
        intensities: (k, b) S(q, E) + S(q, -E) in 1/meV; per spin, summed over components.
        resolution: Full width at half maximum of a sharp mode in meV.
        peaks: (k,) energies of the highest intensities in meV, without the elastic line; NaN where there is none above the resolution.
    """

    temperature: float
    wave_vectors: np.ndarray
    distances: np.ndarray
    labels: list[str]
    energies: np.ndarray
    intensities: np.ndarray
    resolution: float
    peaks: np.ndarray


def dynamic_structure(
    couplings: Couplings,
    temperature: float,
    size: int = 12,
    path: str | None = None,
    *,
    resolution: float = 2.0,
    windows: int = 8,
    field: tuple[float, float, float] = (0.0, 0.0, 0.0),
    seed: int = 0,
    progress: Progress = silent,
) -> DynamicStructure:
    """Simulate the dynamical structure factor; see the module docstring.

    Args:
        couplings: Couplings.
        temperature: Temperature in K.
        size: Cells along each coupled lattice vector; only wave vectors of this supercell are resolved.
        path: Special points of the path, such as GXMG; None: ASE's standard path of the lattice.
        resolution: Wanted full width at half maximum in meV, which sets the length of a window.
        windows: Number of independent runs of three overlapping windows.
        field: Magnetic field in T.
        seed: Random seed.
        progress: Called with a `nucleate.progress.Step` after each run.

    Raises:
        BadInput: A number is out of range, or no wave vector of the supercell is on the path.
        NucleateError: The couplings have no ordered state, whose magnons determine the time step.
    """
    if not 0 < temperature < np.inf:
        raise BadInput(f"temperature {temperature:g} K: give a number above zero")
    if not 0 < resolution < np.inf:
        raise BadInput(f"resolution {resolution:g} meV: give a number above zero")
    if size < 2 or windows < 1:
        raise BadInput(f"size {size}, windows {windows}: give at least two cells and one window")
    cells = tuple(size if coupled else 1 for coupled in coupled_directions(couplings))
    wave_vectors, distances, labels = _on_path(couplings, cells, path)
    lattice = SpinLattice.build(couplings, (cells[0], cells[1], cells[2]), field)
    state = ordered_state(couplings, field)
    top = float(state.modes.energies(np.random.default_rng(0).random((500, 3))).max())
    period = 2 * np.pi * HBAR / max(top, resolution)
    step = period / (STEPS * SAMPLES)
    # Hann's window has a width of two lines of the transform.
    length = int(np.ceil(2 * 2 * np.pi * HBAR / resolution / (step * STEPS)))
    if max(6 * length, len(lattice)) * len(wave_vectors) > MOST_VALUES:
        raise BadInput(
            f"size {size}, resolution {resolution:g} meV: {len(wave_vectors)} wave vectors of {len(lattice)} spins at {2 * length} times"
            " exceed the memory of a run; take a smaller size, a wider resolution or a shorter path"
        )
    weights = couplings.moments / np.sqrt((couplings.moments**2).mean())
    phases = np.exp(-2j * np.pi * (wave_vectors @ np.linalg.inv(couplings.cell).T @ lattice.positions.T))
    phases *= np.tile(weights, int(np.prod(cells))) / np.sqrt(len(lattice))
    rng = np.random.default_rng(seed)
    # From a random start a large lattice would order in domains.
    spins = state.in_cells(lattice.size)
    sampler, moves = MonteCarlo(lattice), Dynamics(lattice, step, 0.0)
    hann = np.hanning(length + 1)[:-1]
    total = np.zeros((length, len(wave_vectors)))
    for run in range(windows):
        sampler.run(spins, 1 / (K_B * temperature), rng, BETWEEN if run else EQUILIBRATION, 1)
        moving = spins.copy()
        record = np.empty((2 * length, len(wave_vectors), 3), dtype=complex)
        for k in range(2 * length):
            record[k] = phases @ moving
            moves.run(moving, STEPS, rng)
        for start in (0, length // 2, length):
            waves = np.fft.fft(hann[:, None, None] * record[start : start + length], axis=0)
            total += (np.abs(waves) ** 2).sum(axis=2)
        progress(Step("runs", run + 1, windows))
    spacing = 2 * np.pi * HBAR / (length * step * STEPS)
    total /= 3 * windows * length * (hann**2).sum() * spacing
    half = length // 2
    energies = spacing * np.arange(half)
    both = total[:half].copy()
    both[1:] += total[-1:-half:-1]
    return DynamicStructure(
        temperature, wave_vectors, distances, labels, energies, both.T, 2 * spacing, np.array([_peak(energies, row) for row in both.T])
    )  # fmt: skip


def _on_path(couplings: Couplings, cells: tuple[int, ...], path: str | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the wave vectors (k, 3) of a supercell on a path, their places along it, and labels."""
    fine = wave_path(couplings, path, POINTS)
    size = np.array(cells)
    nearest = np.rint(fine.wave_vectors * size) / size
    away = np.linalg.norm((fine.wave_vectors - nearest) @ np.linalg.inv(couplings.cell).T, axis=1)
    # The path passes near a wave vector at the point that is closest to it.
    found: dict[tuple[tuple[float, ...], int], int] = {}
    segment = np.cumsum([bool(label) for label in fine.labels])
    for k in range(len(away)):
        key = (tuple(nearest[k].round(9)), int(segment[k]))
        if key not in found or away[k] < away[found[key]]:
            found[key] = k
    step = float(np.diff(fine.distances).max()) / (2 * np.pi)
    chosen = sorted({k for k in found.values() if away[k] <= 0.51 * step + ON_PATH})
    kept = [k for n, k in enumerate(chosen) if n == 0 or (np.abs(nearest[k] - nearest[chosen[n - 1]]) > 1e-9).any()]
    if not kept:
        raise BadInput(f"path: no wave vector of {' x '.join(map(str, cells))} cells is on it; use another size")
    ends = {k: label for k, label in enumerate(fine.labels) if label}
    labels = []
    for k in kept:
        near = [label for end, label in ends.items() if (np.abs(nearest[k] - fine.wave_vectors[end]) < 1e-6).all() and abs(end - k) < 3]
        labels.append(near[0] if near else "")
    return nearest[kept], fine.distances[kept], labels


def _peak(energies: np.ndarray, intensities: np.ndarray) -> float:
    """Return the energy of the highest intensity, by a parabola through its logarithm; NaN if it is elastic."""
    first = 3
    if len(intensities) < first + 2:
        return float("nan")
    k = first + int(intensities[first:-1].argmax())
    a, b, c = np.log(np.maximum(intensities[k - 1 : k + 2], 1e-300))
    if k == first and a > b:
        return float("nan")
    bend = a - 2 * b + c
    shift = 0.5 * (a - c) / bend if bend < 0 else 0.0
    return float(energies[k] + np.clip(shift, -1, 1) * (energies[1] - energies[0]))
