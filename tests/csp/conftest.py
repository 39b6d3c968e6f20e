"""Searches of these tests write reports without figures, whose drawing would take longer than the searches; tests/report draws them."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def undrawn():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nucleate.report.figures.draw_svg", lambda draw, title, *size, **sizes: f"<svg aria-label='{title}'></svg>")
        yield
