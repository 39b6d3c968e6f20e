"""Magnetic order: ordering wave vectors, estimates of critical temperatures, Binder crossings."""
