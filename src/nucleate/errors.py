"""Errors that a user can cause or meet, each with a one-line message: what is wrong, where, and what to do.

The command line prints the message alone and leaves with `exit_code`.
"""

from __future__ import annotations

import reprlib
from typing import Any

LONGEST_QUOTE = 80
"""Characters of somebody's input that a message repeats at most."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = LONGEST_QUOTE


def quoted(value: object, longest: int = LONGEST_QUOTE) -> str:
    """Return external text for a message: one printable line of at most `longest` characters.

    Control characters, line ends and lone surrogates are shown as escapes, so that a terminal or a database cannot trip over them.
    """
    # A value can be gigabytes long or nested thousands deep: no more of it is looked at than could be shown.
    text = value[: longest + 1] if isinstance(value, str) else _SHORT.repr(value)
    text = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    # Messages put quotes around it, and Python then writes a backslash as two.
    widths = [2 if character == "\\" else 1 for character in text]
    if sum(widths) <= longest:
        return text
    while sum(widths) > longest - 3:
        widths.pop()
    return text[: len(widths)] + "..."


def quoted_path(path: object, longest: int = 200) -> str:
    """Return a path as a message may repeat it; of a longer one the end is kept, since that is where the file's name is."""
    text = str(path)
    return quoted(text, longest) if len(text) <= longest else f"...{quoted(text[3 - longest :], longest)}"


class NucleateError(Exception):
    """Base class of nucleate's errors."""

    exit_code = 1


class BadInput(NucleateError):
    """Invalid input: a formula, a file or a setting."""

    exit_code = 2


class InputNote(UserWarning):
    """Note on how a file was interpreted; shown once, not an error."""


class MissingDependency(NucleateError):
    """An optional program or package is not installed; the message names the line that installs it."""

    exit_code = 2


class RunFolderError(NucleateError):
    """The run folder cannot be used: in use, newer, contradictory, read-only or damaged."""

    exit_code = 2


class StorageFailed(NucleateError):
    """The disk is full or fails; what was recorded before stays, and a resumed run goes on from there."""


class ReferenceFailed(NucleateError):
    """A reference calculation failed; `reason` is the message of the engine."""

    def __init__(self, reason: str, *, kind: str = "failed"):
        super().__init__(reason)
        self.reason = reason
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword arguments do not survive a process pool without this.
        return (_rebuild_reference_failed, (self.reason, self.kind))


def _rebuild_reference_failed(reason: str, kind: str) -> ReferenceFailed:
    return ReferenceFailed(reason, kind=kind)


class GenerationFailed(NucleateError):
    """A generator could not produce the requested structures; the message gives the reason."""


class BudgetExhausted(NucleateError):
    """The limit of reference calls is reached."""
