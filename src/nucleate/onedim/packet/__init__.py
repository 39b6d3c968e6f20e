"""Physics-informed networks for wave functions in time."""
