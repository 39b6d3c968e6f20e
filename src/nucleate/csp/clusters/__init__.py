"""Search of clusters: settings and the space of a search."""
