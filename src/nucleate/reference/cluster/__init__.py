"""Calculations in blocks of workers, which a batch system starts: settings, blocks, and labels that survive both."""
