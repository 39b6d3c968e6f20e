"""How many minima are still unseen, from how often each has been found."""

from __future__ import annotations

from collections.abc import Sequence


def unseen_probability(counts: Sequence[int]) -> float:
    """Return the probability that the next find is a minimum that has not been found yet, by the estimate of Good and Turing.

    It is the number of minima found exactly once divided by the number of finds: I. J. Good, Biometrika 40, 237 (1953).

    Args:
        counts: how often each minimum has been found; zeros do not count.

    Returns:
        A number from 0 to 1; 1 if nothing has been found.
    """
    found = [count for count in counts if count > 0]
    return sum(count == 1 for count in found) / sum(found) if found else 1.0


def expected_number(counts: Sequence[int]) -> float:
    """Return a lower bound of the expected number of minima, found and unseen, by the bias-corrected estimate of Chao.

    With f1 minima found once and f2 found twice it is the number found plus f1 (f1 - 1) / (2 (f2 + 1)): A. Chao, Scand. J. Stat. 11, 265
    (1984).

    Args:
        counts: how often each minimum has been found; zeros count as found by other means.
    """
    once, twice = sum(count == 1 for count in counts), sum(count == 2 for count in counts)
    return len(counts) + once * (once - 1) / (2.0 * (twice + 1.0))
