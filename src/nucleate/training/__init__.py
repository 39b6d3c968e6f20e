"""Training of learned potentials on labelled structures."""
