"""The command that a user would give a mutated input to, for each kind; whatever else it needs is valid."""

from __future__ import annotations

import io
from pathlib import Path

import ase.io
from ase.build import bulk
from input_corpus import EMT_TABLE, Item, corpus

TABLES = """
[search]
pool = 4
first_batch = 2
batch = 1
max_rounds = 1
budget = 3
proof = false
[generate]
workers = 1
prototype_share = 0.0
[model]
members = 2
radial = 4
channels = 4
hidden = 4
[training]
steps = 5
warm_steps = 5
[relax]
max_steps = 5
workers = 1
"""
"""Settings of a search of a few seconds."""
LENNARD_JONES = EMT_TABLE.replace("emt:EMT", "lj:LennardJones")
XRD = ("--wavelength", "CuKa", "--xrd")
EXPORTS = ("res", "json", "ase-db", "optimade", "ro-crate", "aiida")


def needs() -> Item:
    """Return the valid files that commands need beside the input."""
    crystals = {"al.cif": bulk("Al", "fcc", a=4.05), "mgo.extxyz": bulk("MgO", "rocksalt", a=4.2)}
    files: Item = {"lj.toml": (LENNARD_JONES + TABLES).encode()}
    for name, atoms in crystals.items():
        stream = io.BytesIO() if name.endswith("cif") else io.StringIO()
        ase.io.write(stream, atoms, format=name.rpartition(".")[2])
        data = stream.getvalue()
        files[name] = data if isinstance(data, bytes) else data.encode()
    files |= corpus("curve")[0]
    files["labels.extxyz"] = corpus("labelled")[0]["data.extxyz"]
    files |= {f"couplings/{name.partition('/')[2]}": data for name, data in corpus("pair-model")[0].items()}
    return files


def words(kind: str, number: int, given: Path, name: str, beside: Path) -> list[str]:
    """Return the words of a command.

    Args:
        kind: kind of the input.
        number: number of the input; inputs of some kinds go to several commands in turn.
        given: folder of the input.
        name: its first file.
        beside: folder of the files of `needs`, in which the command runs.
    """
    file, out = str(given / name), "--out"
    match kind:
        case "formula":
            # No command line can contain a zero byte.
            text = (given / name).read_bytes().replace(b"\0", b"").decode("utf-8", "surrogateescape") if (given / name).is_file() else ""
            return ["search", text, "--settings", "lj.toml", out, "made"]
        case "cif" | "poscar" | "extxyz":
            return ["relax", file, "--settings", "lj.toml", "--max-steps", "1", out, "made.extxyz"]
        case "labelled":
            return ["train", file, "--steps", "1", out, "made"]
        case "toml":
            return ["search", "--settings", file, "--budget", "2", "--pool", "4", out, "made"]
        case "executor":
            return ["cluster", "check", file]
        case "couplings":
            return ["spins", "show", file]
        case "pairs" if name.endswith(".csv"):
            columns = [f"--column={key}={value}" for key, value in (("element_a", "element_a"), ("element_b", "element_b"), ("J", "J_meV"))]
            return ["spins", "import", file, *columns, "--unit", "meV", "--pairs", "once", "--sign", "minus", out, "made.csv"]
        case "pairs":
            return ["spins", "train", file, "--model", "kernel", out, "made"]
        case "model" if name.startswith("electrons"):
            return ["electrons", "predict", file, "al.cif"]
        case "model" if name.startswith("emulator"):
            return ["electrons", "start", file, "al.cif", "--cube", "made.cube"]
        case "model":
            return ["evaluate", file, "labels.extxyz"]
        case "pair-model":
            (beside / "pairs.csv").write_text("element_a,element_b,distance\nFe,Ni,2.5\nMn,Cr,2.9\n")
            return ["spins", "predict", str(given / "model"), "pairs.csv"]
        case "run":
            run = str(given / "run")
            ways = [["show", run], ["resume", run, "--budget", "21"], ["evaluate", run, "labels.extxyz"], ["match", run, *XRD, "a.xy"]]
            ways += [["export", run, "--to", kind, out, "made"] for kind in EXPORTS]
            return ways[number % len(ways)]
        case "mala":
            limits = ["--low", "-6", "--spacing", "1", "--charge", "Al=3"]
            return ["electrons", "import", str(given / "al.npy"), str(given / "al.extxyz"), *limits, out, "made"]
        case "curve":
            measured = ["--pdf", file] if name.endswith(".gr") else [*XRD, file]
            return ["match", "al.cif", *measured, out, "made.html"]
        case "shifts":
            files = ["--shifts", str(given / "shifts.csv"), "--shieldings", str(given / "shieldings.magres")]
            return ["match", "mgo.extxyz", *files, "--nmr-error", "Mg=10", "--nmr-error", "O=10", out, "made.html"]
        case "campaign":
            systems = (given / name).is_file() and b"-" in (given / name).read_bytes()
            return ["campaign", file, "--settings", "lj.toml", *(("--max-atoms", "3") if systems else ()), out, "made"]
    raise ValueError(kind)
