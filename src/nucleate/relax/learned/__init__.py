"""Relaxation by moves that are learned: the policy, the optimiser that uses it, its files and its training."""
