"""Mutations of containers that keep their outside valid: NumPy arrays, safetensors, zip files and SQLite databases."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from input_mutations import mutated

DTYPES = ("<f4", "<f8", ">f4", "<f2", "<i4", "<i8", "<u1", "<c8", "|b1", "|O", "<U3", "|S4", "|V8", "<M8[s]", "f,i", "<f16")


class Unpickled:
    """Object whose unpickling leaves a file behind, to notice that a reader unpickles."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self.path, "w"))


def odd_array(data: bytes, rng: np.random.Generator, mark: str) -> bytes:
    """Return a NumPy file with another type, shape, order or header; `mark` is a file that exists if it was unpickled."""
    way = int(rng.integers(8))
    array = np.load(io.BytesIO(data), allow_pickle=False)
    stream = io.BytesIO()
    if way == 0:
        np.save(stream, np.array([Unpickled(mark)] * 2, dtype=object), allow_pickle=True)
    elif way == 1:
        np.save(stream, array.astype(("<f8", ">f4", "<f2", "<i4", "<c8", "|b1", "<U8")[int(rng.integers(7))]))
    elif way == 2:
        axes = rng.permutation(array.ndim)
        np.save(stream, np.asfortranarray(array.transpose(axes)))
    elif way == 3:
        shape = [int(n) for n in rng.choice([0, 1, 2, 3, array.size], size=int(rng.integers(0, 6)))]
        np.save(stream, np.resize(array, shape if np.prod(shape) <= 10**5 else [array.size]))
    elif way == 4:
        bad = array.copy()
        bad.flat[rng.integers(bad.size, size=3)] = rng.choice([np.nan, np.inf, -1.0, 1e30, -1e-3])
        np.save(stream, bad)
    elif way == 5:
        header = repr(
            {
                "descr": DTYPES[int(rng.integers(len(DTYPES)))],
                "fortran_order": bool(rng.integers(2)),
                "shape": tuple(int(n) for n in rng.choice([0, 1, 2, 10, 2**31, 2**62, 10**18, -1], size=int(rng.integers(0, 9)))),
            }
        ).encode()
        size = len(header) if rng.random() < 0.7 else int(rng.integers(65536))
        return b"\x93NUMPY" + bytes([int(rng.integers(1, 5)), 0]) + size.to_bytes(2, "little") + header + data[128:]
    elif way == 6:
        (np.savez if rng.random() < 0.5 else np.savez_compressed)(stream, array)
    else:
        np.save(stream, array * (10.0 ** rng.integers(-12, 12)))
    return stream.getvalue()


def odd_zip(rng: np.random.Generator) -> bytes:
    """Return a zip file whose entries expand without end, leave the folder, or occur twice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        way = int(rng.integers(3))
        if way == 0:
            archive.writestr("ldos.npy", b"\0" * 50_000_000)
        elif way == 1:
            archive.writestr("../../../../dev/shm/escaped.npy", b"\x93NUMPY")
        else:
            archive.writestr("a.npy", b"x")
            archive.writestr("/a.npy", b"y")
    return stream.getvalue()


def odd_tensors(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a safetensors file with another header: entries of the metadata, names, types, shapes or places of tensors."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    body, names = data[8 + length :], [name for name in header if name != "__metadata__"]
    metadata = header.get("__metadata__", {})
    way = int(rng.integers(10))
    if way < 5 and metadata:
        key = sorted(metadata)[int(rng.integers(len(metadata)))]
        metadata[key] = mutated(metadata[key].encode(), rng, [text.encode() for text in metadata.values()]).decode("latin-1")
    elif way == 5 and metadata:
        del metadata[sorted(metadata)[int(rng.integers(len(metadata)))]]
    elif way == 6 and names:
        one, two = (names[int(k)] for k in rng.integers(len(names), size=2))
        header[one], header[two] = header[two], header[one]
    elif way == 7 and names:
        entry = header[names[int(rng.integers(len(names)))]]
        entry["shape"] = [int(n) for n in rng.choice([0, 1, 2, 7, 2**40], size=int(rng.integers(0, 4)))]
    elif way == 8 and names:
        # The bytes stay as they are, so the reader gets other numbers.
        entry = header[names[int(rng.integers(len(names)))]]
        wide = entry["dtype"] in ("F64", "I64")
        entry["dtype"] = str(rng.choice(["I64", "F64"] if wide else ["I32", "F32", "U32"]))
    else:
        at = int(rng.integers(max(1, len(body) - 8)))
        body = body[:at] + rng.choice([np.nan, np.inf, 1e300, -1.0, 0.0], size=1).tobytes() + body[at + 8 :]
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def odd_database(data: bytes, rng: np.random.Generator) -> bytes:
    """Return an SQLite database with flipped bytes in its pages, or without a table or column, or with other values."""
    if rng.random() < 0.4:
        changed = bytearray(data)
        for _ in range(int(rng.choice([1, 3, 30, 300]))):
            changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
        return bytes(changed)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        path.write_bytes(data)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table' ORDER BY name")]
            table = tables[int(rng.integers(len(tables)))]
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            column = columns[int(rng.integers(len(columns)))]
            way = int(rng.integers(8))
            try:
                if way == 0:
                    db.execute(f"DROP TABLE {table}")
                elif way == 1:
                    db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
                elif way == 2:
                    db.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
                elif way == 3:
                    db.execute(f"PRAGMA user_version={int(rng.choice([0, 1, 2, 3, 99, -1]))}")
                else:
                    _change(db, table, column, rng)
            except sqlite3.Error:
                pass  # A key cannot be dropped or doubled: the database stays as it is.
        return path.read_bytes()


def _change(db: sqlite3.Connection, table: str, column: str, rng: np.random.Generator) -> None:
    """Replace the value of a column in one row, or in all."""
    rows = db.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid").fetchall()
    if not rows:
        return
    row, value = rows[int(rng.integers(len(rows)))]
    odd = (None, -1, 0, 2**62, float("inf"), 1e308, "", "x", b"", b"\x00\xff", "[" * 3000, "nan", "[]", "{}", "null", "[[1]]")
    new: object = odd[int(rng.integers(len(odd)))]
    if rng.random() < 0.5 and isinstance(value, str | bytes):
        raw = value.encode() if isinstance(value, str) else value
        raw = mutated(raw, rng, [])
        new = raw.decode("latin-1") if isinstance(value, str) else raw
    everywhere = "" if rng.random() < 0.2 else " WHERE rowid=?"
    db.execute(f"UPDATE {table} SET {column}=?{everywhere}", (new, row) if everywhere else (new,))
