"""GPAW's session, keywords, errors and levels, shared by the references, electrons and spins."""
