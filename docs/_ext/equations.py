"""Equations as inline SVG, drawn when the site is built: pages need neither a script nor a network to show them.

ziamath draws them with the font STIX Two Math. Without ziamath, Sphinx's MathJax is used, which readers load from a CDN.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

log = logging.getLogger(__name__)
SIZE = 17.0
"""Font size in px of a drawing; the page scales it with its own text, of 16 px."""


@cache
def _svg(text: str, inline: bool) -> str:
    import ziamath

    # Plain paths: symbols shared by identifier would be lost where their first use on a page is hidden.
    ziamath.config.svg2 = False
    ziamath.config.precision = 2
    drawing = ziamath.Latex(text, size=SIZE, color="currentColor", inline=inline)
    element = drawing.svgxml()
    width, height = (float(element.attrib[name]) / 16 for name in ("width", "height"))
    drop = (drawing.getyofst() - drawing.margin) / 16 if inline else 0.0
    attributes = (
        f'role="img" aria-label="{escape(text, quote=True)}" style="width:{width:.3f}em;height:{height:.3f}em;vertical-align:{drop:.3f}em"'
    )
    drawn = re.sub(r'^<svg([^>]*?) width="[^"]*"([^>]*?) height="[^"]*"', r"<svg\1\2", drawing.svg())
    return drawn.replace("<svg", f"<svg {attributes}", 1)


def _drawn(text: str, inline: bool, node: nodes.Element) -> str:
    unknown = re.search(r">(\\[A-Za-z]+)", _mathml(text, inline))
    if unknown:
        log.warning("the equation contains %s, which is not supported", unknown[1], location=node)
    return _svg(text, inline)


@cache
def _mathml(text: str, inline: bool) -> str:
    from ziamath.tex import tex2mml

    return str(tex2mml(text, inline=inline))


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(f'<span class="equation">{_drawn(node.astext(), True, node)}</span>')
    raise nodes.SkipNode


def _display(writer: Any, node: nodes.math_block) -> None:
    number = f'<span class="eqno">({get_node_equation_number(writer, node)})</span>' if node["number"] else ""
    writer.body.append(writer.starttag(node, "div", CLASS="equation", ids=node["ids"]))
    writer.body.append(f"{number}{_drawn(node.astext(), False, node)}</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer `svg`."""
    app.add_html_math_renderer("svg", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
