"""Baseline model: extremely randomised trees on element features, symmetric in a-b and b-a.

P. Geurts, D. Ernst, L. Wehenkel, Mach. Learn. 63, 3 (2006), doi 10.1007/s10994-006-6226-1; scikit-learn's implementation.
"""

from __future__ import annotations

import numpy as np

from nucleate.spins.models.data import Pairs
from nucleate.spins.models.features import symmetric

TREES = 300


class ElementTrees:
    """Forest model of couplings; the spread of its trees is the uncertainty."""

    def __init__(self, seed: int = 0):
        self.seed = seed

    def fit(self, pairs: Pairs) -> ElementTrees:
        """Train the trees."""
        from sklearn.ensemble import ExtraTreesRegressor

        self._forest = ExtraTreesRegressor(TREES, random_state=self.seed, min_samples_leaf=1).fit(symmetric(pairs), pairs.couplings)
        return self

    def predict(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Return couplings and the standard deviation over the trees, (n,) in meV."""
        x = symmetric(pairs)
        every = np.array([tree.predict(x) for tree in self._forest.estimators_])
        return every.mean(axis=0), every.std(axis=0)
