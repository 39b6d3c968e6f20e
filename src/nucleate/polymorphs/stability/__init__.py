"""Whether a structure would survive: phonons, elastic constants, free energies."""
