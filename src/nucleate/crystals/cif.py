"""Reader of CIF files: sites and symmetry by gemmi, in the setting of the space group that the file names.

A Hermann-Mauguin symbol names a setting (P 1 21/n 1 and P 1 21/c 1 are one space group in two settings); listed operations and Hall
symbols do so without doubt. Where origin choices or settings are left open and would give different crystals, the file is refused.
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
"""Å; equivalent positions of one element within it are one atom: coordinates are often rounded to two or three digits."""
_NAMES = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group.name_H-M_full")
_HALL = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_NUMBERS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
MOST_SITES = 100_000
FINDER_REACH = 1.0
"""Å."""
CELL_TOLERANCE = 0.01
"""Share of a cell length (and radians, roughly, of an angle) by which a cell may miss its symmetry: files round."""
MOST_IMAGES = 2_000_000
"""Largest number of images of all sites under all operations."""
MOST_OPERATIONS = 192
"""Largest number of operations of a space group in its conventional cell."""
MOST_COMPARED = 400
"""Atoms up to which crystals in two settings are compared; larger ones are taken to differ."""
HEAVIEST = 96
"""Atomic number beyond which a symbol is a mistaken group: Cn, Nh and No are cyanide, ammonium and nitrate."""


def read_cif(path: Path, text: str) -> list[Atoms]:
    """Read the structure of a CIF file, as a list of one.

    Args:
        path: for messages.
        text: what the file holds.

    Raises:
        BadInput: names file, block and what is wrong: syntax, several structures, no or partly occupied sites, coordinates that are not
            numbers, symmetry that cannot be resolved to one setting, atoms that a stated formula names and no site holds.
    """
    try:
        document = gemmi.cif.read_string(text)
    except Exception as error:  # gemmi raises RuntimeError or ValueError, in the words of its parser
        words = " ".join(str(error).split())
        raise BadInput(f"{path}: is no CIF ({quoted(words.removeprefix('string:'))}); is the file complete?") from None
    blocks = [block for block in document if _has_sites(block)]
    if not blocks:
        names = ", ".join(quoted(block.name, 20) for block in list(document)[:3]) or "none"
        raise BadInput(f"{path}: no block holds sites of atoms (blocks: {names}); is the file complete?")
    if len(blocks) > 1:
        names = ", ".join(quoted(block.name, 20) for block in blocks[:3])
        raise BadInput(f"{path}: holds {len(blocks)} structures (blocks {names}); give a file with one, or several as extended XYZ")
    return [_structure(blocks[0], f"{path}, block {quoted(blocks[0].name, 30)}")]


def _has_sites(block: gemmi.cif.Block) -> bool:
    return any(len(block.find_values(f"_atom_site_{tag}")) for tag in ("label", "type_symbol", "fract_x", "Cartn_x"))


def _structure(block: gemmi.cif.Block, where: str) -> Atoms:
    magnetic = magnetic_structure(block, where)
    if magnetic is not None:
        return magnetic
    _unquote_numbers(block)
    _check_numbers(block, where)
    for axis in "xyz":
        if not len(block.find_values(f"_atom_site_fract_{axis}")):
            raise BadInput(f"{where}: sites have no fractional coordinates (_atom_site_fract_{axis}); write them")
    try:
        small = gemmi.make_small_structure_from_block(block)
    except Exception as error:  # gemmi raises ValueError and RuntimeError for values that are no numbers
        raise BadInput(f"{where}: cannot be read ({quoted(' '.join(str(error).split()))})") from None
    _check_cell(small, where)
    typed = len(block.find_values("_atom_site_type_symbol")) > 0
    sites = _sites(small, typed, _formula(_value(block, ("_chemical_formula_sum",)), where), where)
    candidates = _settings(block, small, where)
    crystals = {name: expanded(small.cell, sites, operations, where) for name, operations in candidates.items()}
    return _the_one(crystals, block, where)


def _unquote_numbers(block: gemmi.cif.Block) -> None:
    """A number in quotes is a text to CIF and a number to everybody else."""
    for tag in _NUMBERS:
        value = block.find_value(tag)
        if value:
            block.set_pair(tag, gemmi.cif.as_string(value) or "?")


def _check_numbers(block: gemmi.cif.Block, where: str) -> None:
    """Whatever is to be a number of a site is one, or is left open; every site is an atom, and hydrogen has sites of its own."""
    for row, value in enumerate(block.find_values("_atom_site_calc_flag"), start=1):
        if gemmi.cif.as_string(value).lower() == "dum":
            raise BadInput(f"{where}: site {row} is a dummy (_atom_site_calc_flag); remove it")
    for row, value in enumerate(block.find_values("_atom_site_attached_hydrogens"), start=1):
        if gemmi.cif.as_number(value) > 0:
            raise BadInput(f"{where}: site {row} has hydrogen without coordinates (_atom_site_attached_hydrogens); give it sites")
    for tag in ("fract_x", "fract_y", "fract_z", "occupancy"):
        for row, value in enumerate(block.find_values(f"_atom_site_{tag}"), start=1):
            if not gemmi.cif.is_null(value) and not math.isfinite(gemmi.cif.as_number(value)):
                raise BadInput(f"{where}: _atom_site_{tag} of site {row} is {quoted(value, 30)}, which is no number")


def _check_cell(small: gemmi.SmallStructure, where: str) -> None:
    lengths, angles = small.cell.parameters[:3], small.cell.parameters[3:]
    if max(lengths) > LONGEST_CELL:
        raise BadInput(f"{where}: a cell vector of {max(lengths):.4g} Å; at most {LONGEST_CELL:g} Å can be read: is the cell given in Å?")
    if not all(math.isfinite(x) and x > 0 for x in small.cell.parameters) or small.cell.volume < 1e-3 or max(angles) >= 180:
        raise BadInput(f"{where}: cell lengths {lengths} and angles {angles} make no cell; give _cell_length_ and _cell_angle_ of all axes")


def _element(site: gemmi.SmallStructure.Site, typed: bool, formula: Counter[str], where: str) -> str:
    """Symbol of a site's element, from its type, else from its label.

    Raises:
        BadInput: neither names an element; the type names a group or several elements; a label in capitals names one of two elements
            (CA1 is calcium or a carbon atom A1), and the stated formula does not say which.
    """
    label = quoted(site.label or site.type_symbol, 20)
    symbol, text = site.element.name, site.type_symbol if typed else site.label
    if symbol not in ("D", "T") and not 0 < atomic_numbers.get(symbol, 0) <= HEAVIEST:
        raise BadInput(f"{where}: site {label} is of no element; write a symbol in _atom_site_type_symbol")
    found = re.match(rf"{symbol}(.*)", text, re.I | re.S)
    capitals = len(symbol) == 2 and text[:2].isupper()
    if typed:
        rest = found[1] if found else "?"
        if any(character.isalpha() for character in rest) or (capitals and re.fullmatch(r"[0-9]+", rest)):
            raise BadInput(f"{where}: site {label} is of type {quoted(text, 20)!r}, which is no element; write a symbol")
        return symbol
    if capitals and symbol[0] in atomic_numbers:
        readings = [reading for reading in (symbol, symbol[0]) if reading in formula] if formula else [symbol]
        if len(readings) > 1 or (not formula and symbol[0] in "CHNOP"):
            raise BadInput(f"{where}: site {label} is {symbol} or {symbol[0]}; write _atom_site_type_symbol")
        return readings[0] if readings else symbol
    return symbol


def _sites(small: gemmi.SmallStructure, typed: bool, formula: Counter[str], where: str) -> list[tuple[str, np.ndarray]]:
    """Element and fractional position of every site."""
    if not len(small.sites):
        raise BadInput(f"{where}: no site has a label or a type and coordinates; is the file complete?")
    if len(small.sites) > MOST_SITES:
        raise BadInput(f"{where}: {len(small.sites)} sites; at most {MOST_SITES} can be read")
    found, isotopes = [], set()
    for site in small.sites:
        label = quoted(site.label or site.type_symbol, 20)
        symbol = _element(site, typed, formula, where)
        if symbol in ("D", "T"):
            isotopes.add(symbol)
            symbol = "H"
        position = np.array(site.fract.tolist())
        if not np.isfinite(position).all():
            raise BadInput(f"{where}: site {label} has no coordinates; complete or remove it")
        if not math.isfinite(site.occ) or site.occ < 0.999 or site.occ > 1.001:
            raise BadInput(f"{where}: site {label} is occupied to {site.occ:g}; give an ordered structure")
        found.append((symbol, position))
    if isotopes:
        warnings.warn(InputNote(f"{where}: {' and '.join(sorted(isotopes))} read as hydrogen"), stacklevel=2)
    return found


def _value(block: gemmi.cif.Block, tags: tuple[str, ...]) -> str:
    for tag in tags:
        value = block.find_value(tag)
        if value and not gemmi.cif.is_null(value):
            return " ".join(gemmi.cif.as_string(value).split())
    return ""


def _settings(block: gemmi.cif.Block, small: gemmi.SmallStructure, where: str) -> dict[str, gemmi.GroupOps]:
    """Operations of each setting that the file leaves open, by name; one where it is named."""
    symbol, hall, number = _value(block, _NAMES), _value(block, _HALL), _value(block, _NUMBERS)
    listed = [gemmi.cif.as_string(value) for tag in _OPERATIONS for value in block.find_values(tag)]
    if listed:
        operations = _fitting(whole_group(listed, where), small.cell, "the listed operations", where)
        return {"operations": operations} | _contradicting(operations, symbol, number, small.cell, where)
    if hall:
        try:
            named = gemmi.symops_from_hall(hall)
        except Exception:
            raise BadInput(f"{where}: Hall symbol {quoted(hall)!r} cannot be read") from None
        return {hall: _fitting(named, small.cell, f"Hall symbol {quoted(hall, 40)}", where)}
    groups = _groups_of(symbol, number, small.cell, where)
    if not groups:
        warnings.warn(InputNote(f"{where}: states no symmetry, read as P 1"), stacklevel=2)
        return {"P 1": gemmi.find_spacegroup_by_number(1).operations()}
    fitting = [group for group in groups if small.cell.is_compatible_with_spacegroup(group)]
    if not fitting:
        raise BadInput(f"{where}: the cell does not have the symmetry of {quoted(symbol or number)}; correct the one or the other")
    return {group.xhm(): group.operations() for group in fitting}


def whole_group(listed: list[str], where: str) -> gemmi.GroupOps:
    """The group of the listed operations, all of which must be there: a lost line loses atoms in silence."""
    if len(listed) > 10 * MOST_OPERATIONS:
        raise BadInput(f"{where}: lists {len(listed)} operations of symmetry; no space group has more than {MOST_OPERATIONS}")
    try:
        operations = [gemmi.Op(text.lower()).wrap() for text in listed]
    except Exception:  # gemmi raises RuntimeError and ValueError
        raise BadInput(f"{where}: an operation of symmetry cannot be read; write them as x,y,z") from None
    known = {op.triplet(): op for op in operations}
    if len(known) > MOST_OPERATIONS:
        raise BadInput(f"{where}: lists {len(known)} operations of symmetry; no space group has more than {MOST_OPERATIONS}")
    turns = np.array([op.rot for op in known.values()]) // gemmi.Op.DEN
    shifts = np.array([op.tran for op in known.values()])
    # All products of two, each a turn and a shift within the cell: of a group they are its own elements.
    products = np.einsum("aij,bjk->abik", turns, turns).reshape(-1, 9)
    moved = (np.einsum("aij,bj->abi", turns, shifts) + shifts[:, None]).reshape(-1, 3) % gemmi.Op.DEN
    if "x,y,z" not in known or len(np.unique(np.hstack([products, moved]), axis=0)) != len(known):
        raise BadInput(f"{where}: the listed operations of symmetry make no group; is one missing, or written wrongly?")
    return gemmi.GroupOps(list(known.values()))


def _fitting(operations: gemmi.GroupOps, cell: gemmi.UnitCell, name: str, where: str) -> gemmi.GroupOps:
    matrix = np.array(cell.orth.mat.tolist()).T
    metric, lengths = matrix @ matrix.T, np.linalg.norm(matrix, axis=1)
    turns = np.array([op.rot for op in operations.sym_ops]) / gemmi.Op.DEN
    missed = np.abs(turns.transpose(0, 2, 1) @ metric @ turns - metric) / np.outer(lengths, lengths)
    if missed.max() > 2 * CELL_TOLERANCE:
        raise BadInput(f"{where}: the cell does not have the symmetry of {name}; correct the one or the other")
    return operations


def _contradicting(operations: gemmi.GroupOps, symbol: str, number: str, cell: gemmi.UnitCell, where: str) -> dict[str, gemmi.GroupOps]:
    """Settings of a stated symbol or number whose group is larger or smaller than the listed one, as where a list leaves centring out."""
    try:
        groups = _groups_of(symbol, number, cell, where)
    except BadInput:
        # Unknown symbols do no harm beside a list of operations.
        return {}
    listed = len(list(operations))
    orders = {len(list(group.operations())) for group in groups}
    if not groups or listed in orders:
        return {}
    return {group.xhm(): group.operations() for group in groups if cell.is_compatible_with_spacegroup(group)}


def _groups_of(symbol: str, number: str, cell: gemmi.UnitCell, where: str) -> list[gemmi.SpaceGroup]:
    """The settings that a symbol or, without one, a number may mean."""
    table = list(gemmi.spacegroup_table())
    if not symbol:
        if not number:
            return []
        if not re.fullmatch(r"[0-9]{1,3}", number) or not 1 <= int(number) <= 230:
            raise BadInput(f"{where}: {quoted(number)!r} is no number of a space group")
        return [group for group in table if group.number == int(number)]
    # Suffixes of origin choices and axes, as programs write them: ":2", " (origin 2)", " S" and " Z", "O2".
    plain = re.sub(r"\(?\s*origin\s*(choice)?\s*([12])\s*\)?", r":\2", symbol, flags=re.I)
    plain = re.sub(r"\s*:?\s*O([12])$", r":\1", plain)
    plain = re.sub(r"\s+([SZ])$", lambda found: ":" + {"S": "1", "Z": "2"}[found[1]], plain)
    plain = re.sub(r"\s*:\s*", ":", plain)
    named = gemmi.find_spacegroup_by_name(plain, cell.alpha, cell.gamma)
    if named is None and plain:
        named = gemmi.find_spacegroup_by_name(plain[0].upper() + plain[1:].lower(), cell.alpha, cell.gamma)
    if named is None:
        raise BadInput(f"{where}: space group {quoted(symbol)!r} is unknown; list its operations (_space_group_symop_operation_xyz)")
    if re.fullmatch(r"[0-9]{1,3}", number) and int(number) != named.number:
        raise BadInput(f"{where}: {quoted(symbol)!r} is space group {named.number}, the file says {number}; correct one of them")
    if ":" in plain:
        return [named]
    return [group for group in table if group.hm == named.hm and (group.ext == named.ext or {group.ext, named.ext} <= {"1", "2"})]


def expanded(cell: gemmi.UnitCell, sites: list[tuple[str, np.ndarray]], operations: gemmi.GroupOps, where: str) -> Atoms:
    """Apply all operations to the sites; nearly coinciding positions of one element are merged."""
    ops = list(operations)
    turns = np.array([op.rot for op in ops]) / gemmi.Op.DEN
    shifts = np.array([op.tran for op in ops]) / gemmi.Op.DEN
    matrix = np.array(cell.orth.mat.tolist()).T
    if len(sites) * len(ops) > MOST_IMAGES:
        raise BadInput(f"{where}: {len(sites)} sites under {len(ops)} operations are too many; at most {MOST_IMAGES} positions can be read")
    numbers = np.repeat([atomic_numbers[symbol] for symbol, _ in sites], len(ops))
    images = np.concatenate([(turns @ position + shifts) % 1.0 for _, position in sites])
    # Exact copies first, which can be thousands; then those that differ by rounding, of which the first is kept.
    _, first = np.unique(np.column_stack([numbers, np.round(images, 7)]), axis=0, return_index=True)
    first.sort()
    atoms = Atoms(numbers[first], scaled_positions=images[first], cell=matrix, pbc=True)
    refuse_crowds(atoms, where)
    # The finder cuts space into cubes of its reach: a wide one costs less than millions of empty cubes.
    i, j, apart = close_pairs(atoms, FINDER_REACH)
    same = (atoms.numbers[i] == atoms.numbers[j]) & (i != j) & (apart < SAME_SITE)
    kept = np.ones(len(atoms), dtype=bool)
    for later, earlier in sorted(zip(np.maximum(i, j)[same].tolist(), np.minimum(i, j)[same].tolist(), strict=True)):
        if kept[earlier]:
            kept[later] = False
    return atoms[kept]


def _the_one(crystals: dict[str, Atoms], block: gemmi.cif.Block, where: str) -> Atoms:
    """The crystal that all open settings agree on, or the one that a stated formula leaves."""
    stated = _value(block, ("_chemical_formula_sum",))
    formula = _formula(stated, where)
    units = gemmi.cif.as_number(block.find_value("_cell_formula_units_Z") or "?")
    fitting = {name: atoms for name, atoms in crystals.items() if _fits(atoms, formula, units)}
    if formula and not fitting:
        atoms = next(iter(crystals.values()))
        missing = sorted(set(formula) - set(atoms.get_chemical_symbols()))
        what = f"no site holds its {', '.join(missing)}" if missing else f"its sites hold {quoted(atoms.get_chemical_formula(), 40)}"
        raise BadInput(f"{where}: states the formula {quoted(stated, 40)!r}, but {what}; complete the sites or correct the formula")
    if len(fitting) > 1 and math.isfinite(units) and formula:
        # Of several, those that hold as many formulas as the file says.
        fitting = {name: atoms for name, atoms in fitting.items() if math.isclose(_ratio(atoms, formula), units, abs_tol=0.01)} or fitting
    first, *others = fitting.values()
    if any(_different(first, other) for other in others):
        names = " or ".join(list(fitting)[:3])
        raise BadInput(f"{where}: leaves open which setting is meant ({names}), and they give different crystals; list the operations")
    return first


def _formula(stated: str, where: str) -> Counter[str]:
    """Elements and counts of a formula written as CIF asks, hydrogen for its isotopes; nothing where it is written otherwise."""
    parts = re.findall(r"([A-Z][a-z]?)([0-9.]*)(?=\s|$)", stated)
    if not stated or " ".join(symbol + count for symbol, count in parts) != stated:
        return Counter()
    found: Counter[str] = Counter()
    for symbol, count in parts:
        try:
            number = float(count or 1)
        except ValueError:
            return Counter()
        if not 0 < number < 1e6:
            raise BadInput(f"{where}: states the formula {quoted(stated, 40)!r}, whose count of {quoted(symbol)} is {quoted(count or '1')}")
        found["H" if symbol in ("D", "T") else symbol] += number  # type: ignore[assignment]
    return found


def _ratio(atoms: Atoms, formula: Counter[str]) -> float:
    """Formulas in the cell, by one of the elements."""
    symbol = next(iter(formula))
    return float(atoms.get_chemical_symbols().count(symbol) / formula[symbol])


def _fits(atoms: Atoms, formula: Counter[str], units: float) -> bool:
    """Whether the cell holds a whole number of formulas (some files state the whole cell), and as many as stated."""
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
    """Whether two crystals in one cell differ in their distances."""
    if len(one) > MOST_COMPARED or Counter(one.get_chemical_symbols()) != Counter(other.get_chemical_symbols()):
        return True
    return not np.allclose(_environments(one), _environments(other), atol=2 * SAME_SITE)


def _environments(atoms: Atoms) -> np.ndarray:
    """Sorted distances within each pair of elements, shortest images."""
    order = np.argsort(atoms.numbers, kind="stable")
    distances = atoms.get_all_distances(mic=True)[np.ix_(order, order)]
    numbers = atoms.numbers[order]
    kinds = [numbers == number for number in np.unique(numbers)]
    return np.concatenate([np.sort(distances[np.ix_(a, b)].ravel()) for a in kinds for b in kinds])
