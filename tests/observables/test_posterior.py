"""Prior, likelihoods and posterior."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from nucleate.polymorphs.posterior import log_likelihood_of_curve, log_likelihood_of_shifts, log_prior, posterior


def test_it_is_normalised_and_does_not_depend_on_constants(rng):
    one, other = rng.normal(0, 300, (2, 40))
    probabilities = posterior(one, other)
    assert probabilities.sum() == pytest.approx(1.0)
    assert probabilities == pytest.approx(posterior(one - 1e4, other + 77))


def test_prior_is_the_mean_over_the_error_of_the_energy():
    energies = np.array([0.0, 3.0, 20.0, 90.0])
    prior = np.exp(log_prior(energies, 25.0, 5.0))
    for energy, value in zip(energies, prior, strict=True):
        top = quad(lambda x, e=energy: np.exp(-x / 25) * norm.pdf(x, e, 5), 0, 200, points=[energy])[0]
        assert value == pytest.approx(top / norm.cdf(energy / 5), rel=1e-6)
    assert np.exp(log_prior(energies, 25.0, 0.0)) == pytest.approx(np.exp(-energies / 25))


def test_an_error_makes_low_energies_alike():
    energies = np.array([0.0, 2.0])
    sharp, blurred = (log_prior(energies, 1.0, error) for error in (0.0, 10.0))
    assert 0 < blurred[0] - blurred[1] < 0.2 * (sharp[0] - sharp[1])


def test_likelihood_grows_with_similarity_and_stays_finite():
    values = log_likelihood_of_curve(np.array([-0.2, 0.0, 0.5, 0.9, 0.99, 1.0, 1.0 + 1e-12]), 8.0)
    assert np.isfinite(values).all()
    assert (np.diff(values) >= 0).all()
    assert values[4] - values[3] == pytest.approx(-4 * (np.log(1 - 0.99**2) - np.log(1 - 0.81)))


def test_shifts_with_larger_errors_than_stated_are_less_decisive():
    """The same difference of chi² counts less if even the best candidate deviates by more than the standard errors."""

    def odds(best):
        first, second = log_likelihood_of_shifts(np.array([best, best + 8.0]), 12)
        return first - second

    assert odds(12.0) == pytest.approx(4.0, rel=0.25)
    assert odds(60.0) < 0.4 * odds(12.0)
    known = log_likelihood_of_shifts(np.array([60.0, 68.0]), 12, np.inf)
    assert known[0] - known[1] == pytest.approx(4.0)
