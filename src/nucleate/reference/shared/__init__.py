"""A ledger that several searches share, in a PostgreSQL or SQLite database."""
