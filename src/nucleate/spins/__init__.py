"""Exchange couplings from DFT, models that predict them, and simulations of spins."""

from nucleate.spins.couplings import Couplings

__all__ = ["Couplings"]
