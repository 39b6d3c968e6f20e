"""When are two crystals the same: fingerprints, matching, space groups."""
