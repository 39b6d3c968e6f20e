"""Searches of these tests write reports without figures, whose drawing would take longer than the searches."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def without_figures(undrawn):
    """Figures are drawn by the tests of reports, of examples and of the command line."""
