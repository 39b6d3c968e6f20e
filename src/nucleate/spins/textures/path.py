"""Minimum energy paths between two states of spins: the geodesic nudged elastic band.

Distances, tangents and displacements are those of unit vectors on spheres (P. F. Bessarab, V. M. Uzdin, H. Jónsson, Comput. Phys. Commun.
196, 335 (2015), arXiv:1502.05065). Tangents point to the image of higher energy (G. Henkelman, H. Jónsson, J. Chem. Phys. 113, 9978
(2000), doi 10.1063/1.1323224), and the highest image climbs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nucleate.spins.textures.surface import SpinSurface, across, unit

CLIMB = 0.1
"""Largest torque on the path, relative to the largest coupling, below which the highest image climbs."""
CONVERGED = 1e-4
"""Largest torque on the climbing image, relative to the largest coupling, of a converged path."""
LARGEST_MOVE = 0.1
"""Largest rotation of a spin in one step, in radians."""


@dataclass(frozen=True)
class SpinPath:
    """Path between two states.

    Attributes:
        images: (m, N, 3) states, the given ones at the ends.
        distances: (m,) length of the path in radians.
        energies: (m,) energies in meV.
        torque: Largest torque on the highest image relative to the largest coupling, along the path included.
        converged: Whether this torque is below `CONVERGED`.
        steps: Number of steps.
    """

    images: np.ndarray
    distances: np.ndarray
    energies: np.ndarray
    torque: float
    converged: bool
    steps: int

    @property
    def barrier(self) -> float:
        """Highest energy on the path above its first state in meV; zero if the path only falls."""
        return float(self.energies.max() - self.energies[0])


def geodesic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the angles (..., N) in radians between unit vectors (..., N, 3)."""
    found: np.ndarray = np.arctan2(np.linalg.norm(np.cross(first, second), axis=-1), (first * second).sum(axis=-1))
    return found


def along_geodesics(first: np.ndarray, second: np.ndarray, images: int, rng: np.random.Generator) -> np.ndarray:
    """Return states (images, N, 3) in which each spin turns uniformly; opposite spins turn through random directions."""
    axis = np.cross(first, second)
    opposite = np.linalg.norm(axis, axis=1) < 1e-8
    axis[opposite] = np.cross(first[opposite], rng.standard_normal((opposite.sum(), 3)))
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    side = np.cross(axis / np.where(length > 0, length, 1), first)
    turned = np.linspace(0, 1, images)[:, None, None] * geodesic(first, second)[None, :, None]
    return unit(np.cos(turned) * first + np.sin(turned) * side)


def _tangents(images: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Return the unit tangents (m - 2, N, 3) of the inner images."""
    ahead = across(images[2:] - images[1:-1], images[1:-1])
    behind = across(images[1:-1] - images[:-2], images[1:-1])
    up, down = energies[2:] - energies[1:-1], energies[1:-1] - energies[:-2]
    most, least = np.maximum(np.abs(up), np.abs(down)), np.minimum(np.abs(up), np.abs(down))
    rises = energies[2:] > energies[:-2]
    weights = np.where((up > 0) & (down > 0), 1.0, np.where((up < 0) & (down < 0), 0.0, np.where(rises, most, least)))
    others = np.where((up > 0) & (down > 0), 0.0, np.where((up < 0) & (down < 0), 1.0, np.where(rises, least, most)))
    found = weights[:, None, None] * ahead + others[:, None, None] * behind
    norm = np.linalg.norm(found.reshape(len(found), -1), axis=1)
    scaled: np.ndarray = found / np.maximum(norm, 1e-300)[:, None, None]
    return scaled


def minimum_energy_path(
    surface: SpinSurface,
    images: np.ndarray,
    steps: int = 4000,
    progress: Callable[[int, float], None] = lambda step, torque: None,
) -> SpinPath:
    """Relax a path until its highest image is a saddle point.

    The velocity of each image is projected on its force (velocity projection optimisation).

    Args:
        surface: Energy surface.
        images: (m, N, 3) starting path; its first and last state are kept.
        steps: Largest number of steps.
        progress: Called with the step and the largest torque relative to the largest coupling, every hundred steps.
    """
    images = images.copy()
    m, scale = len(images), surface.scale
    evaluate = surface.of_images(m)
    energies, fields = evaluate(images)
    velocity = np.zeros_like(images[1:-1])
    # A step of the order of the inverse curvature of a spin with its neighbours.
    step = 0.3 / max(float(np.linalg.norm(fields, axis=2).max()), 1e-300) ** 0.5
    climbs = False
    best, taken = np.inf, 0
    for number in range(1, steps + 1):
        taken = number
        force = across(fields[1:-1], images[1:-1])
        tangents = _tangents(images, energies)
        lengths = np.linalg.norm(geodesic(images[1:], images[:-1]), axis=1)
        parallel = np.einsum("mnx,mnx->m", force, tangents)
        top = int(energies[1:-1].argmax())
        rest = force - parallel[:, None, None] * tangents
        torque = float(np.linalg.norm(rest, axis=2).max()) / scale
        climbs = climbs or torque < CLIMB
        total = rest + (scale * (lengths[1:] - lengths[:-1]))[:, None, None] * tangents
        if climbs:
            total[top] = force[top] - 2 * parallel[top] * tangents[top]
            best = float(np.linalg.norm(force[top], axis=1).max()) / scale
            if best < CONVERGED:
                break
        if number % 100 == 0:
            progress(number, torque)
        # Each image keeps the part of its velocity along the force, unless it points against it.
        power = np.einsum("mnx,mnx->m", velocity, total)
        norm = np.einsum("mnx,mnx->m", total, total)
        velocity = np.where(power > 0, power / np.maximum(norm, 1e-300), 0.0)[:, None, None] * total + step * total
        move = step * velocity
        largest = np.linalg.norm(move, axis=2).max()
        move *= min(1.0, LARGEST_MOVE / max(float(largest), 1e-300))
        images[1:-1] = unit(images[1:-1] + move)
        velocity = across(velocity, images[1:-1])
        energies, fields = evaluate(images)
    lengths = np.linalg.norm(geodesic(images[1:], images[:-1]), axis=1)
    return SpinPath(images, np.concatenate([[0.0], np.cumsum(lengths)]), energies, best, best < CONVERGED, taken)
