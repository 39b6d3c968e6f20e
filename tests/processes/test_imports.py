"""What processes import at their start, which the user waits for."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("nucleate.relax.parallel", ("ase.io", "scipy.spatial", "scipy.optimize", "scipy.integrate")),
        ("nucleate.reference.dispatch", ("ase.io", "scipy.spatial", "scipy.optimize", "scipy.integrate")),
        ("nucleate.cli.app", ("torch", "ase.io", "scipy")),
    ],
)
def test_processes_wait_for_no_module_that_they_do_not_use(module, slow):
    code = f"import sys, {module}; print([name for name in {slow} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
