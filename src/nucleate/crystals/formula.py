"""Chemical formulas with an exact atom count: `Si8`, `Na4Cl4`, `Al4O6`, `Ca(OH)2`, `SiO₂`, `CuSO4·5H2O`."""

from __future__ import annotations

import re
from functools import reduce
from math import gcd

from ase.data import atomic_numbers, chemical_symbols

from nucleate.errors import BadInput, quoted

# Only ASCII digits are counts: \d and isdigit() would also match superscripts and digits of other scripts.
_TOKEN = re.compile(r"[A-Z][a-z]?|[0-9]+|.", re.DOTALL)
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUPERSCRIPTS = frozenset("⁰¹²³⁴⁵⁶⁷⁸⁹")
_SIGNS = frozenset("+-⁺⁻₊₋−–")
_MIDDLE_DOTS = frozenset("·•∙⋅・")
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_WATER = re.compile(r"[0-9]+H2O(?![0-9a-z])")
MAX_ATOMS = 500
LONGEST = 2000
"""Largest length of a formula, in characters; enough for 500 atoms written one by one."""


def parse_formula(text: str) -> dict[str, int]:
    """Parse a formula into `{symbol: count}`, in the order of the text.

    Subscript digits are counts, all kinds of brackets are parentheses, and a middle dot separates parts that may begin with a count, such
    as the water of `CuSO4·5H2O`. A full stop between digits is accepted as such a dot only in front of water: `CuSO4.5H2O`, but not
    `Al1.5O`.

    Raises:
        BadInput: the formula contains an unknown element, a zero or fractional count, a charge, unbalanced brackets or other characters,
            or has more than `MAX_ATOMS` atoms.
    """
    text = text.strip()
    if not text:
        raise BadInput("the formula is empty; give one such as Si8 or Al4O6")
    name = f"formula '{quoted(text)}'"
    if len(text) > LONGEST:
        raise BadInput(f"{name} has {len(text)} characters; a formula has at most {LONGEST}")
    _refuse_signs(text, name)
    counts: dict[str, int] = {}
    for times, part in _parts(text.translate(_SUBSCRIPTS), name):
        for symbol, number in _read_part(part, name).items():
            counts[symbol] = counts.get(symbol, 0) + number * times
    total = sum(counts.values())
    if total > MAX_ATOMS:
        raise BadInput(f"{name} has {total if total < 10**9 else 'billions of'} atoms; a search cell has at most {MAX_ATOMS}")
    return counts


def _refuse_signs(text: str, name: str) -> None:
    """Raise `BadInput` for signs, superscripts and commas, before digits next to them are parsed as counts."""
    for character in text:
        if character in _SIGNS or character in _SUPERSCRIPTS:
            raise BadInput(
                f"{name}: '{character}' marks a charge, and charged cells are not supported; write whole positive counts, as in CaCl2"
            )
        if character == ",":
            raise BadInput(f"{name}: counts must be whole positive numbers, as in Al4O6")


def _parts(text: str, name: str) -> list[tuple[int, str]]:
    """Split a formula at its dots; return (count, text) of each part."""
    parts = [""]
    for k, character in enumerate(text):
        if character in _MIDDLE_DOTS:
            parts.append("")
            continue
        if character == ".":
            between_digits = text[k - 1 : k].isdigit() and text[k + 1 : k + 2].isdigit()
            if between_digits and not _WATER.match(text, k + 1):
                raise BadInput(f"{name}: counts must be whole positive numbers, as in Al4O6; write '·' before a part with its own count")
            parts.append("")
            continue
        parts[-1] += character
    counted = [(1, parts[0])]
    for part in parts[1:]:
        digits = re.match("[0-9]*", part)
        number = digits.group(0) if digits else ""
        if number and int(number) == 0:
            raise BadInput(f"{name}: the count of a part is zero; counts must be whole positive numbers")
        counted.append((int(number or 1), part[len(number) :]))
    if len(counted) > 1 and not all(part for _, part in counted):
        raise BadInput(f"{name}: a part before or after a dot is empty; write formulas with whole positive counts, as CuSO4·5H2O")
    return counted


def _read_part(text: str, name: str) -> dict[str, int]:
    """Parse a part of a formula that contains no dots."""
    stack: list[tuple[str, dict[str, int]]] = [("", {})]
    tokens = _TOKEN.findall(text)
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if token in _BRACKETS.values():
            stack.append((token, {}))
            continue
        if token in _BRACKETS:
            opened, group = stack.pop()
            if not opened:
                raise BadInput(f"{name}: '{token}' has no opening parenthesis")
            if opened != _BRACKETS[token]:
                raise BadInput(f"{name}: '{opened}' is closed by '{token}'")
        elif token in atomic_numbers and token != "X":
            group = {token: 1}
        elif token.isascii() and token.isalpha() and token[0].isupper():
            near = [s for s in chemical_symbols[1:] if s[0] == token[0]]
            raise BadInput(f"{name}: '{token}' is not an element; elements beginning with {token[0]}: " + (", ".join(near) or "none"))
        else:
            raise BadInput(f"{name}: cannot read '{quoted(token, 20)}'; write element symbols and counts, as in Al4O6")
        count = 1
        if position < len(tokens) and "0" <= tokens[position][0] <= "9":
            count = int(tokens[position])
            position += 1
        if count == 0:
            raise BadInput(f"{name}: the count after '{token}' is zero; leave the element out")
        counts = stack[-1][1]
        for symbol, number in group.items():
            counts[symbol] = counts.get(symbol, 0) + number * count
    if len(stack) > 1:
        raise BadInput(f"{name}: an opening parenthesis is not closed")
    counts = stack[0][1]
    if not counts:
        raise BadInput(f"{name} contains no atoms")
    return counts


def formula_text(counts: dict[str, int]) -> str:
    """Return the formula as text: `{'Al': 4, 'O': 6}` gives `Al4O6`."""
    return "".join(f"{symbol}{number if number > 1 else ''}" for symbol, number in counts.items())


def formula_units(counts: dict[str, int]) -> int:
    """Return the number of reduced formula units: 2 for Al4O6."""
    return reduce(gcd, counts.values())


def scale_formula(counts: dict[str, int], units: int) -> dict[str, int]:
    """Return the same composition with `units` reduced formula units."""
    divisor = formula_units(counts)
    return {symbol: number // divisor * units for symbol, number in counts.items()}
