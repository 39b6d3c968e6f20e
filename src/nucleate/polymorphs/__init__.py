"""What the polymorphs of a search are: families, maps, stability, and agreement with measurements."""
