"""The verbs of `nucleate spins`, a file for each group; `nucleate.spins.api` holds them all."""
