"""Refuses turns of phrase that readers stumbled over, in docstrings, messages and pages.

    python tools/plain_words.py [FILE ...]

Without files: every Python file and page of the repository. Prints FILE:LINE: PHRASE and exits with 1 if there is one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PHRASES = (
    r'"""Of (the|a|an|all|each|every|everything|what|this|its|ions)\b',
    r'(help|description)="Of (the|a|an|all|each|every|everything|what|this|its)\b',
    r"\btold: (hears|called|what|is)\b",
    r"\bhears of\b",
    r"\bthe dearest\b",
    r"\bfell short\b",
    r"\bset in motion\b",
    r"\bno start led\b",
    r"\bin its own words\b",
    r"\bgoes before (it|them)\b",
    r"\bnobody wants to\b",
    r"\bwithout a word\b",
    r"\bspins move in its kernels\b",
    r"\bwas asked for\b",
    r"\bfrom memory\b",
    r"\bsomebody else's alarm\b",
    r"\bthis one knows\b",
    r"\bno file of nucleate's\b",
    r"\bengine's (last )?words\b",
    r"\batomic numbers it knows\b",
    r"\bnot a whole (file|model|emulator|committee)\b",
    r"\bno (file|settings) of this kind (does|hold)\b",
    r"\bclass _Told\b",
    r"\bnothing else says\b",
    r"\bmove it away\b",
    r"\bNobody waits\b",
    r"\bis no (CIF|structure|reference|label|table|training) of\b",
)


def files() -> list[Path]:
    """Return the tracked files that people read, this one and the change log of phrases excepted."""
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md", "*.j2"], capture_output=True, text=True, check=True).stdout.split()
    return [Path(name) for name in listed if Path(name).resolve() != Path(__file__).resolve() and not name.startswith("tests/")]


def main(names: list[str]) -> int:
    """Print what is found; the exit code."""
    pattern = re.compile("|".join(PHRASES))
    found = [
        f"{path}:{number}: {match[0]}"
        for path in ([Path(name) for name in names] or files())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := pattern.search(line))
    ]
    print("\n".join(found) if found else "plain words: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
