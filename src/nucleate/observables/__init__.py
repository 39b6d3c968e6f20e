"""What a measurement of a structure shows, computed and compared with data: powder patterns, pair distribution functions, NMR shifts."""
