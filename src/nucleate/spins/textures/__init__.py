"""Metastable textures of a spin Hamiltonian: relaxation, skyrmions, and minimum energy paths between states."""
