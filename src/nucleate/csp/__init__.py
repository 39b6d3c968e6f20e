"""The active-learning crystal structure search and its run folder."""
