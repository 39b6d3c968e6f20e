"""Chemical formulas with an exact atom count: `Si8`, `Na4Cl4`, `Al4O6`, `Ca(OH)2`."""

from __future__ import annotations

import re
from functools import reduce
from math import gcd

from ase.data import atomic_numbers, chemical_symbols

from nucleate.errors import BadInput

_TOKEN = re.compile(r"([A-Z][a-z]?)|(\()|(\))|(\d+)|(.)")
MAX_ATOMS = 500


def parse_formula(text: str) -> dict[str, int]:
    """Read a formula into `{symbol: count}`, in the order written.

    Raises `BadInput` for an unknown element, a zero or fractional count, unbalanced parentheses or
    more than `MAX_ATOMS` atoms.
    """
    text = text.strip()
    if not text:
        raise BadInput("the formula is empty; give one such as Si8 or Al4O6")
    if re.search(r"[.\-+,]", text):
        raise BadInput(f"formula {text!r}: counts must be whole positive numbers, as in Al4O6")
    stack: list[dict[str, int]] = [{}]
    tokens = [m.group(0) for m in _TOKEN.finditer(text)]
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if token == "(":
            stack.append({})
            continue
        if token == ")":
            if len(stack) == 1:
                raise BadInput(f"formula {text!r}: a closing parenthesis has no partner")
            group = stack.pop()
        elif token in atomic_numbers and token != "X":
            group = {token: 1}
        elif token.isalpha() and token[0].isupper():
            near = [s for s in chemical_symbols[1:] if s[0] == token[0]]
            raise BadInput(
                f"formula {text!r}: {token!r} is not an element; elements beginning with {token[0]}: " + (", ".join(near) or "none")
            )
        else:
            raise BadInput(f"formula {text!r}: cannot read {token!r}; write element symbols and counts, as in Al4O6")
        count = 1
        if position < len(tokens) and tokens[position].isdigit():
            count = int(tokens[position])
            position += 1
        if count == 0:
            raise BadInput(f"formula {text!r}: a count of zero after {token!r}; leave the element out")
        for symbol, number in group.items():
            stack[-1][symbol] = stack[-1].get(symbol, 0) + number * count
    if len(stack) > 1:
        raise BadInput(f"formula {text!r}: an opening parenthesis is not closed")
    counts = stack[0]
    if not counts:
        raise BadInput(f"formula {text!r}: no atoms in it")
    total = sum(counts.values())
    if total > MAX_ATOMS:
        raise BadInput(f"formula {text!r}: {total} atoms; a search cell holds at most {MAX_ATOMS}")
    return counts


def formula_text(counts: dict[str, int]) -> str:
    """`{'Al': 4, 'O': 6}` to `Al4O6`."""
    return "".join(f"{symbol}{number if number > 1 else ''}" for symbol, number in counts.items())


def formula_units(counts: dict[str, int]) -> int:
    """How many reduced formula units the cell holds: 2 for Al4O6."""
    return reduce(gcd, counts.values())


def scale_formula(counts: dict[str, int], units: int) -> dict[str, int]:
    """The same composition with `units` reduced formula units."""
    divisor = formula_units(counts)
    return {symbol: number // divisor * units for symbol, number in counts.items()}
