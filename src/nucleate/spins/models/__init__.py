"""Models that predict couplings from the two elements, their environments and their distance."""
