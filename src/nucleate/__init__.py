"""Crystal structure prediction from first principles.

    import nucleate

    result = nucleate.search("Si8", reference="gpaw", budget=200)
    ranking = nucleate.show(result.folder)

`search`, `resume`, `show` and `relax_file` do what the verbs of the command line do; `nucleate.api` documents them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucleate.api import RelaxedFile, SearchResult, relax_file, resume, search, show

# spglib's library writes to the terminal whenever a tolerance does not fit; what it finds is what counts.
os.environ.setdefault("SPGLIB_WARNING", "OFF")
# None for "no symmetry found", as its documentation says; ASE switches to exceptions and switches back only what was set.
os.environ.setdefault("SPGLIB_OLD_ERROR_HANDLING", "true")

__all__ = ["RelaxedFile", "SearchResult", "__version__", "relax_file", "resume", "search", "show"]


def __getattr__(name: str) -> Any:
    """Load the API when it is first asked for: `import nucleate` alone stays fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("nucleate")
    if name in __all__:
        from nucleate import api

        return getattr(api, name)
    raise AttributeError(f"module 'nucleate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
