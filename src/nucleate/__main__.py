"""`python -m nucleate` is the command `nucleate`."""

from nucleate.cli import main

main()
