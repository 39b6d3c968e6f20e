"""The command line: one function call a verb."""

from nucleate.cli.app import app, main

__all__ = ["app", "main"]
