"""Reports in an environment without extras."""

import subprocess
import sys

EXTRAS = ("zarr", "torchpme", "numba", "sklearn", "gpaw", "phonopy", "starlette", "gfnff", "rdkit", "chgnet", "sevenn")


def test_a_search_and_its_report_need_the_core_alone():
    """Modules that are not there, as far as imports can tell."""
    hidden = "; ".join(f"sys.modules[{name!r}] = None" for name in EXTRAS)
    code = f"import sys; {hidden}; import nucleate.api, nucleate.report.html, nucleate.cli.app; nucleate.search"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
