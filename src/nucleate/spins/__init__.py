"""Exchange couplings from DFT, learned, and set in motion."""

from nucleate.spins.couplings import Couplings

__all__ = ["Couplings"]
