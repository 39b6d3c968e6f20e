"""Relaxation of directions that are the same in every cell, until the torques vanish."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from nucleate.spins.couplings import Couplings
from nucleate.spins.waves.modes import local_axes, total_couplings
from nucleate.units import MU_B

NEWTON_STEPS = 30
TORQUE = 1e-8
"""Largest torque of a stationary state relative to the largest field."""
FREE = 1e-9
"""Curvature relative to the largest one below which Newton's step does not move along a direction."""


def relaxed(couplings: Couplings, field: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Minimise the energy from unit vectors `start` (n, 3) by L-BFGS, then by Newton steps.

    Returns:
        Directions (n, 3), energy per cell in meV, and the largest torque relative to the largest field.
    """
    matrix = total_couplings(couplings)
    zeeman = MU_B * couplings.moments[:, None] * field

    def energy(e: np.ndarray) -> float:
        return float(-0.5 * e.ravel() @ matrix @ e.ravel() - (zeeman * e).sum())

    def fields(e: np.ndarray) -> np.ndarray:
        return (matrix @ e.ravel()).reshape(-1, 3) + zeeman

    def sloped(x: np.ndarray) -> tuple[float, np.ndarray]:
        lengths = np.linalg.norm(x.reshape(-1, 3), axis=1, keepdims=True)
        e = x.reshape(-1, 3) / lengths
        h = fields(e)
        return energy(e), -((h - (h * e).sum(axis=1, keepdims=True) * e) / lengths).ravel()

    result = minimize(sloped, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-10})
    e = result.x.reshape(-1, 3)
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    best, value = e, energy(e)
    for _ in range(NEWTON_STEPS):
        axes = local_axes(e)
        h = fields(e)
        slope = np.einsum("nax,nx->na", axes, h).ravel()
        if np.abs(slope).max() < 1e-12 * max(np.abs(h).max(), 1e-300):
            break
        n = len(e)
        spread = np.zeros((2 * n, 3 * n))
        for a in range(n):
            spread[2 * a : 2 * a + 2, 3 * a : 3 * a + 3] = axes[a]
        curvature = np.diag(np.repeat((h * e).sum(axis=1), 2)) - spread @ matrix @ spread.T
        # Directions of no curvature are rotations of the whole state.
        step = np.linalg.pinv(curvature, rcond=FREE, hermitian=True) @ slope
        step *= min(1.0, 0.3 / max(np.abs(step).max(), 1e-300))
        moved = e + np.einsum("na,nax->nx", step.reshape(n, 2), axes)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        changed = energy(moved)
        if changed > value + 1e-10 * abs(value):
            break
        e = moved
        if _torque(e, fields(e)) < _torque(best, fields(best)):
            best, value = e, changed
    return best, energy(best), _torque(best, fields(best))


def _torque(e: np.ndarray, h: np.ndarray) -> float:
    return float(np.linalg.norm(np.cross(e, h), axis=1).max() / max(np.abs(h).max(), 1e-300))
