"""Crystals of the benchmark of large cells, from published coordinates; every one is relaxed on the reference before it is used."""

from __future__ import annotations

from collections.abc import Callable

from ase import Atoms
from ase.spacegroup import crystal


def _cell(symbols: str, sites: list[tuple[float, float, float]], group: int, cell: list[float]) -> Atoms:
    """Return the conventional cell of a crystal with a primitive lattice."""
    built = crystal(symbols.split(), sites, spacegroup=group, cellpar=cell, symprec=0.01)
    return Atoms(numbers=built.numbers, cell=built.cell.array, scaled_positions=built.get_scaled_positions(), pbc=True)


def fluorapatite() -> Atoms:
    """Return fluorapatite: M. E. Fleet and Y. Pan, Am. Mineral. 82, 870 (1997), AMCSD 0001934, without the substituted rare earths."""
    sites = [
        (1 / 3, 2 / 3, 0.0004), (0.99093, 0.24106, 0.25), (0.36875, 0.39774, 0.25), (0.4838, 0.3256, 0.25), (0.4667, 0.5869, 0.25),
        (0.2561, 0.3405, 0.0715), (0.0, 0.0, 0.25),
    ]  # fmt: skip
    return _cell("Ca Ca P O O O F", sites, 176, [9.394, 9.394, 6.8967, 90, 90, 120])


def kyanite() -> Atoms:
    """Return kyanite: J. K. Winter and S. Ghose, Am. Mineral. 64, 573 (1979)."""
    sites = [
        (0.3254, 0.7040, 0.4582), (0.2974, 0.6989, 0.9505), (0.0998, 0.3862, 0.6403), (0.1120, 0.9175, 0.1649),
        (0.2962, 0.0649, 0.7066), (0.2910, 0.3317, 0.1892),
        (0.1095, 0.1468, 0.1288), (0.1230, 0.6856, 0.1812), (0.2747, 0.4545, 0.9547), (0.2831, 0.9354, 0.9353),
        (0.1084, 0.1520, 0.6669), (0.1219, 0.6307, 0.6389), (0.2822, 0.4453, 0.4288), (0.2915, 0.9467, 0.4659),
        (0.5008, 0.2749, 0.2440), (0.5015, 0.2312, 0.7553),
    ]  # fmt: skip
    return _cell("Al Al Al Al Si Si " + " ".join("O" * 10), sites, 2, [7.1262, 7.8520, 5.5724, 89.99, 101.11, 106.03])


def sillimanite() -> Atoms:
    """Return sillimanite, as kyanite, in the setting Pnma."""
    sites = [(0.0, 0.0, 0.0), (0.1417, 0.3449, 0.25), (0.1533, 0.3402, 0.75), (0.3605, 0.4094, 0.75), (0.3569, 0.4341, 0.25),
             (0.4763, 0.0015, 0.75), (0.1252, 0.2230, 0.5145)]  # fmt: skip
    # Pbnm (a, b, c) is Pnma (b, c, a).
    return _cell("Al Al Si O O O O", [(y, z, x) for x, y, z in sites], 62, [7.6808, 5.7774, 7.4883, 90, 90, 90])


def andalusite() -> Atoms:
    """Return andalusite, as kyanite."""
    sites = [(0.3705, 0.1391, 0.5), (0.0, 0.0, 0.2419), (0.2460, 0.2520, 0.0), (0.4233, 0.3629, 0.5), (0.4246, 0.3629, 0.0),
             (0.1030, 0.4003, 0.0), (0.2305, 0.1339, 0.2394)]  # fmt: skip
    return _cell("Al Al Si O O O O", sites, 58, [7.798, 7.9031, 5.5566, 90, 90, 90])


MINERALS: dict[str, list[tuple[str, Callable[[], Atoms]]]] = {
    "Ca10P6O24F2": [("fluorapatite", fluorapatite)],
    "Al8Si4O20": [("kyanite", kyanite), ("sillimanite", sillimanite), ("andalusite", andalusite)],
}
"""Names and cells of the minerals of a formula that are not among the AFLOW prototypes of pymatgen."""
