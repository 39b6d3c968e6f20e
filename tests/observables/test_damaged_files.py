"""Damaged files of every kind are read or refused by `BadInput`, never by another exception."""

import warnings

import pytest

from nucleate.errors import BadInput
from nucleate.observables.data_files import read_gr, read_pattern
from nucleate.observables.magres import read_magres
from nucleate.observables.powder import powder_data
from nucleate.observables.radiation import radiation
from nucleate.observables.shifts import read_shifts

ROWS = "".join(f"{10 + 0.1 * k:.2f} {5 + k % 7}.5\n" for k in range(60))
MAGRES = (
    "#$magres-abinitio-v1.0\n[atoms]\nunits lattice Angstrom\nlattice 4 0 0 0 4 0 0 0 4\natom C C 1 0 0 0\natom C C 2 1 1 1\n[/atoms]\n"
)
MAGRES += "[magres]\nunits ms ppm\nms C 1 1 0 0 0 2 0 0 0 3\nms C 2 1 0 0 0 2 0 0 0 3\n[/magres]\n"
KINDS = {
    "a.xy": (read_pattern, "# pattern\n" + ROWS),
    "a.gr": (read_gr, "# qmax = 25\n" + ROWS),
    "a.csv": (read_shifts, "nucleus,shift,multiplicity,label\n13C,170.2,1,CO\nH,4.5,,\n"),
    "a.magres": (read_magres, MAGRES),
}
SPLICES = ["nan", "1e999", "-", ",", ";", "[", "9" * 20, '"', "#", "e", "é", "\0", "\n", " ", ""]


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files(name, tmp_path, rng):
    read, text = KINDS[name]
    path = tmp_path / name
    for _ in range(250):
        content = bytearray(text.encode())
        for _ in range(int(rng.integers(1, 4))):
            at, length = int(rng.integers(len(content) + 1)), int(rng.integers(0, 12))
            content[at : at + length] = SPLICES[rng.integers(len(SPLICES))].encode(rng.choice(["utf-8", "latin-1"]))
        path.write_bytes(bytes(content[: rng.integers(1, len(content) + 2)] if rng.random() < 0.2 else content))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = ""
            try:
                result = read(path)
                if read is read_pattern:
                    powder_data(result.x, result.y, radiation("CuKa"))
            except BadInput as error:
                said = str(error)
            assert "\n" not in said
            assert len(said) < 500
