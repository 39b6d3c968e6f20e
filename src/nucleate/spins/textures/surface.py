"""Energy surface of the directions of spins, and its minima."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.optimize import minimize

from nucleate.spins.simulate.fields import linear_fields
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.textures.dipoles import Dipoles

TORQUE = 1e-6
"""Largest torque of a stationary state, relative to the largest coupling."""


def unit(spins: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) with length one."""
    found: np.ndarray = spins / np.linalg.norm(spins, axis=-1, keepdims=True)
    return found


def across(vectors: np.ndarray, spins: np.ndarray) -> np.ndarray:
    """Return the parts of vectors (..., 3) at right angles to unit vectors (..., 3)."""
    found: np.ndarray = vectors - (vectors * spins).sum(axis=-1, keepdims=True) * spins
    return found


@dataclass(frozen=True)
class SpinSurface:
    """Energy of the directions of spins.

    Attributes:
        lattice: Supercell with couplings, on-site anisotropy and field.
        dipoles: Dipole-dipole interaction, or None.
    """

    lattice: SpinLattice
    dipoles: Dipoles | None = None

    @property
    def scale(self) -> float:
        """Largest component of a coupling in meV."""
        return float(np.abs(self.lattice.couplings.tensors).max())

    def evaluate(self, spins: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the energy in meV and the fields -dE/de (N, 3) in meV for spins (N, 3)."""
        energies, field = self._of_images(None, spins[None])
        return float(energies[0]), field[0]

    def of_images(self, count: int) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Return a function of `count` states (m, N, 3) that gives their energies (m,) in meV and fields -dE/de (m, N, 3) in meV."""
        lattice, stack = self.lattice, None
        if lattice.size[2] == 1 and not lattice.periodic[2]:
            # States of a film are computed at once, as layers that do not interact.
            known = lattice.couplings
            rows = known.shifts[:, 2] == 0
            kept = {name: getattr(known, name)[rows] for name in ("first", "second", "shifts", "tensors", "errors")}
            stack = SpinLattice.build(replace(known, **kept), (*lattice.size[:2], count), lattice.field, lattice.periodic)
        return partial(self._of_images, stack)

    def _of_images(self, stack: SpinLattice | None, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lattice, count = self.lattice, len(images)
        by_site = images.reshape(count, -1, len(lattice.onsite), 3)
        if stack is None:
            linear = np.array([linear_fields(lattice, image) for image in images]).reshape(by_site.shape)
        else:
            layers = images.reshape(count, *lattice.size[:2], -1, 3).transpose(1, 2, 0, 3, 4)
            found = linear_fields(stack, np.ascontiguousarray(layers).reshape(-1, 3))
            linear = found.reshape(*lattice.size[:2], count, -1, 3).transpose(2, 0, 1, 3, 4).reshape(by_site.shape)
        own = np.einsum("sxy,mcsy->mcsx", lattice.onsite, by_site)
        if self.dipoles is not None:
            linear = linear + self.dipoles.fields(images).reshape(by_site.shape)
        # Every pair contributes to the fields of both spins, so neighbours count half, and the external field whole.
        energies = -((0.5 * (linear + lattice.stencil.zeeman) + own) * by_site).sum(axis=(1, 2, 3))
        return energies, (linear + 2 * own).reshape(images.shape)

    def torque(self, spins: np.ndarray) -> float:
        """Return the largest torque relative to the largest coupling."""
        _, field = self.evaluate(spins)
        return float(np.linalg.norm(across(field, spins), axis=1).max()) / self.scale

    def relaxed(self, spins: np.ndarray, steps: int = 5000) -> tuple[np.ndarray, float]:
        """Minimise the energy from spins (N, 3) by L-BFGS on unnormalised vectors; return the spins and their energy in meV.

        The result is not converged if its torque exceeds `TORQUE`.
        """

        def sloped(x: np.ndarray) -> tuple[float, np.ndarray]:
            vectors = x.reshape(-1, 3)
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            e = vectors / lengths
            total, field = self.evaluate(e)
            return total, -(across(field, e) / lengths).ravel()

        limit = 0.1 * TORQUE * self.scale
        for _ in range(3):
            # A restart forgets the history of a line search that rounding has ended.
            options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 0.0, "gtol": limit, "maxcor": 20}
            result = minimize(sloped, spins.ravel(), jac=True, method="L-BFGS-B", options=options)
            spins = unit(result.x.reshape(-1, 3))
            if self.torque(spins) < TORQUE:
                break
        return spins, self.evaluate(spins)[0]
