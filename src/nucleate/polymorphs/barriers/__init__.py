"""Barriers between polymorphs: mappings, variable-cell nudged elastic bands on a committee, and the disconnectivity graph."""
