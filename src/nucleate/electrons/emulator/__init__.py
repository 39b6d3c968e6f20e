"""The emulator: a linear model of the density that provides starting densities for self-consistent calculations."""
