"""Linear spin waves (magnons) of a classical ordered state."""
