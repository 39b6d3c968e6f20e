"""Mutations of the bytes of a file: what a slip of the hand, a broken transfer or another program makes of a valid file."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

LONGEST = 2_000_000
"""Largest size of a mutated file, bytes; repeated mutations would multiply it."""
NUMBER = re.compile(rb"(?<![A-Za-z_\d.])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
WORD = re.compile(rb"[^\s,;=]+")
KEY = re.compile(rb"[A-Za-z_][A-Za-z_0-9.\-]*")
ODD_NUMBERS = (
    b"0", b"-1", b"1", b"2", b"nan", b"inf", b"-inf", b"1e308", b"-1e308", b"1e-320", b"9" * 30, b"9" * 5000, b"999999999999",
    b"2147483648", b"-9223372036854775809", b"0.0", b"1e5", b"-0", b"1/2", b"1,5", b"0x10", b"1_000", b"1d-3", b"5(1)", b"true", b"''",
    "²".encode(), "٣".encode(), b"1e400", b"1.2.3", b"+-1", b"--", b"?", b".", b"None", b"[]", b"{}",
)  # fmt: skip
SCALES = (10.0, 1e-10, 0.529177, 1.889726, 27.2114, 1e3, -1.0, 1e10, 57.29578)
"""Factors of confused units: Å and m, nm, Bohr radii; eV, Hartree, meV; signs; radians."""
ODD_BYTES = (b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\x1b[31m", "é".encode("latin-1"), "\u2028".encode(), "\u202e".encode(), b"\x85")
BRACKETS = (b"[", b"{", b"(", b'"', b"'", b"[[", b"\\", b"<!--", b"[/red]", b"`", b"$(", b"%s", b"#", b";", b"..", b"../../")

Mutation = Callable[[bytes, np.random.Generator, list[bytes]], bytes]


def _one(found: list[re.Match[bytes]], rng: np.random.Generator) -> re.Match[bytes] | None:
    return found[int(rng.integers(len(found)))] if found else None


def _replaced(data: bytes, match: re.Match[bytes] | None, new: bytes) -> bytes:
    return data if match is None else data[: match.start()] + new + data[match.end() :]


def _place(data: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(len(data) + 1))


def _span(data: bytes, rng: np.random.Generator, longest: int = 200) -> tuple[int, int]:
    start = _place(data, rng)
    return start, min(len(data), start + int(rng.integers(1, longest)))


def flip_bit(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Flip one to eight bits."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9)) if changed else 0):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def replace_byte(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Replace one byte by any other."""
    at = _place(data, rng)
    return data[:at] + bytes([int(rng.integers(256))]) + data[at + 1 :]


def insert_odd(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Insert bytes that are no text, or that have a meaning in some syntax."""
    at, odd = _place(data, rng), (*ODD_BYTES, *BRACKETS)
    return data[:at] + odd[int(rng.integers(len(odd)))] + data[at:]


def delete_span(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Delete some bytes."""
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def repeat_span(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Repeat some bytes once or many times."""
    start, end = _span(data, rng, 60)
    return data[:end] + data[start:end] * int(rng.choice([1, 2, 50, 2000])) + data[end:]


def truncate(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Keep the beginning of the file."""
    return data[: _place(data, rng)]


def delete_line(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Delete a line or several."""
    lines = data.splitlines(keepends=True)
    start = _place(data, rng) % max(1, len(lines))
    del lines[start : start + int(rng.choice([1, 1, 1, 3, 10]))]
    return b"".join(lines)


def repeat_line(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Repeat a line: a key is given twice, an atom is listed many times."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    at = int(rng.integers(len(lines)))
    return b"".join([*lines[:at], *[lines[at]] * int(rng.choice([2, 2, 2, 20, 1000])), *lines[at + 1 :]])


def swap_lines(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Exchange two lines."""
    lines = data.splitlines(keepends=True)
    if len(lines) > 1:
        a, b = rng.integers(len(lines), size=2)
        lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def delete_word(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Delete a word."""
    return _replaced(data, _one(list(WORD.finditer(data)), rng), b"")


def repeat_word(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Write a word twice, or very often."""
    match = _one(list(WORD.finditer(data)), rng)
    return data if match is None else _replaced(data, match, match[0] + (b" " + match[0]) * int(rng.choice([1, 1, 3, 3000])))


def swap_words(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Exchange two words."""
    found = list(WORD.finditer(data))
    if len(found) < 2:
        return data
    first, second = sorted((found[int(k)] for k in rng.integers(len(found), size=2)), key=lambda match: match.start())
    if first.start() == second.start():
        return data
    return data[: first.start()] + second[0] + data[first.end() : second.start()] + first[0] + data[second.end() :]


def odd_number(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Replace a number by one that no program expects."""
    return _replaced(data, _one(list(NUMBER.finditer(data)), rng), ODD_NUMBERS[int(rng.integers(len(ODD_NUMBERS)))])


def odd_word(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Replace a word by an odd number or by another word."""
    found = list(WORD.finditer(data))
    new = ODD_NUMBERS[int(rng.integers(len(ODD_NUMBERS)))]
    if found and rng.random() < 0.5:
        new = found[int(rng.integers(len(found)))][0]
    return _replaced(data, _one(found, rng), new)


def other_unit(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Scale one number, or all numbers, as if their unit were confused."""
    factor = SCALES[int(rng.integers(len(SCALES)))]

    def scaled(match: re.Match[bytes]) -> bytes:
        value = float(match[0]) if len(match[0]) < 300 else 1.0
        return repr(value * factor).encode()

    if rng.random() < 0.5:
        match = _one(list(NUMBER.finditer(data)), rng)
        return data if match is None else _replaced(data, match, scaled(match))
    return NUMBER.sub(scaled, data)


def rename_key(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Change a letter of a name, its case, or replace it by another name of the file."""
    found = list(KEY.finditer(data))
    match = _one(found, rng)
    if match is None:
        return data
    name = match[0]
    at = int(rng.integers(len(name)))
    choices = (name.upper(), name.lower(), name.swapcase(), name[:at] + b"x" + name[at + 1 :], name + b"_", name[:-1], name * 40)
    other = found[int(rng.integers(len(found)))][0]
    return _replaced(data, match, (*choices, other)[int(rng.integers(len(choices) + 1))])


def encode(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Write the text in another encoding, or with other line ends."""
    text = data.decode("latin-1")
    way = int(rng.integers(7))
    if way < 3:
        return text.encode(("utf-16", "utf-32", "utf-16-be")[way])
    if way == 3:
        return b"\xef\xbb\xbf" * int(rng.integers(1, 3)) + data
    if way == 4:
        return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if way == 5:
        return data.replace(b"\n", b"\r")
    return data.replace(b"e", "é".encode("latin-1")).replace(b" ", "\u00a0".encode())


def long_line(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Insert a very long line or word, or join all lines."""
    way = int(rng.integers(3))
    if way == 0:
        return data.replace(b"\n", b" ")
    at = data.find(b"\n", _place(data, rng)) + 1
    return data[:at] + (b"x" if way == 1 else b"1 ") * int(rng.choice([1000, 100_000])) + (b"\n" if rng.random() < 0.5 else b"") + data[at:]


def nest(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Insert nested brackets, closed or not, or long chains of dots."""
    depth = int(rng.choice([2, 40, 5000]))
    left, right = ((b"[", b"]"), (b"{", b"}"), (b"(", b")"), (b'{"a":', b"}"), (b"a.", b""), (b"'", b"'"))[int(rng.integers(6))]
    at = _place(data, rng)
    return data[:at] + left * depth + (b"1" + right * depth if rng.random() < 0.5 else b"") + data[at:]


def splice(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Continue with the end of another file of the same kind."""
    if not others:
        return data
    other = others[int(rng.integers(len(others)))]
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def repeat_file(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Write the file several times, with or without a line end between."""
    return (data + (b"\n" if rng.random() < 0.5 else b"")) * int(rng.choice([2, 3, 30]))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bit, replace_byte, insert_odd, delete_span, repeat_span, truncate, delete_line, delete_line, repeat_line, swap_lines, delete_word,
    repeat_word, swap_words, odd_number, odd_number, odd_number, odd_word, odd_word, other_unit, rename_key, rename_key, encode, long_line,
    nest, splice, repeat_file,
)  # fmt: skip


def mutated(data: bytes, rng: np.random.Generator, others: list[bytes], most: int = 3) -> bytes:
    """Return the bytes after one to `most` mutations.

    Args:
        data: content of a valid file.
        rng: random numbers; the same numbers give the same bytes.
        others: contents of other files of the same kind.
        most: largest number of mutations.
    """
    for _ in range(1 if rng.random() < 0.6 else int(rng.integers(2, most + 1))):
        data = MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng, others)[:LONGEST]
    return data
