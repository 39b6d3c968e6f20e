"""Search of molecular crystals: settings, isolated molecules, and the space of a search."""
