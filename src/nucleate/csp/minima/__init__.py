"""Search of all minima within an energy window."""
