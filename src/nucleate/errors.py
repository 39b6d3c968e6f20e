"""Errors for the user, each with a message of one line that says what is wrong, where, and what to do.

The command line prints only the message and exits with `exit_code`.
"""

from __future__ import annotations

import reprlib
from typing import Any

LONGEST_QUOTE = 80
"""Largest length of external text that a message repeats, in characters."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = LONGEST_QUOTE


def quoted(value: object, longest: int = LONGEST_QUOTE) -> str:
    """Return external text for a message as one printable line of at most `longest` characters.

    Control characters, line ends and lone surrogates are replaced by escapes, which every terminal and database accepts.
    """
    # A value may be very long or deeply nested, so only as much of it is read as can be shown.
    text = value[: longest + 1] if isinstance(value, str) else _SHORT.repr(value)
    text = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    # Messages may show the text with repr(), which doubles backslashes.
    widths = [2 if character == "\\" else 1 for character in text]
    if sum(widths) <= longest:
        return text
    while sum(widths) > longest - 3:
        widths.pop()
    return text[: len(widths)] + "..."


def quoted_path(path: object, longest: int = 200) -> str:
    """Return a path for a message; a long path is shortened at its beginning, so that the file name is kept."""
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
    """An optional program or package is not installed; the message names the command that installs it."""

    exit_code = 2


class RunFolderError(NucleateError):
    """The run folder cannot be used: it is in use, read-only or damaged, was written by a newer version, or has other settings."""

    exit_code = 2


class StorageFailed(NucleateError):
    """The disk is full or failed; data recorded before are kept, and a resumed run continues from them."""


class ReferenceFailed(NucleateError):
    """A reference calculation failed; `reason` is the message of the engine."""

    def __init__(self, reason: str, *, kind: str = "failed"):
        super().__init__(reason)
        self.reason = reason
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword arguments cannot be unpickled in a process pool without this method.
        return (_rebuild_reference_failed, (self.reason, self.kind))


def _rebuild_reference_failed(reason: str, kind: str) -> ReferenceFailed:
    return ReferenceFailed(reason, kind=kind)


class GenerationFailed(NucleateError):
    """A generator could not produce the requested structures; the message gives the reason."""


class BudgetExhausted(NucleateError):
    """The limit of reference calls is reached."""
