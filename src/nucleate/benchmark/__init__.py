"""Benchmarks of the search by its number of reference calls."""
