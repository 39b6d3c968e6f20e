"""Search over the compositions of a chemical system: hull, phases, and the space of its candidates."""
