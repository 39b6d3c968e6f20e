"""Operators on crystals of whole molecules: heredity, rotation, strain, exchange, symmetrisation and change of conformers."""
