"""Filters of OPTIMADE on entries in memory, parsed with the grammar of optimade-python-tools.

What the specification marks as optional and this file does not support is refused with status 501: comparisons of two properties or two
constants, nested properties, and correlated lists.
"""

from __future__ import annotations

import datetime
import operator
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import LarkError
from optimade.filterparser.lark_parser import AVAILABLE_PARSERS

from nucleate.errors import quoted
from nucleate.web.refused import Refused

LONGEST = 4000
"""Largest length of a filter, in characters."""
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


@cache
def _parser() -> Lark:
    # The LALR parser takes a time that is linear in the length of the filter; the parser of optimade-python-tools does not.
    return Lark(
        AVAILABLE_PARSERS[max(AVAILABLE_PARSERS)]["default"].read_text(), parser="lalr", maybe_placeholders=False, propagate_positions=True
    )


class Filter:
    """A filter of entries.

    Args:
        text: the filter.
        types: type of each property of the entries, as OPTIMADE names it.
        prefix: prefix of the properties that this database defines.

    Attributes:
        foreign: properties in the filter that other databases define, which are unknown here.

    Raises:
        Refused: the filter cannot be parsed, names a property that does not exist or compares with a value of another type (400), or uses
            what is not supported (501).
    """

    def __init__(self, text: str, types: Mapping[str, str], prefix: str):
        if len(text) > LONGEST:
            raise Refused(f"the filter has {len(text)} characters; at most {LONGEST} are accepted")
        self.text, self.types, self.prefix = text, types, prefix
        self.foreign: set[str] = set()
        try:
            self._tree = _parser().parse(text)
            # All parts are evaluated once, so that errors do not depend on the entries.
            self._value(self._tree, {})
        except LarkError as error:
            raise Refused(f"the filter cannot be read: {quoted(str(error).splitlines()[0], 120)}") from None
        except RecursionError:
            raise Refused("the filter has too many nested parentheses") from None

    def matches(self, entry: Mapping[str, Any]) -> bool:
        """Return whether an entry, as a dictionary of its properties, matches; comparisons with unknown values do not."""
        return self._value(self._tree, entry) is True

    def _value(self, tree: Tree[Token], entry: Mapping[str, Any]) -> bool | None:
        """Return the value of a part of the filter; None: unknown."""
        match tree.data:
            case "filter":
                return all([self._value(child, entry) for child in _trees(tree)])
            case "expression":
                values = [self._value(child, entry) for child in _trees(tree)]
                return True if True in values else None if None in values else False
            case "expression_clause":
                values = [self._value(child, entry) for child in _trees(tree)]
                return False if False in values else None if None in values else True
            case "expression_phrase":
                value = self._value(_trees(tree)[0], entry)
                return value if value is None or isinstance(tree.children[0], Tree) else not value
            case "comparison":
                return self._value(_trees(tree)[0], entry)
            case "constant_first_comparison":
                constant, sign, other = tree.children
                property_ = other.children[0] if isinstance(other, Tree) else None
                if not isinstance(property_, Tree) or property_.data != "property":
                    raise Refused("comparisons of two constants are not supported", 501)
                name, kind = self._property(property_)
                assert isinstance(constant, Tree)
                return self._compared(name, kind, entry, MIRRORED[str(sign)], self._constant(constant, kind, name))
        left, right = _trees(tree)
        name, kind = self._property(left)
        return self._matched(name, kind, right, entry)

    def _matched(self, name: str, kind: str | None, right: Tree[Token], entry: Mapping[str, Any]) -> bool | None:
        """Return the value of a comparison whose left side is a property."""
        words = [str(child) for child in right.children if isinstance(child, Token)]
        match right.data:
            case "value_op_rhs":
                return self._compared(name, kind, entry, words[0], self._constant(_trees(right)[0], kind, name))
            case "known_op_rhs":
                return (entry.get(name) is not None) == (words[1] == "KNOWN")
            case "fuzzy_string_op_rhs":
                if kind not in ("string", None):
                    raise Refused(f"{name} is no string; {words[0]} compares strings", 501)
                part = self._constant(_trees(right)[0], "string", name)
                text = entry.get(name)
                if text is None:
                    return None
                return bool({"CONTAINS": text.__contains__, "STARTS": text.startswith, "ENDS": text.endswith}[words[0]](part))
            case "length_op_rhs":
                self._is_list(name, kind, "LENGTH")
                size = int(str(_trees(right)[0].children[0]))
                items = entry.get(name)
                return None if items is None else COMPARISONS[words[1] if len(words) > 1 else "="](len(items), size)
            case "set_op_rhs":
                self._is_list(name, kind, "HAS")
                return self._has(right, words, entry.get(name))
        raise Refused("filters on correlated lists are not supported", 501)

    def _has(self, right: Tree[Token], words: list[str], items: list[Any] | None) -> bool | None:
        """Return the value of HAS, HAS ALL, HAS ANY or HAS ONLY."""
        how = words[1] if len(words) > 1 and words[1] in ("ALL", "ANY", "ONLY") else "ANY"
        (given,) = _trees(right)
        pairs, sign = [], words[1] if words[-1] in COMPARISONS else "="
        for part in given.children if given.data == "value_list" else [given]:
            if isinstance(part, Tree):
                pairs.append((sign, _literal(part, self.text)))
                sign = "="
            else:
                sign = str(part)
        if items is None:
            return None
        if items and isinstance(items[0], list | dict):
            raise Refused("filters on lists of lists or dictionaries are not supported", 501)

        def fits(item: Any, sign: str, value: Any) -> bool:
            if isinstance(item, str) != isinstance(value, str):
                raise Refused(f"{quoted(repr(value), 40)} is of another type than the items of the list", 501)
            return COMPARISONS[sign](item, value)

        if how == "ALL":
            return all(any(fits(item, *pair) for item in items) for pair in pairs)
        if how == "ONLY":
            return all(any(fits(item, *pair) for pair in pairs) for item in items)
        return any(fits(item, *pair) for item in items for pair in pairs)

    def _compared(self, name: str, kind: str | None, entry: Mapping[str, Any], sign: str, value: Any) -> bool | None:
        """Return the value of a comparison with a constant."""
        if kind in ("list", "dictionary"):
            raise Refused(f"{name} has the type {kind} and cannot be compared with {sign}; lists have HAS and LENGTH", 501)
        if kind == "boolean" and sign not in ("=", "!="):
            raise Refused(f"{name} is a boolean; compare it with = or !=")
        own = entry.get(name)
        if own is None:
            return None
        return COMPARISONS[sign](_moment(own) if kind == "timestamp" else own, value)

    def _property(self, tree: Tree[Token]) -> tuple[str, str | None]:
        """Return name and type of a property; the type of properties of other databases is None."""
        if len(tree.children) > 1:
            raise Refused("filters on nested properties are not supported", 501)
        name = str(tree.children[0])
        if name in self.types:
            return name, self.types[name]
        if name.startswith(self.prefix) or not re.match(r"_[a-z0-9]+_", name):
            raise Refused(f"there is no property '{quoted(name, 60)}'; the properties are listed in info/structures")
        self.foreign.add(name)
        return name, None

    def _is_list(self, name: str, kind: str | None, word: str) -> None:
        if kind not in ("list", None):
            raise Refused(f"{name} is no list; {word} works on lists", 501)

    def _constant(self, tree: Tree[Token], kind: str | None, name: str) -> Any:
        """Return a constant as a value of the type of the property with which it is compared."""
        value = _literal(tree, self.text)
        given = "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        wanted = {"integer": "number", "float": "number", "timestamp": "string"}.get(kind or given, kind or given)
        if kind not in ("list", "dictionary") and given != wanted:
            raise Refused(f"{name} has the type {kind} and cannot be compared with the {given} {quoted(str(value), 40)}", 501)
        return _moment(value) if kind == "timestamp" else value


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _literal(tree: Tree[Token], text: str) -> Any:
    """Return the string, number or boolean of a value."""
    (inner,) = _trees(tree)
    match inner.data:
        case "string":
            return re.sub(r"\\(.)", r"\1", str(inner.children[0])[1:-1], flags=re.DOTALL)
        case "number":
            number = str(inner.children[0])
            return int(number) if re.fullmatch(r"[+-]?[0-9]+", number) else float(number)
        case "bool":
            # The grammar leaves the word out of the tree.
            return text[inner.meta.start_pos] == "T"
    raise Refused("comparisons of two properties are not supported", 501)


def _moment(text: str) -> datetime.datetime:
    """Return a time of RFC 3339."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refused(f"'{quoted(text, 40)}' is no time such as 2026-01-31T12:00:00Z")
    return moment
