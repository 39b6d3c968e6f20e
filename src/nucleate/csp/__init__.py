"""The active-learning search and its run folder."""
