"""Training snapshots: molecular dynamics, ground states from GPAW, storage on disk, and files of the MALA project."""
