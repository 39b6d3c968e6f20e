"""Evaluation of the many-body committee without a graph, by numba kernels and matrix products."""
