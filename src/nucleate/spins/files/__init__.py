"""Couplings in files: nucleate's own table, TB2J and Spirit. Each is converted to one convention when it is read."""
