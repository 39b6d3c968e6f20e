"""The emulator: a linear model of the density that starts self-consistent calculations."""
