import math

import numpy as np
import pytest

from nucleate.potentials.calibration import Z90, calibrate


def gaussian(n, scale, seed):
    """Errors whose true deviation is `scale` times the spread that the committee reports."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.01, 0.3, n)
    return scale * spread * rng.normal(size=n), spread


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5, 20.0])
def test_factor_recovers_the_scale(scale):
    errors, spread = gaussian(20000, scale, 0)
    assert calibrate(errors, spread, 1.0, 0.0).factor == pytest.approx(scale, rel=0.03)


def test_coverage_judges_the_old_factor():
    errors, spread = gaussian(20000, 2.0, 1)
    assert calibrate(errors, spread, 2.0, 0.0).coverage == pytest.approx(0.9, abs=0.01)
    # P(|z| < 1.6449 / 2)
    too_sure = calibrate(errors, spread, 1.0, 0.0).coverage
    assert too_sure == pytest.approx(math.erf(Z90 / 2 / math.sqrt(2)), abs=0.01)


def test_factor_fitted_on_one_half_covers_the_other():
    errors, spread = gaussian(4000, 3.3, 2)
    fitted = calibrate(errors[:2000], spread[:2000], 1.0, 0.0).factor
    assert calibrate(errors[2000:], spread[2000:], fitted, 0.0).coverage == pytest.approx(0.9, abs=0.03)


def test_small_rounds_with_history_cover_ninety_percent_on_average():
    """As in the loop: 8 labels a round, the last 40 ratios remembered."""
    rng = np.random.default_rng(3)
    factor, history, inside = 1.0, np.zeros(0), []
    for step in range(400):
        spread = rng.uniform(0.01, 0.3, 8)
        errors = 1.8 * spread * rng.normal(size=8)
        result = calibrate(errors, spread, factor, 0.0, history)
        factor = result.factor
        history = np.concatenate([history, np.abs(errors) / spread])[-40:]
        if step >= 5:
            inside.append(result.coverage)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.03)


def test_rank_correlation():
    spread = np.linspace(0.01, 0.2, 30)
    assert calibrate(spread * 1.5, spread, 1.0, 0.0).rank_correlation == pytest.approx(1.0)
    assert calibrate(spread[::-1], spread, 1.0, 0.0).rank_correlation == pytest.approx(-1.0)
    assert calibrate(spread[:3], spread[:3], 1.0, 0.0).rank_correlation is None
    assert calibrate(spread, np.full(30, 0.1), 1.0, 0.0).rank_correlation is None


def test_no_labels_keep_the_factor():
    empty = calibrate(np.zeros(0), np.zeros(0), 1.7, float("nan"))
    assert empty.factor == 1.7
    assert empty.coverage is None
    assert empty.labels == 0


def test_no_spread_gives_a_bounded_factor():
    result = calibrate(np.array([0.1, 0.2]), np.zeros(2), 1.0, 0.0)
    assert result.factor == 50.0
    assert result.coverage == 0.0
    assert calibrate(np.zeros(5), np.full(5, 0.1), 1.0, 0.0).factor == 0.2
