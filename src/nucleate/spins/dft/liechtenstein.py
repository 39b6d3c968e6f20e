"""Exchange couplings from the response of one collinear state to small spin rotations.

With the local exchange fields B_i = V_i^up - V_i^down of the sites, their directions e_i and the Green's functions G of the state,
    J_ij = -k_B T sum_n Re Tr [B_i G_ij^up(i w_n) B_j G_ji^down(i w_n)],  w_n > 0,
for pairs counted once. This is minus the mixed second derivative of the electronic grand potential in the rotated field
(A. I. Liechtenstein et al., J. Magn. Magn. Mater. 67, 65 (1987), doi 10.1016/0304-8853(87)90721-9; finite temperature: A. Terasawa et al.,
J. Phys. Soc. Jpn. 88, 114706 (2019), doi 10.7566/JPSJ.88.114706). With spin-orbit coupling the derivative is a tensor (L. Udvardi et
al., Phys. Rev. B 68, 104436 (2003), doi 10.1103/PhysRevB.68.104436), of which one direction of the moments yields the transverse part. The
frequency sum is evaluated at the poles of T. Ozaki's continued fraction (Phys. Rev. B 75, 035123 (2007), doi 10.1103/PhysRevB.75.035123).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.fft import fftn, ifftn
from scipy.optimize import brentq
from scipy.special import expit

from nucleate.errors import BadInput

FEWEST = 40
"""Number of poles; N poles reproduce the Fermi function to 1e-13 for levels within N^2 / 4 widths of the Fermi level."""
DIRECTIONS = ((0.0, 0.0), (90.0, 0.0), (90.0, 90.0))
"""Polar and azimuthal angles in degrees of moments along z, x and y."""
PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def fermi_level(levels: np.ndarray, electrons: float, width: float) -> float:
    """Return the Fermi level in eV of Fermi-Dirac occupations of a width in eV for levels (..., K, bands) in eV; electrons are per cell.

    Raises:
        BadInput: There are not enough bands.
    """
    points = levels.shape[-2]
    most = levels.size / points
    if most <= electrons:
        raise BadInput(f"{most:g} bands are too few for {electrons:g} electrons and empty states; use more bands")
    reach = 50 * width
    low, high = levels.min() - reach, levels.max() + reach
    return float(brentq(lambda mu: expit((mu - levels) / width).sum() / points - electrons, low, high, xtol=1e-12))


def free_energy(levels: np.ndarray, electrons: float, width: float) -> float:
    """Return the free energy per cell in eV of electrons in levels (..., K, bands) in eV, for a fixed number of them.

    Raises:
        BadInput: There are not enough bands.
    """
    level = fermi_level(levels, electrons, width)
    return float(-width * np.logaddexp(0, (level - levels) / width).sum() / levels.shape[-2] + level * electrons)


@dataclass(frozen=True)
class SiteBands:
    """Eigenstates on a Gamma-centred k-point mesh, projected on a few functions at each magnetic site.

    Attributes:
        mesh: Number of k-points along each reciprocal vector, K in total, with the last index fastest.
        energies: (2, K, bands) energies of both spins in eV; (1, K, bands) for spinors.
        projections: (2, K, bands, n, p) projections of each state on the functions of each site, including the Bloch phases of cells; for
            spinors (1, K, bands, n, 2, p) with spin up along the moments first. Sites with fewer functions are padded with zeros.
        fields: (n, p, p) matrix elements of B between the functions of a site in eV.
        electrons: Number of electrons in the cell.
    """

    mesh: tuple[int, int, int]
    energies: np.ndarray
    projections: np.ndarray
    fields: np.ndarray
    electrons: float

    def fermi_level(self, width: float) -> float:
        """Return the Fermi level in eV for Fermi-Dirac occupations of the given width in eV.

        Raises:
            BadInput: There are not enough bands.
        """
        return fermi_level(self.energies, self.electrons, width)


def poles(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Ozaki's poles x_p > 0 and residues r_p: 1 / (e^x + 1) = 1/2 - sum_p r_p (1 / (x - i x_p) + 1 / (x + i x_p))."""
    k = np.arange(1, 2 * count)
    beside = 1 / (2 * np.sqrt((2 * k - 1) * (2 * k + 1)))
    values, vectors = np.linalg.eigh(np.diag(beside, 1) + np.diag(beside, -1))
    positive = values > 0
    return 1 / values[positive], vectors[0, positive] ** 2 / (4 * values[positive] ** 2)


def _greens(bands: SiteBands, width: float, used: int | None) -> Iterator[tuple[float, list[np.ndarray]]]:
    """Yield for each pole its weight and the Green's functions (K, P, P) of each spin between the functions of all sites."""
    level = bands.fermi_level(width)
    flat = bands.projections.reshape(*bands.projections.shape[:3], -1)
    bras = flat.conj()
    widest = np.abs(bands.energies - level).max() / width
    for x, residue in zip(*poles(used or max(FEWEST, int(np.ceil(2 * widest**0.5)))), strict=True):
        weights = 1 / (1j * x * width + level - bands.energies)
        yield (
            width * residue,
            [np.swapaxes(state * weight[..., None], 1, 2) @ bra for state, bra, weight in zip(flat, bras, weights, strict=True)],
        )


def _there(bands: SiteBands, greens: np.ndarray) -> np.ndarray:
    """Return the Green's functions (mesh..., n, P / n, n, P / n) from a site to a displaced site."""
    n = len(bands.fields)
    size = greens.shape[-1] // n
    return fftn(greens.reshape(*bands.mesh, n, size, n, size), axes=(0, 1, 2)) / len(greens)


def _back(bands: SiteBands, greens: np.ndarray) -> np.ndarray:
    """Return the Green's functions from a displaced site back."""
    n = len(bands.fields)
    size = greens.shape[-1] // n
    return ifftn(greens.reshape(*bands.mesh, n, size, n, size), axes=(0, 1, 2))


def isotropic_couplings(bands: SiteBands, width: float, used: int | None = None) -> np.ndarray:
    """Compute -d2 Omega / d theta_i d theta_j for rotations of two sites about one axis perpendicular to the moments.

    Args:
        bands: Bands of a collinear state without spin-orbit coupling.
        width: Electronic temperature k_B T in eV.
        used: Number of poles; default: as many as make the sum exact for these bands.

    Returns:
        J_ij times cos(e_i, e_j) of the state, that is minus the coupling for antiparallel moments, (mesh..., n, n) in eV: site i of one
        cell with site j of the cell displaced by the first indices, periodic in the number of mesh points. It contains each site with
        itself.
    """
    found = np.zeros((*bands.mesh, len(bands.fields), len(bands.fields)))
    for weight, (up, down) in _greens(bands, width, used):
        go = np.einsum("iab,xyzibjc->xyziajc", bands.fields, _there(bands, up), optimize=True)
        come = np.einsum("jab,xyzjbic->xyzjaic", bands.fields, _back(bands, down), optimize=True)
        found -= weight * np.einsum("xyziajc,xyzjcia->xyzij", go, come, optimize=True).real
    return found


def transverse_couplings(
    bands: SiteBands, width: float, first: np.ndarray, second: np.ndarray, shifts: np.ndarray, used: int | None = None
) -> np.ndarray:
    """Compute -d2 Omega / d e_i d e_j of spinors along the directions x, y of the frame whose z axis is along the moments.

    Args:
        bands: Bands with spin-orbit coupling.
        width: Electronic temperature k_B T in eV.
        first, second, shifts: (p,), (p,), (p, 3) pairs; the second site lies in the cell displaced by `shifts`, periodic in the number of
            mesh points.
        used: Number of poles, see `isotropic_couplings`.

    Returns:
        Transverse couplings (p, 2, 2) in eV.
    """
    n, p = bands.fields.shape[:2]
    cells = tuple(np.mod(shifts, bands.mesh).T)
    turns = np.einsum("ast,nbc->ansbtc", PAULI[:2] / 2, bands.fields).reshape(2, n, 2 * p, 2 * p)
    found = np.zeros((len(first), 2, 2))
    for weight, (greens,) in _greens(bands, width, used):
        go = _there(bands, greens)[(*cells, first, slice(None), second)]
        come = _back(bands, greens)[(*cells, second, slice(None), first)]
        left, right = turns[:, first] @ go, turns[:, second] @ come
        # Negative frequencies contribute the complex conjugate.
        found -= 2 * weight * np.einsum("xpab,ypba->pxy", left, right, optimize=True).real
    return found


def spin_frame(direction: tuple[float, float]) -> np.ndarray:
    """Return the rows x, y, z (3, 3) of the frame obtained by rotating about y by the polar angle and then about z."""
    theta, phi = np.deg2rad(direction)
    turn_y = np.array([[np.cos(theta), 0, np.sin(theta)], [0, 1, 0], [-np.sin(theta), 0, np.cos(theta)]])
    turn_z = np.array([[np.cos(phi), -np.sin(phi), 0], [np.sin(phi), np.cos(phi), 0], [0, 0, 1]])
    return (turn_z @ turn_y).T


def full_tensors(across: np.ndarray) -> np.ndarray:
    """Return tensors (p, 3, 3) from the parts (3, p, 2, 2) transverse to each of `DIRECTIONS`; repeated components are averaged."""
    found, shown = np.zeros((across.shape[1], 3, 3)), np.zeros((3, 3))
    for block, direction in zip(across, DIRECTIONS, strict=True):
        axes = spin_frame(direction)[:2]
        found += np.einsum("xa,pxy,yb->pab", axes, block, axes)
        shown += np.rint(np.abs(axes.T @ np.ones((2, 2)) @ axes))
    return found / shown


def local_stiffness(bands: SiteBands, width: float) -> np.ndarray:
    """Return the sum of a site's couplings over all sites, (n,) in eV, if these fields are the entire exchange field.

    A uniform rotation of all spins costs no energy, so the sum must balance the energy of the field, -Tr B_i (rho_up - rho_down)_ii / 2.
    """
    filled = expit((bands.fermi_level(width) - bands.energies) / width) / bands.energies.shape[1]
    density = [
        np.einsum("kb,kbnp,kbnq->npq", f, state, state.conj(), optimize=True) for f, state in zip(filled, bands.projections, strict=True)
    ]
    return -np.einsum("npq,nqp->n", bands.fields, density[0] - density[1]).real / 2
