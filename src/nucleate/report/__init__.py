"""What a run folder says, for people: data, files, terminal and page."""
