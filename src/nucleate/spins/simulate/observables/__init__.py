"""What is measured of spins: means with error bars, order, correlations, topology."""
