from xml.etree import ElementTree

import numpy as np
import pytest

from nucleate.report.svg import LogTicks, draw_svg


def test_a_title_stays_inside_its_attribute():
    title = '"></svg><script>alert(1)</script>&<'
    svg = draw_svg(lambda axes: axes.plot([0, 1], [0, 1]), title)
    assert "<script>" not in svg
    assert ElementTree.fromstring(svg).attrib["aria-label"] == title


@pytest.mark.parametrize(("low", "high"), [(1e-6, 1e6), (0.5, 2000), (12, 19), (20, 300), (99, 101), (3e-5, 2e-4), (1, 10)])
def test_labels_of_a_logarithmic_axis_are_apart(low, high):
    ticks = [tick for tick in LogTicks().tick_values(low, high) if low <= tick <= high]
    assert 2 <= len(ticks) <= LogTicks.MOST
    texts = [f"{tick:.4g}" for tick in ticks]
    assert len(set(texts)) == len(texts)
    gaps = np.diff(np.log(ticks)) / np.log(high / low)
    # A label needs some 6 % of the height of a figure.
    assert gaps.min() > 0.07
