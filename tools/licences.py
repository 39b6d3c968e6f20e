"""Lists the licences of all packages of requirements.lock on docs/licences.md.

    python tools/licences.py

The licences are those that the installed packages state. Ends with 1 if one of them is not installed or has a licence that is neither
permissive nor compatible with the GPL.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = (
    "MIT", "BSD", "Apache", "ISC", "PSF", "Python Software Foundation", "MPL", "Mozilla", "0BSD", "CC0", "Zlib", "BSL-1.0",
    "Public Domain", "Unlicense", "LGPL", "GNU Lesser General Public License", "GNU LESSER GENERAL PUBLIC LICENSE", "GPL",
)  # fmt: skip
STATED_ELSEWHERE = {"symfc": "BSD-3-Clause", "torch-ema": "MIT"}
"""Licences of packages whose metadata name none, from their licence files."""
HEAD = """# Licences of the dependencies

nucleate has the MIT licence. The packages that it installs with all its extras, without those of `mace`, `aiida`, `jobflow`,
`cluster` and `benchmarks`, are listed here with the licence that each of them states. Packages under the GPL and LGPL are used through their Python
interfaces: GPAW, its data sets and the packages of dispersion corrections and force fields are optional. `python tools/licences.py` writes
this page from the installed packages of `requirements.lock`.

| package | licence |
|---|---|
"""


def names() -> list[str]:
    """Return the names of the packages in the lock file."""
    return re.findall(r"^([A-Za-z0-9][\w.-]*)==", (ROOT / "requirements.lock").read_text(), re.M)


def licence(name: str) -> str:
    """Return the licence that an installed package states: an SPDX expression, its classifiers, or a short text."""
    data = distribution(name).metadata
    if data.get("License-Expression"):
        return str(data["License-Expression"])
    classified = [line.rpartition("::")[2].strip() for line in data.get_all("Classifier", []) if line.startswith("License ::")]
    classified = [text for text in classified if text != "DFSG approved"]
    return STATED_ELSEWHERE.get(name) or " or ".join(classified) or str(data.get("License", "")).strip().split("\n")[0]


def main() -> int:
    """Write the page; return the exit code."""
    rows, refused = [], []
    for name in names():
        try:
            text = licence(name)
        except PackageNotFoundError:
            refused.append(f"{name}: is not installed; run: make locked")
            continue
        rows.append(f"| {name} | {text} |")
        if not any(word in text for word in ACCEPTED):
            refused.append(f"{name}: the licence '{text}' is not among those that are accepted")
    (ROOT / "docs" / "licences.md").write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    print("\n".join(refused) or f"{len(rows)} licences are permissive or compatible with the GPL")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
