"""Docstrings on the site: Markdown's code style becomes reStructuredText's, and what docutils cannot read is shown as it stands.

Docstrings in the sources are plain text in Google's layout. A formula or a table in one of them would be a warning, and so an error,
of the whole site.
"""

import io
import re
from typing import Any

from docutils.core import publish_doctree
from docutils.utils import Reporter

CODE = re.compile(r"(``[^`]+``|`[^`\n]+`)")
SPECIAL = re.compile(r"(\\|\*|\||(?<=\w)_(?=\W|$))")


def to_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Before Napoleon: `code` to ``code``; characters that reStructuredText would interpret are escaped."""
    own = list(lines)
    if any(".. " in line or ":class:" in line for line in own):
        return
    for number, line in enumerate(own):
        parts = CODE.split(line)
        for k, part in enumerate(parts):
            if k % 2:
                parts[k] = f"``{part.strip('`')}``"
                if k + 1 < len(parts) and parts[k + 1][:1].isalnum():
                    parts[k + 1] = "\\ " + parts[k + 1]
            elif not line.lstrip().startswith("*"):
                parts[k] = SPECIAL.sub(r"\\\1", part)
        lines[number] = "".join(parts)


def as_it_stands(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """After Napoleon: a literal block where docutils finds an error."""
    stream = io.StringIO()
    settings = {"report_level": Reporter.WARNING_LEVEL, "halt_level": Reporter.SEVERE_LEVEL + 1, "warning_stream": stream}
    # Sphinx's own directives need its environment: here their content counts, not they.
    text = re.sub(r"^(\s*)\.\. \w+::", r"\1.. container::", "\n".join(lines), flags=re.MULTILINE)
    try:
        publish_doctree(text, settings_overrides={**settings, "_disable_config": True})
    except AttributeError:
        return
    problems = [line for line in stream.getvalue().splitlines() if re.match(r"<string>:\d+: \((WARNING|ERROR|SEVERE)", line)]
    if any("Unknown" not in problem and "No directive" not in problem and "No role" not in problem for problem in problems):
        plain = [line.replace("\\", "") for line in lines]
        lines[:] = ["::", "", *["   " + line for line in plain], ""]


def setup(app: Any) -> dict[str, bool]:
    """Register the hooks with Sphinx, one on either side of Napoleon's (priority 500)."""
    app.connect("autodoc-process-docstring", to_rst, priority=400)
    app.connect("autodoc-process-docstring", as_it_stands, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
