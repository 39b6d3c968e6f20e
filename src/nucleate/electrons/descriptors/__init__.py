"""What surrounds a point of space, as numbers."""
