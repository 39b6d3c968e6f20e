"""Links that lead out of docs/ when the pages are read in the repository, and to a page of the site when they are read there.

Files of the repository that the site shows (`PAGES`) become links to that page; others become their path in code style.
"""

import posixpath
import re
from typing import Any

PAGES = {
    "benchmarks/RESULTS.md": "/results.md",
    "benchmarks/reference/convergence/README.md": "/convergence.md",
    "README.md": "/index.md",
    **{
        f"benchmarks/results/{room}.md": f"/results/{room}.md"
        for room in ("search", "potentials", "electrons", "spins", "onedim", "performance")
    },
}
ANY_LINK = re.compile(r"\[([^\]\n]+)\]\(((?![a-z]+:|/|#)[^)\s#]+)(#[^)\s]*)?\)")
LINK = re.compile(r"\[([^\]\n]+)\]\(((?:\.\./)+[^)\s#]+)(#[^)\s]*)?\)")


def rewrite(app: Any, docname: str, source: list[str]) -> None:
    """Replace the links of one page."""
    folder = posixpath.join("docs", posixpath.dirname(docname))

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[2]))
        if path in PAGES:
            return f"[{match[1]}]({PAGES[path]})"
        return match[0] if path.startswith("docs/") else f"`{path}`"

    source[0] = LINK.sub(target, source[0])


def rewrite_included(app: Any, relative_path: Any, parent_docname: str, content: list[str]) -> None:
    """Replace the links of a file of the repository that a page includes."""
    folder = posixpath.dirname(posixpath.normpath(posixpath.join("docs", str(relative_path))))

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[2]))
        return f"[{match[1]}]({PAGES[path]})" if path in PAGES else f"`{path}`"

    if not folder.startswith("docs"):
        content[0] = ANY_LINK.sub(target, content[0])


def setup(app: Any) -> dict[str, bool]:
    """Register the hook with Sphinx."""
    app.connect("source-read", rewrite)
    app.connect("include-read", rewrite_included)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
