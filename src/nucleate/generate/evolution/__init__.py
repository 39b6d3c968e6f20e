"""Operators that make candidates from structures that are already relaxed: heredity, permutation, strain, soft modes and others."""
