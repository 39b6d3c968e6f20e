"""Earth mover's distance between the atoms of two structures, each of weight 1/N, where only atoms of one element are exchanged.

Y. Rubner, C. Tomasi and L. J. Guibas, Int. J. Comput. Vis. 40, 99 (2000), doi 10.1023/A:1026543900054.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import coo_array
from scipy.spatial.distance import cdist

from nucleate.fingerprints.base import Environments

MOST_REPEATED = 120
"""Largest number of rows after repetition to a common multiple; beyond it the linear programme is faster than the assignment."""


def transport_distances(one: Environments, other: Environments, metric: str = "euclidean") -> np.ndarray:
    """Return the (n_one, n_other) earth mover's distances; infinity for structures of different compositions.

    Args:
        one, other: fingerprints of atoms.
        metric: distance of two rows, a name that scipy's `cdist` knows.
    """
    a, b = one.split(), other.split()
    result = np.empty((len(a), len(b)))
    for k, (rows, numbers) in enumerate(a):
        for l, (others, other_numbers) in enumerate(b):
            if one is other and l < k:
                result[k, l] = result[l, k]
            else:
                result[k, l] = _distance(rows, numbers, others, other_numbers, lambda x, y: cdist(x, y, metric))
    return result


def _distance(
    rows: np.ndarray, numbers: np.ndarray, others: np.ndarray, other_numbers: np.ndarray, ground: Callable[..., np.ndarray]
) -> float:
    total = 0.0
    for z in np.union1d(numbers, other_numbers):
        mine, theirs = rows[numbers == z], others[other_numbers == z]
        share = len(mine) / len(numbers)
        if not math.isclose(share, len(theirs) / len(other_numbers), rel_tol=1e-9):
            return math.inf
        total += share * transport_cost(ground(mine, theirs))
    return total


def transport_cost(cost: np.ndarray) -> float:
    """Return the smallest mean cost of moving rows of weight 1/n to columns of weight 1/m.

    Args:
        cost: (n, m) cost of each pair.
    """
    n, m = cost.shape
    size = math.lcm(n, m)
    if size <= MOST_REPEATED:
        # With equal weights an optimal plan is a permutation: G. Birkhoff, Univ. Nac. Tucumán Rev. A 5, 147 (1946).
        wide = np.repeat(np.repeat(cost, size // n, axis=0), size // m, axis=1)
        return float(wide[linear_sum_assignment(wide)].mean())
    return _programme(cost)


def _programme(cost: np.ndarray) -> float:
    """Return the same by scipy's linear programme."""
    n, m = cost.shape
    flow = np.arange(n * m)
    sums = coo_array((np.ones(2 * n * m), (np.concatenate([flow // m, n + flow % m]), np.concatenate([flow, flow]))), shape=(n + m, n * m))
    weights = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    # One of the constraints follows from the others; without it rounding of the weights cannot make the programme infeasible.
    found = linprog(cost.ravel(), A_eq=sums.tocsr()[:-1], b_eq=weights[:-1], bounds=(0, None), method="highs")
    if not found.success:
        raise ArithmeticError(f"the linear programme of the earth mover's distance failed: {found.message}")
    return float(found.fun)
