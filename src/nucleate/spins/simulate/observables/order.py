"""Order parameter at given wave vectors and structure factor."""

from __future__ import annotations

import numpy as np

from nucleate.spins.simulate.lattice import SpinLattice


def phases(lattice: SpinLattice, wave_vectors: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Return phases conj(x_s) exp(-2 pi i q . R), complex (w, N), for spins in cells R; see `curie.waves_of` for q (w, 3) and x (w, n).

    For vector amplitudes x (w, n, 3) the result has shape (w, N, 3).
    """
    grid = np.stack(np.meshgrid(*(np.arange(k) for k in lattice.size), indexing="ij"), -1).reshape(-1, 3)
    waves = np.exp(-2j * np.pi * (wave_vectors @ grid.T))
    return np.einsum("wc,ws...->wcs...", waves, sites.conj()).reshape(len(wave_vectors), -1, *sites.shape[2:])


def order_squared(spins: np.ndarray, phase: np.ndarray) -> float:
    """Return the sum over waves of |mean of phase times spin|^2, which is one in any domain of the order and in mixtures of its waves."""
    amplitudes = phase @ spins if phase.ndim == 2 else phase.reshape(len(phase), -1) @ spins.ravel()
    return float((np.abs(amplitudes / len(spins)) ** 2).sum())


def structure_factor(lattice: SpinLattice, spins: np.ndarray) -> np.ndarray:
    """Return |sum_i e_i exp(-i q . r_i)|^2 / N, (n_a, n_b, n_c), at the commensurate wave vectors q = (h/n_a, k/n_b, l/n_c).

    Positions inside the cell are included, so q is the physical wave vector in the first reciprocal cell.
    """
    n = len(lattice.couplings.positions)
    cells = spins.reshape(*lattice.size, n, 3)
    waves = np.fft.fftn(cells, axes=(0, 1, 2))
    q = np.stack(np.meshgrid(*(np.fft.fftfreq(k) for k in lattice.size), indexing="ij"), -1)
    inside = lattice.couplings.positions @ np.linalg.inv(lattice.couplings.cell)
    factor = np.exp(-2j * np.pi * (q @ inside.T))
    summed = (waves * factor[..., None]).sum(axis=3)
    return (np.abs(summed) ** 2).sum(axis=-1) / len(spins)
