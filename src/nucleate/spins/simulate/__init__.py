"""Simulations of spins: Monte Carlo and stochastic Landau-Lifshitz-Gilbert dynamics on any lattice."""

from importlib.util import find_spec

from nucleate.errors import MissingDependency

if find_spec("numba") is None:
    raise MissingDependency("spin simulations require numba: pip install 'nucleate[spins]'")
