"""The command line: each verb calls one function."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of the `nucleate` command."""
    try:
        from nucleate.cli.app import main as run
    except KeyboardInterrupt:
        # An interrupt while the verbs are imported, which takes a second.
        print("stopped", file=sys.stderr)
        sys.exit(130)
    run()
