"""What all pages share: the environment of their templates, its filters, and scripts as text of the page."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape


@cache
def environment() -> Environment:
    """Return the jinja2 environment of the pages; `frame.html.j2` is their common frame."""
    made = Environment(
        loader=PackageLoader("nucleate", "report"),
        autoescape=select_autoescape(["html", "j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["duration"] = duration
    made.filters["minus"] = lambda text: text.replace("-", "\N{MINUS SIGN}")
    made.filters["sentence"] = lambda text: f"{text[:1].upper()}{text[1:]}"
    made.filters["symbol"] = symbol
    made.filters["subscripts"] = subscripts
    made.filters["subscripts_of_reaction"] = subscripts_of_reaction
    return made


@cache
def scripts() -> tuple[Markup, ...]:
    """Return the scripts that show structures, as text for `<script>` elements: 3Dmol, its use, and the pictures of a report."""
    folder = files("nucleate.report") / "static"
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("3Dmol-min.js", "crystal.js", "gallery.js")]
    # The end of a script element is recognised inside of strings too.
    return tuple(Markup(text.replace("</script", r"<\/script").replace("<!--", r"<\!--")) for text in texts)


def symbol(text: str) -> Markup:
    """Return the symbol of a space group as HTML, with bars for minus signs and subscripts for screw axes."""
    barred = re.sub(r"-(\d)", r'<span class="bar">\1</span>', str(escape(text)))
    return Markup(re.sub(r"_(\d)", r"<sub>\1</sub>", barred))


def subscripts(formula: str) -> Markup:
    """Return a formula as HTML with subscripts."""
    return Markup(re.sub(r"(\d+)", r"<sub>\1</sub>", str(escape(formula))))


def subscripts_of_reaction(text: str) -> Markup:
    """Return a reaction as HTML; numbers after a letter or parenthesis are subscripts, others are amounts."""
    return Markup(re.sub(r"(?<=[A-Za-z)])(\d+)", r"<sub>\1</sub>", str(escape(text))))


def duration(seconds: float) -> str:
    """Return a duration in s as text with a suitable unit."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
