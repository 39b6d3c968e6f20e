from xml.etree import ElementTree

from nucleate.report.svg import draw_svg


def test_a_title_stays_inside_its_attribute():
    title = '"></svg><script>alert(1)</script>&<'
    svg = draw_svg(lambda axes: axes.plot([0, 1], [0, 1]), title)
    assert "<script>" not in svg
    assert ElementTree.fromstring(svg).attrib["aria-label"] == title
