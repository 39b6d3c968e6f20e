from ase.build import bulk


def copper(shift=0.0):
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.positions[0, 0] = shift
    return atoms
