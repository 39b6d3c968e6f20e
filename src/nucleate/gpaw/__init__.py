"""What the references, the electrons and the spins share of GPAW: the session, keywords, errors and levels."""
