"""Equivariant messages between atoms and from atoms to the points of a grid."""
