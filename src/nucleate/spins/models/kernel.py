"""Gaussian process for couplings that is symmetric under exchange of the two sites.

    k(p, p') = s^2 k_r(r, r') [ k_1(a, a') k_1(b, b') + k_1(a, b') k_1(b, a') ] / 2

The site kernel k_1 is a Matérn 5/2 function of element features and of the leading principal components of the environments, each with its
own length scale; k_r compares distances. Length scales, s and the noise maximise the marginal likelihood (C. E. Rasmussen, C. K. I.
Williams, Gaussian Processes for Machine Learning, MIT Press 2006, eq. 2.30 and 5.8). The number of components is selected by
cross-validation on the training set. The predictive mean equals kernel ridge regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from nucleate.errors import NucleateError
from nucleate.spins.models.data import Pairs, folds
from nucleate.spins.models.features import host_species, pair_features, site_elements, surroundings

JITTER = 1e-8


@dataclass(frozen=True)
class Inputs:
    """Standardised inputs of the kernels.

    Attributes:
        sites: (n, 2, d) site features.
        pair: (n, e) pair features.
    """

    sites: Tensor
    pair: Tensor

    def __len__(self) -> int:
        return len(self.sites)


class FeatureMap:
    """Map from pairs to standardised inputs, fixed by the training pairs."""

    def __init__(self, pairs: Pairs, components: int):
        self.components = components if pairs.atoms is not None else 0
        elements = site_elements(pairs)
        self._element_mean, self._element_scale = _standard(elements.reshape(-1, elements.shape[-1]))
        if self.components:
            self.species = host_species(pairs)
            power = surroundings(pairs, self.species)
            flat = power.reshape(-1, power.shape[-1])
            self._mean = flat.mean(axis=0)
            _, values, axes = np.linalg.svd(flat - self._mean, full_matrices=False)
            kept = min(self.components, int((values > 1e-6 * max(values[0], 1e-12)).sum()))
            self._axes = axes[:kept]
            # One common scale, so that leading components keep the largest weight.
            self._scale = max(float(np.sqrt(((flat - self._mean) @ self._axes.T).var(axis=0).max(initial=0))), 1e-9)
        self._pair_mean, self._pair_scale = _standard(pair_features(pairs))

    def __call__(self, pairs: Pairs) -> Inputs:
        """Return the inputs of pairs."""
        parts = [(site_elements(pairs) - self._element_mean) / self._element_scale]
        if self.components and len(self._axes):
            parts.append((surroundings(pairs, self.species) - self._mean) @ self._axes.T / self._scale)
        pair = (pair_features(pairs) - self._pair_mean) / self._pair_scale
        return Inputs(torch.tensor(np.concatenate(parts, axis=-1)), torch.tensor(pair))


def _standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = x.std(axis=0)
    return x.mean(axis=0), np.where(scale > 1e-9, scale, 1.0)


def _matern(x: Tensor, y: Tensor, inverse_lengths: Tensor) -> Tensor:
    """Return the Matérn 5/2 kernel (n, m)."""
    if x.shape[-1] == 0:
        return torch.ones(len(x), len(y), dtype=x.dtype)
    d2 = ((x[:, None, :] - y[None, :, :]) * inverse_lengths).square().sum(-1)
    # The singular slope of the square root at zero cancels in the kernel.
    r = (5 * d2 + 1e-12).sqrt()
    return (1 + r + r * r / 3) * torch.exp(-r)


def _kernel(x: Inputs, y: Inputs, log: Tensor) -> Tensor:
    d, e = x.sites.shape[-1], x.pair.shape[-1]
    site, pair, strength = log[:d].exp(), log[d : d + e].exp(), (2 * log[d + e]).exp()
    aa, bb = _matern(x.sites[:, 0], y.sites[:, 0], site), _matern(x.sites[:, 1], y.sites[:, 1], site)
    ab, ba = _matern(x.sites[:, 0], y.sites[:, 1], site), _matern(x.sites[:, 1], y.sites[:, 0], site)
    return strength * _matern(x.pair, y.pair, pair) * (aa * bb + ab * ba) / 2


def _own(x: Inputs, log: Tensor) -> Tensor:
    """Return the kernel of each pair with itself (n,)."""
    d, e = x.sites.shape[-1], x.pair.shape[-1]
    apart = ((x.sites[:, 0] - x.sites[:, 1]) * log[:d].exp()).square().sum(-1)
    r = (5 * apart + 1e-12).sqrt()
    between = (1 + r + r * r / 3) * torch.exp(-r)
    return (2 * log[d + e]).exp() * (1 + between.square()) / 2


class PairGaussianProcess:
    """Gaussian process for couplings.

    Args:
        components: Number of principal components of the environments; zero uses elements and distances only.
        restarts: Number of starting points of the hyperparameter optimisation.
        seed: Random seed of the starting points.
    """

    def __init__(self, components: int = 4, restarts: int = 2, seed: int = 0):
        self.components, self.restarts, self.seed = components, restarts, seed

    def fit(self, pairs: Pairs, log: np.ndarray | None = None) -> PairGaussianProcess:
        """Fit couplings; `log` gives hyperparameters of an earlier fit, which are then kept.

        Raises:
            NucleateError: The kernel matrix cannot be factorised.
        """
        self.map = FeatureMap(pairs, self.components)
        self.inputs = self.map(pairs)
        self.mean = float(pairs.couplings.mean())
        self.scale = float(pairs.couplings.std()) or 1.0
        self._y = torch.tensor((pairs.couplings - self.mean) / self.scale)
        self.log = self._maximised() if log is None else np.asarray(log)
        self._solve()
        return self

    def _maximised(self) -> np.ndarray:
        size = self.inputs.sites.shape[-1] + self.inputs.pair.shape[-1]
        rng = np.random.default_rng(self.seed)
        best, found = np.inf, None

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            log = torch.tensor(values, requires_grad=True)
            try:
                root = torch.linalg.cholesky(self._covariance(log))
            except torch.linalg.LinAlgError:
                return 1e10, np.zeros_like(values)
            alpha = torch.cholesky_solve(self._y[:, None], root)[:, 0]
            evidence = 0.5 * self._y @ alpha + root.diagonal().log().sum()
            # Weak priors around a length scale of two standard deviations keep irrelevant length scales bounded.
            total = evidence + 0.5 * ((log[:size] + 0.7) / 1.5).square().sum() + 0.5 * ((log[size + 1] + 2.3) / 1.5).square()
            total.backward()
            assert log.grad is not None
            return float(total.detach()), log.grad.numpy()

        for _ in range(self.restarts):
            start = np.concatenate([rng.normal(-0.7, 0.4, size), [0.0, -2.3]])
            ended = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 120})
            if ended.fun < best:
                best, found = ended.fun, ended.x
        if found is None:
            raise NucleateError("Gaussian process: hyperparameter optimisation failed from all starting points")
        return found

    def _covariance(self, log: Tensor) -> Tensor:
        eye = torch.eye(len(self.inputs), dtype=torch.float64)
        return _kernel(self.inputs, self.inputs, log[:-1]) + ((2 * log[-1]).exp() + JITTER) * eye

    def _solve(self) -> None:
        log = torch.tensor(self.log)
        try:
            self._root = torch.linalg.cholesky(self._covariance(log))
        except torch.linalg.LinAlgError as error:
            raise NucleateError(f"Gaussian process: {error}") from None
        self._alpha = torch.cholesky_solve(self._y[:, None], self._root)[:, 0]

    @property
    def noise(self) -> float:
        """Standard deviation of the noise in meV."""
        return float(np.exp(self.log[-1])) * self.scale

    def predict(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Return couplings and standard deviations (n,) in meV; the latter exclude the noise of the data."""
        x, log = self.map(pairs), torch.tensor(self.log)
        cross = _kernel(x, self.inputs, log[:-1])
        left = _own(x, log[:-1]) - (cross * torch.cholesky_solve(cross.T, self._root).T).sum(-1)
        return (self.scale * (cross @ self._alpha) + self.mean).numpy(), (self.scale * left.clamp_min(0).sqrt()).numpy()

    def covariance(self, pairs: Pairs) -> np.ndarray:
        """Return the posterior covariance (n, n) of the couplings in meV²."""
        x, log = self.map(pairs), torch.tensor(self.log)
        cross = _kernel(x, self.inputs, log[:-1])
        return (self.scale**2 * (_kernel(x, x, log[:-1]) - cross @ torch.cholesky_solve(cross.T, self._root))).numpy()

    def correlation(self, pairs: Pairs, others: Pairs) -> np.ndarray:
        """Return the prior correlation (n, m), at most one."""
        x, y, log = self.map(pairs), self.map(others), torch.tensor(self.log)[:-1]
        return (_kernel(x, y, log) / (_own(x, log)[:, None] * _own(y, log)[None, :]).sqrt()).numpy()


def choose_components(pairs: Pairs, choices: tuple[int, ...] = (0, 2, 4, 8), count: int = 4, seed: int = 0) -> int:
    """Select the number of components of the environments by cross-validation on these pairs."""
    if pairs.atoms is None:
        return 0
    rng = np.random.default_rng(seed)
    groups = int(pairs.groups().max()) + 1
    # A single element pair cannot be split by elements; split it across crystals instead.
    parts = folds(pairs, min(count, groups), rng) if groups > 1 else folds(pairs, min(count, len(pairs)), rng, "ungrouped")
    errors = {}
    for choice in choices:
        missed = []
        for part in parts:
            rest = np.setdiff1d(np.arange(len(pairs)), part)
            model = PairGaussianProcess(choice, 1, seed).fit(pairs.take(rest))
            missed.append(np.abs(model.predict(pairs.take(part))[0] - pairs.couplings[part]))
        errors[choice] = float(np.concatenate(missed).mean())
    return min(errors, key=lambda choice: errors[choice])
