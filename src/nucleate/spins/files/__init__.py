"""Couplings in files: nucleate's own table, TB2J, Spirit. Whatever the file's convention, memory holds one."""
