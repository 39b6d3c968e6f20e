"""Benchmarks of the search, measured in reference calls."""
