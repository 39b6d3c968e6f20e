"""The terms of the free energy, one per file; the docstring of each file gives its equation."""
