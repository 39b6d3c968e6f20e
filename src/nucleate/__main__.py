"""`python -m nucleate` is the command `nucleate`."""

from nucleate.cli.app import main

main()
