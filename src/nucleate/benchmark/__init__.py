"""Benchmarks of the search, counted in reference calls."""
