"""Processes: workers, interrupts, limits of time and threads."""
