"""Crystal structure prediction from first principles."""
