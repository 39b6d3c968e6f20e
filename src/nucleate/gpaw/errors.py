"""GPAW's exceptions as errors of nucleate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nucleate.errors import NucleateError, ReferenceFailed

KINDS = {
    "KohnShamConvergenceError": "unconverged",
    "ConvergenceError": "unconverged",
    "TooFewBandsError": "bands",
    "SymmetryAnalysisBug": "symmetry",
}
"""Kind of failure by the name of the exception; GPAW raises exceptions of many other types as well."""


@contextmanager
def gpaw_errors(step: str = "", hint: str = "") -> Iterator[None]:
    """Turn exceptions of GPAW in a block into `ReferenceFailed`.

    Args:
        step: Name of the step for the message, such as "bands"; may be empty.
        hint: Advice appended to the message of a calculation that did not converge.

    Raises:
        ReferenceFailed: GPAW raised an exception; its `kind` is `unconverged`, `bands`, `symmetry` or `failed`.
    """
    try:
        yield
    except (NucleateError, KeyboardInterrupt):
        raise
    except Exception as error:
        kind = KINDS.get(type(error).__name__, "failed")
        text = " ".join(str(error).split())[:300] or type(error).__name__
        where = f"GPAW: {step}: " if step else "GPAW: "
        raise ReferenceFailed(f"{where}{text}" + (f"; {hint}" if hint and kind == "unconverged" else ""), kind=kind) from error
