"""Reader of CIF files: sites and symmetry are parsed by gemmi and expanded in the space-group setting that the file states.

A Hermann-Mauguin symbol names a setting (P 1 21/n 1 and P 1 21/c 1 are one space group in two settings); listed operations and Hall
symbols determine it uniquely. A file that leaves the origin choice or setting open is refused if the possible settings give different
crystals.
S. R. Hall, F. H. Allen and I. D. Brown, Acta Cryst. A 47, 655 (1991), doi 10.1107/S010876739101067X. M. Wojdyr, J. Open Source Softw. 7,
4200 (2022), doi 10.21105/joss.04200.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from pathlib import Path

import gemmi
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.crystals.checks import LONGEST_CELL, close_pairs, refuse_crowds
from nucleate.crystals.magnetic_cif import magnetic_structure
from nucleate.errors import BadInput, InputNote, quoted

SAME_SITE = 0.05
"""Distance in Å within which equivalent positions of one element are one atom; coordinates are often rounded to two or three digits."""
_NAMES = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group.name_H-M_full")
_HALL = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_NUMBERS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
MOST_SITES = 100_000
FINDER_REACH = 1.0
"""Cutoff of the pair list in which coinciding positions are searched, Å."""
CELL_TOLERANCE = 0.01
"""Largest deviation of a cell from its symmetry, relative to a cell length (for angles approximately in radians)."""
MOST_IMAGES = 2_000_000
"""Largest number of images of all sites under all operations."""
MOST_OPERATIONS = 192
"""Largest number of operations of a space group in its conventional cell."""
MOST_COMPARED = 400
"""Largest number of atoms for which crystals in two settings are compared; larger crystals are assumed to differ."""
HEAVIEST = 96
"""Largest atomic number that is accepted. Symbols of heavier elements in CIF files are usually abbreviations of groups (Cn, Nh, No)."""
FURTHEST = 1e4
"""Largest fractional coordinate; of much larger ones rounding leaves no place in the cell."""


def read_cif(path: Path, text: str) -> list[Atoms]:
    """Read the structure of a CIF file.

    Args:
        path: path of the file, for error messages.
        text: content of the file.

    Returns:
        A list with one structure.

    Raises:
        BadInput: the syntax is wrong, the file has no sites or several structures, sites are partly occupied or have no numeric
            coordinates, the symmetry cannot be resolved to one setting, or the sites do not agree with the stated formula.
    """
    try:
        document = gemmi.cif.read_string(text)
    except Exception as error:  # gemmi raises RuntimeError or ValueError
        reason = " ".join(str(error).split()).removeprefix("string:")
        raise BadInput(f"{path}: is not a valid CIF file ({quoted(reason)}); is the file complete?") from None
    blocks = [block for block in document if _has_sites(block)]
    if not blocks:
        names = ", ".join(quoted(block.name, 20) for block in list(document)[:3]) or "none"
        raise BadInput(f"{path}: no block contains atomic sites (blocks: {names}); is the file complete?")
    if len(blocks) > 1:
        names = ", ".join(quoted(block.name, 20) for block in blocks[:3])
        raise BadInput(f"{path}: contains {len(blocks)} structures (blocks {names}); give one structure, or several as extended XYZ")
    return [_structure(blocks[0], f"{path}, block {quoted(blocks[0].name, 30)}")]


def _has_sites(block: gemmi.cif.Block) -> bool:
    return any(len(block.find_values(f"_atom_site_{tag}")) for tag in ("label", "type_symbol", "fract_x", "Cartn_x"))


def _structure(block: gemmi.cif.Block, where: str) -> Atoms:
    """Read the structure of one block."""
    magnetic = magnetic_structure(block, where)
    if magnetic is not None:
        return magnetic
    _unquote_numbers(block)
    _check_numbers(block, where)
    for axis in "xyz":
        if not len(block.find_values(f"_atom_site_fract_{axis}")):
            raise BadInput(f"{where}: sites have no fractional coordinates; add _atom_site_fract_{axis}")
    try:
        small = gemmi.make_small_structure_from_block(block)
    except Exception as error:  # gemmi raises ValueError and RuntimeError for values that are not numbers
        raise BadInput(f"{where}: cannot be read ({quoted(' '.join(str(error).split()))})") from None
    _check_cell(small, where)
    typed = len(block.find_values("_atom_site_type_symbol")) > 0
    sites = _sites(small, typed, _formula(_value(block, ("_chemical_formula_sum",)), where), where)
    candidates = _settings(block, small, where)
    crystals = {name: expanded(small.cell, sites, operations, where) for name, operations in candidates.items()}
    return _the_one(crystals, block, where)


def _unquote_numbers(block: gemmi.cif.Block) -> None:
    """Remove quotation marks around the space-group number: CIF treats a quoted number as text, which gemmi does not convert."""
    for tag in _NUMBERS:
        value = block.find_value(tag)
        if value:
            block.set_pair(tag, gemmi.cif.as_string(value) or "?")


def _check_numbers(block: gemmi.cif.Block, where: str) -> None:
    """Raise `BadInput` for non-numeric values of sites, for dummy sites, and for hydrogen atoms without sites of their own."""
    for row, value in enumerate(block.find_values("_atom_site_calc_flag"), start=1):
        if gemmi.cif.as_string(value).lower() == "dum":
            raise BadInput(f"{where}: site {row} is a dummy (_atom_site_calc_flag); remove it")
    for row, value in enumerate(block.find_values("_atom_site_attached_hydrogens"), start=1):
        if gemmi.cif.as_number(value) > 0:
            raise BadInput(f"{where}: site {row} has hydrogen without coordinates (_atom_site_attached_hydrogens); add hydrogen sites")
    for tag in ("fract_x", "fract_y", "fract_z", "occupancy"):
        for row, value in enumerate(block.find_values(f"_atom_site_{tag}"), start=1):
            if not gemmi.cif.is_null(value) and not math.isfinite(gemmi.cif.as_number(value)):
                raise BadInput(f"{where}: _atom_site_{tag} of site {row} is '{quoted(value, 30)}', which is not a number")


def _check_cell(small: gemmi.SmallStructure, where: str) -> None:
    lengths, angles = small.cell.parameters[:3], small.cell.parameters[3:]
    if max(lengths) > LONGEST_CELL:
        raise BadInput(f"{where}: a cell vector is {max(lengths):.4g} Å long; at most {LONGEST_CELL:g} Å can be read; is the cell in Å?")
    if not all(math.isfinite(x) and x > 0 for x in small.cell.parameters) or not small.cell.volume >= 1e-3 or max(angles) >= 180:
        raise BadInput(f"{where}: cell lengths {lengths} and angles {angles} are not a valid cell; correct _cell_length_ and _cell_angle_")


def _element(site: gemmi.SmallStructure.Site, typed: bool, formula: Counter[str], where: str) -> str:
    """Return the element symbol of a site, from its type if the file gives types, otherwise from its label.

    Raises:
        BadInput: the type or label is not an element, or a label in capitals is ambiguous (CA1 is calcium or a carbon atom A1) and the
            stated formula does not decide.
    """
    label = quoted(site.label or site.type_symbol, 20)
    symbol, text = site.element.name, site.type_symbol if typed else site.label
    if symbol not in ("D", "T") and not 0 < atomic_numbers.get(symbol, 0) <= HEAVIEST:
        raise BadInput(f"{where}: the element of site '{label}' is unknown; give its symbol in _atom_site_type_symbol")
    match = re.match(rf"{symbol}(.*)", text, re.I | re.S)
    capitals = len(symbol) == 2 and text[:2].isupper()
    if typed:
        rest = match[1] if match else "?"
        if any(character.isalpha() for character in rest) or (capitals and re.fullmatch(r"[0-9]+", rest)):
            raise BadInput(f"{where}: the type {quoted(text, 20)!r} of site '{label}' is not an element; give an element symbol")
        return symbol
    if capitals and symbol[0] in atomic_numbers:
        readings = [reading for reading in (symbol, symbol[0]) if reading in formula] if formula else [symbol]
        if len(readings) > 1 or (not formula and symbol[0] in "CHNOP"):
            raise BadInput(f"{where}: site '{label}' may be {symbol} or {symbol[0]}; add _atom_site_type_symbol")
        return readings[0] if readings else symbol
    return symbol


def _sites(small: gemmi.SmallStructure, typed: bool, formula: Counter[str], where: str) -> list[tuple[str, np.ndarray]]:
    """Return element and fractional position of every site; D and T become H, with an `InputNote`."""
    if not len(small.sites):
        raise BadInput(f"{where}: no site has both a label or type and coordinates; is the file complete?")
    if len(small.sites) > MOST_SITES:
        raise BadInput(f"{where}: the block has {len(small.sites)} sites; at most {MOST_SITES} can be read")
    sites, isotopes = [], set()
    for site in small.sites:
        label = quoted(site.label or site.type_symbol, 20)
        symbol = _element(site, typed, formula, where)
        if symbol in ("D", "T"):
            isotopes.add(symbol)
            symbol = "H"
        position = np.array(site.fract.tolist())
        if not np.isfinite(position).all():
            raise BadInput(f"{where}: site '{label}' has no coordinates; complete or remove it")
        if np.abs(position).max() > FURTHEST:
            raise BadInput(f"{where}: site '{label}' has the coordinate {np.abs(position).max():.3g}; give fractions of the cell vectors")
        if not math.isfinite(site.occ) or site.occ < 0.999 or site.occ > 1.001:
            raise BadInput(f"{where}: site '{label}' has occupancy {site.occ:g}; give an ordered structure")
        sites.append((symbol, position))
    if isotopes:
        warnings.warn(InputNote(f"{where}: {' and '.join(sorted(isotopes))} read as hydrogen"), stacklevel=2)
    return sites


def _value(block: gemmi.cif.Block, tags: tuple[str, ...]) -> str:
    for tag in tags:
        value = block.find_value(tag)
        if value and not gemmi.cif.is_null(value):
            return " ".join(gemmi.cif.as_string(value).split())
    return ""


def _settings(block: gemmi.cif.Block, small: gemmi.SmallStructure, where: str) -> dict[str, gemmi.GroupOps]:
    """Return the operations of each possible setting by name; one entry if the file determines the setting."""
    symbol, hall, number = _value(block, _NAMES), _value(block, _HALL), _value(block, _NUMBERS)
    listed = [gemmi.cif.as_string(value) for tag in _OPERATIONS for value in block.find_values(tag)]
    if listed:
        operations = _fitting(whole_group(listed, where), small.cell, "the listed operations", where)
        return {"operations": operations} | _contradicting(operations, symbol, number, small.cell, where)
    if hall:
        try:
            named = gemmi.symops_from_hall(hall)
        except Exception:
            raise BadInput(f"{where}: Hall symbol {quoted(hall)!r} cannot be read; correct or remove it") from None
        return {hall: _fitting(named, small.cell, f"Hall symbol {quoted(hall, 40)}", where)}
    groups = _groups_of(symbol, number, small.cell, where)
    if not groups:
        warnings.warn(InputNote(f"{where}: the file states no symmetry; read as P 1"), stacklevel=2)
        return {"P 1": gemmi.find_spacegroup_by_number(1).operations()}
    fitting = [group for group in groups if small.cell.is_compatible_with_spacegroup(group)]
    if not fitting:
        raise BadInput(f"{where}: the cell does not have the symmetry of {quoted(symbol or number)}; correct the cell or the symmetry")
    return {group.xhm(): group.operations() for group in fitting}


def whole_group(listed: list[str], where: str) -> gemmi.GroupOps:
    """Return the group of listed operations.

    Raises:
        BadInput: an operation cannot be read, or the operations are not a complete group; a missing line would lose atoms.
    """
    if len(listed) > 10 * MOST_OPERATIONS:
        raise BadInput(f"{where}: the file lists {len(listed)} symmetry operations; a space group has at most {MOST_OPERATIONS}")
    try:
        operations = [gemmi.Op(text.lower()).wrap() for text in listed]
    except Exception:  # gemmi raises RuntimeError and ValueError
        raise BadInput(f"{where}: a symmetry operation cannot be read; write operations as x,y,z") from None
    known = {op.triplet(): op for op in operations}
    if len(known) > MOST_OPERATIONS:
        raise BadInput(f"{where}: the file lists {len(known)} symmetry operations; a space group has at most {MOST_OPERATIONS}")
    turns = np.array([op.rot for op in known.values()]) // gemmi.Op.DEN
    shifts = np.array([op.tran for op in known.values()])
    # The operations are a group if the products of all pairs (rotation, and translation within the cell) are among them.
    products = np.einsum("aij,bjk->abik", turns, turns).reshape(-1, 9)
    moved = (np.einsum("aij,bj->abi", turns, shifts) + shifts[:, None]).reshape(-1, 3) % gemmi.Op.DEN
    if "x,y,z" not in known or len(np.unique(np.hstack([products, moved]), axis=0)) != len(known):
        raise BadInput(f"{where}: the listed symmetry operations are not a group; is one missing or wrong?")
    return gemmi.GroupOps(list(known.values()))


def _fitting(operations: gemmi.GroupOps, cell: gemmi.UnitCell, name: str, where: str) -> gemmi.GroupOps:
    """Return the operations; raise `BadInput` unless their rotations leave the metric of the cell unchanged."""
    matrix = np.array(cell.orth.mat.tolist()).T
    metric, lengths = matrix @ matrix.T, np.linalg.norm(matrix, axis=1)
    turns = np.array([op.rot for op in operations.sym_ops]) / gemmi.Op.DEN
    missed = np.abs(turns.transpose(0, 2, 1) @ metric @ turns - metric) / np.outer(lengths, lengths)
    if missed.max() > 2 * CELL_TOLERANCE:
        raise BadInput(f"{where}: the cell does not have the symmetry of {name}; correct the cell or the symmetry")
    return operations


def _contradicting(operations: gemmi.GroupOps, symbol: str, number: str, cell: gemmi.UnitCell, where: str) -> dict[str, gemmi.GroupOps]:
    """Return the settings of a stated symbol or number if its order differs from that of the listed group.

    This happens for files whose list of operations leaves out the centring.
    """
    try:
        groups = _groups_of(symbol, number, cell, where)
    except BadInput:
        # An unknown symbol is ignored, because the list of operations determines the group.
        return {}
    listed = len(list(operations))
    orders = {len(list(group.operations())) for group in groups}
    if not groups or listed in orders:
        return {}
    return {group.xhm(): group.operations() for group in groups if cell.is_compatible_with_spacegroup(group)}


def _groups_of(symbol: str, number: str, cell: gemmi.UnitCell, where: str) -> list[gemmi.SpaceGroup]:
    """Return the settings that match a Hermann-Mauguin symbol or, without a symbol, a space-group number."""
    table = list(gemmi.spacegroup_table())
    if not symbol:
        if not number:
            return []
        if not re.fullmatch(r"[0-9]{1,3}", number) or not 1 <= int(number) <= 230:
            raise BadInput(f"{where}: {quoted(number)!r} is not a space-group number; give a number from 1 to 230")
        return [group for group in table if group.number == int(number)]
    # Programs write origin choices and axes as ":2", " (origin 2)", " S" and " Z", or "O2".
    plain = re.sub(r"\(?\s*origin\s*(choice)?\s*([12])\s*\)?", r":\2", symbol, flags=re.I)
    plain = re.sub(r"\s*:?\s*O([12])$", r":\1", plain)
    plain = re.sub(r"\s+([SZ])$", lambda match: ":" + {"S": "1", "Z": "2"}[match[1]], plain)
    plain = re.sub(r"\s*:\s*", ":", plain)
    named = gemmi.find_spacegroup_by_name(plain, cell.alpha, cell.gamma)
    if named is None and plain:
        named = gemmi.find_spacegroup_by_name(plain[0].upper() + plain[1:].lower(), cell.alpha, cell.gamma)
    if named is None:
        raise BadInput(f"{where}: space group {quoted(symbol)!r} is unknown; list its operations (_space_group_symop_operation_xyz)")
    if re.fullmatch(r"[0-9]{1,3}", number) and int(number) != named.number:
        raise BadInput(f"{where}: {quoted(symbol)!r} is space group {named.number}, but the file states {number}; correct one of them")
    if ":" in plain:
        return [named]
    return [group for group in table if group.hm == named.hm and (group.ext == named.ext or {group.ext, named.ext} <= {"1", "2"})]


def expanded(cell: gemmi.UnitCell, sites: list[tuple[str, np.ndarray]], operations: gemmi.GroupOps, where: str) -> Atoms:
    """Apply all symmetry operations to the sites, and merge positions of one element that nearly coincide.

    Args:
        cell: the unit cell.
        sites: element and fractional position (3,) of each site.
        operations: the space group.
        where: file and block, for error messages.

    Raises:
        BadInput: the sites have too many images, or too many atoms are close to each other.
    """
    ops = list(operations)
    turns = np.array([op.rot for op in ops]) / gemmi.Op.DEN
    shifts = np.array([op.tran for op in ops]) / gemmi.Op.DEN
    matrix = np.array(cell.orth.mat.tolist()).T
    if len(sites) * len(ops) > MOST_IMAGES:
        raise BadInput(f"{where}: {len(sites)} sites and {len(ops)} operations give too many atoms; at most {MOST_IMAGES} can be read")
    numbers = np.repeat([atomic_numbers[symbol] for symbol, _ in sites], len(ops))
    images = np.concatenate([(turns @ position + shifts) % 1.0 for _, position in sites])
    # Exact copies, of which there may be thousands, are merged first; then positions that differ by rounding, keeping the first.
    _, first = np.unique(np.column_stack([numbers, np.round(images, 7)]), axis=0, return_index=True)
    first.sort()
    atoms = Atoms(numbers[first], scaled_positions=images[first], cell=matrix, pbc=True)
    refuse_crowds(atoms, where)
    # The cutoff is larger than needed, because vesin divides the cell into cubes of this edge and a small one would give millions.
    i, j, apart = close_pairs(atoms, FINDER_REACH)
    same = (atoms.numbers[i] == atoms.numbers[j]) & (i != j) & (apart < SAME_SITE)
    kept = np.ones(len(atoms), dtype=bool)
    for later, earlier in sorted(zip(np.maximum(i, j)[same].tolist(), np.minimum(i, j)[same].tolist(), strict=True)):
        if kept[earlier]:
            kept[later] = False
    return atoms[kept]


def _the_one(crystals: dict[str, Atoms], block: gemmi.cif.Block, where: str) -> Atoms:
    """Return the crystal on which all possible settings agree, after those that contradict the stated formula are removed.

    Raises:
        BadInput: no setting agrees with the formula, or several settings give different crystals.
    """
    stated = _value(block, ("_chemical_formula_sum",))
    formula = _formula(stated, where)
    units = gemmi.cif.as_number(block.find_value("_cell_formula_units_Z") or "?")
    fitting = {name: atoms for name, atoms in crystals.items() if _fits(atoms, formula, units)}
    if formula and not fitting:
        atoms = next(iter(crystals.values()))
        missing = sorted(set(formula) - set(atoms.get_chemical_symbols()))
        what = f"no site is {' or '.join(missing)}" if missing else f"the sites give {quoted(atoms.get_chemical_formula(), 40)}"
        raise BadInput(f"{where}: the file states the formula {quoted(stated, 40)!r}, but {what}; correct the sites or the formula")
    if len(fitting) > 1 and math.isfinite(units) and formula:
        # Prefer settings whose cell contains as many formula units as the file states.
        fitting = {name: atoms for name, atoms in fitting.items() if math.isclose(_ratio(atoms, formula), units, abs_tol=0.01)} or fitting
    first, *others = fitting.values()
    if any(_different(first, other) for other in others):
        names = " or ".join(list(fitting)[:3])
        raise BadInput(f"{where}: the setting is ambiguous ({names}), and the crystals differ; list the symmetry operations")
    return first


def _formula(stated: str, where: str) -> Counter[str]:
    """Return elements and counts of a formula in CIF notation, with D and T as H; empty if the notation is another one."""
    parts = re.findall(r"([A-Z][a-z]?)([0-9.]*)(?=\s|$)", stated)
    if not stated or " ".join(symbol + count for symbol, count in parts) != stated:
        return Counter()
    counts: Counter[str] = Counter()
    for symbol, count in parts:
        try:
            number = float(count or 1)
        except ValueError:
            return Counter()
        if not 0 < number < 1e6:
            raise BadInput(f"{where}: the formula {quoted(stated, 40)!r} has the count {quoted(count or '1')} of {symbol}; correct it")
        counts["H" if symbol in ("D", "T") else symbol] += number  # type: ignore[assignment]
    return counts


def _ratio(atoms: Atoms, formula: Counter[str]) -> float:
    """Return the number of formula units in the cell, counted by one of the elements."""
    symbol = next(iter(formula))
    return float(atoms.get_chemical_symbols().count(symbol) / formula[symbol])


def _fits(atoms: Atoms, formula: Counter[str], units: float) -> bool:
    """Return whether the composition of the cell agrees with the formula and the stated number of formula units.

    The formula may also be that of the whole cell, or of several cells, as some files give it.
    """
    if not formula:
        return True
    counts = Counter(atoms.get_chemical_symbols())
    if counts.keys() != formula.keys():
        return False
    ratios = {counts[symbol] / number for symbol, number in formula.items()}
    if len({round(ratio, 3) for ratio in ratios}) > 1:
        return False
    ratio = ratios.pop()
    if not math.isclose(ratio, round(ratio), abs_tol=0.01) and not math.isclose(1 / ratio, round(1 / ratio), abs_tol=0.01):
        return False
    return not math.isfinite(units) or math.isclose(ratio, units, abs_tol=0.01) or math.isclose(ratio, 1.0, abs_tol=0.01)


def _different(one: Atoms, other: Atoms) -> bool:
    """Return whether two crystals with the same cell differ in their interatomic distances."""
    if len(one) > MOST_COMPARED or Counter(one.get_chemical_symbols()) != Counter(other.get_chemical_symbols()):
        return True
    return not np.allclose(_environments(one), _environments(other), atol=2 * SAME_SITE)


def _environments(atoms: Atoms) -> np.ndarray:
    """Return the minimum-image distances between all atoms, sorted within each pair of elements."""
    order = np.argsort(atoms.numbers, kind="stable")
    distances = atoms.get_all_distances(mic=True)[np.ix_(order, order)]
    numbers = atoms.numbers[order]
    kinds = [numbers == number for number in np.unique(numbers)]
    return np.concatenate([np.sort(distances[np.ix_(a, b)].ravel()) for a in kinds for b in kinds])
