"""Searches of many formulas with one ledger and one executor."""
