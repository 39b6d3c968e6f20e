"""Expected calls, shares and their intervals against closed forms."""

import numpy as np
import pytest

from nucleate.benchmark.statistics import expected_calls, interval, pretrained_summary, random_summary, search_summary, wilson


def test_wilson_interval_as_published():
    # Newcombe, Stat. Med. 17, 857 (1998), table I: 81 of 263, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    low, high = wilson(10, 10)
    assert high == 1.0
    assert low == pytest.approx(0.7225, abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_expected_calls_are_those_of_a_geometric_law():
    rng = np.random.default_rng(0)
    hits = rng.random(20000) < 0.05
    trials = [(70, bool(hit)) for hit in hits]
    assert expected_calls(trials) == pytest.approx(70 / 0.05, rel=0.05)
    assert expected_calls([(70, False)] * 5) is None


def test_interval_shrinks_with_the_root_of_the_units():
    rng = np.random.default_rng(1)
    for n in (50, 5000):
        sample = rng.exponential(1.0, n)
        width = np.ptp(interval(n, lambda drawn, sample=sample: float(sample[drawn].mean())))
        assert width == pytest.approx(2 * 1.96 * sample.std() / n**0.5, rel=0.1)
    assert interval(10, lambda drawn: None) == [None, None]


def test_a_seed_without_a_hit_costs_but_does_not_count():
    runs = [
        {"first": 40, "first_low": 30, "calls": 40, "seconds": 1.0},
        {"first": None, "first_low": 90, "calls": 300, "seconds": 2.0},
    ]
    said = search_summary(runs)
    assert said["ert"] == 340.0
    # By energy both seeds hit, and calls after the hit do not count.
    assert said["low"]["ert"] == 60.0
    assert said["low"]["hits"] == 2
    assert said["hits"] == 1
    assert said["success"]["50"]["share"] == 0.5
    assert said["success"]["300"]["share"] == 0.5


def test_random_search_without_a_hit_gives_a_bound():
    said = random_summary([{"calls": 80, "hit": False, "low": False}] * 30)
    assert said["ert"] is None
    assert said["interval"] == [None, None]
    assert said["ert_at_least"] == said["low"]["ert_at_least"] == 800.0


def test_pretrained_order_counts_up_to_the_hit():
    confirmed = {
        4: {"calls": 10, "hit": False, "low": True},
        2: {"calls": 7, "hit": True, "low": True},
        9: {"calls": 100, "hit": False, "low": False},
    }
    said = pretrained_summary([4, 2, 9], 20, confirmed)
    assert said["calls"] == 17
    assert said["rank"] == 2
    assert said["ert"] == 17.0
    assert said["low"]["ert"] == 10.0


def test_an_interval_may_be_open_above():
    # 3 hits in 200: about 5 % of the draws have none.
    said = random_summary([{"calls": 100, "hit": k < 3, "low": k < 3} for k in range(200)])
    low, high = said["interval"]
    assert low < said["ert"]
    assert high is None
