"""Write the tables of benchmarks/results/*.md from the result files beside the benchmarks.

    python benchmarks/tables.py            # write them
    python benchmarks/tables.py --check    # exit with 1 if a page differs from its result files

A page contains a pair of comments for each table, `<!-- result: room/name -->` and `<!-- end -->`; the lines between them are replaced by
what `table(data)` of benchmarks/room/name/run.py returns for its result.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from nucleate.benchmark.result_file import read_result, run_line

HERE = Path(__file__).resolve().parent
BLOCK = re.compile(r"(<!-- result: (?P<name>[a-z_/]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def script(name: str) -> ModuleType:
    """Return the module of a benchmark's run.py."""
    path = HERE / name / "run.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name.replace('/', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses of the script look up their module by name.
    sys.modules[spec.name] = module
    # Modules beside the script are found, as they are when it is run.
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def rendered(page: str) -> str:
    """Return the text of a page with its tables made from the result files."""

    def block(match: re.Match[str]) -> str:
        data = read_result(HERE / match["name"] / "result.json")
        return f"{match[1]}{run_line(data)}\n\n{script(match['name']).table(data)}\n{match[3]}"

    return BLOCK.sub(block, page)


def main() -> int:
    """Write or check all pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    different = []
    for path in sorted((HERE / "results").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        new = rendered(text)
        if new != text:
            different.append(path.name)
            if not check:
                path.write_text(new, encoding="utf-8")
    if different:
        print(f"{'differ from their result files' if check else 'written'}: {', '.join(different)}")
    return 1 if check and different else 0


if __name__ == "__main__":
    sys.exit(main())
