"""Results of a search in the formats of other programs."""
