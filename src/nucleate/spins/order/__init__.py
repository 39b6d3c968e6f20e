"""Magnetic order: ordering wave vectors, estimates of critical temperatures, and crossings of Binder's cumulant."""
