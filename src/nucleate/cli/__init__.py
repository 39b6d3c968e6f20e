"""The command line: each verb calls one function."""

from nucleate.cli.app import app, main

__all__ = ["app", "main"]
