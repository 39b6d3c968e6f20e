"""Observables of spin simulations: means with error bars, order, correlations and topology."""
