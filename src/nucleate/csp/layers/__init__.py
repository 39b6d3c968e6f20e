"""Search of layers: settings and the space of a search."""
