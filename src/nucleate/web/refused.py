"""Refusals of the web application, each with its HTTP status."""

from __future__ import annotations

from nucleate.errors import BadInput, NucleateError, RunFolderError


class Refused(BadInput):
    """A request that the server does not carry out; `status` is the HTTP status of the answer."""

    def __init__(self, reason: str, status: int = 400):
        super().__init__(reason)
        self.status = status


def status_of(error: NucleateError) -> int:
    """Return the HTTP status of an error: 400 for invalid input, 409 for a folder that cannot be used as it is, 500 for others."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, RunFolderError):
        return 409
    return 400 if isinstance(error, BadInput) else 500
