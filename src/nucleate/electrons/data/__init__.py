"""Snapshots to learn from: molecular dynamics, ground states from GPAW, storage on disk, files of the MALA project."""
