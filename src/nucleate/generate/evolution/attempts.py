"""Repeated attempts of an operator that draws its numbers anew."""

from __future__ import annotations

from collections.abc import Callable

from ase import Atoms

from nucleate.generate.tries import NotPlaced

ATTEMPTS = 5
"""Largest number of children that one call of an operator tries to make."""


def first_placed(attempt: Callable[[], Atoms], attempts: int = ATTEMPTS) -> Atoms:
    """Return the first child that an attempt makes.

    Args:
        attempt: makes a child, or raises `NotPlaced`; it draws other random numbers each time.
        attempts: largest number of calls.

    Raises:
        NotPlaced: all attempts failed; the reason is that of the last one.
    """
    for left in reversed(range(attempts)):
        try:
            return attempt()
        except NotPlaced:
            if not left:
                raise
    raise NotPlaced("no attempt was made")
