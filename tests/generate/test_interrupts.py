"""An interrupt at any moment of the generation ends it."""

import subprocess
import sys
from pathlib import Path


def test_interrupts_at_many_moments():
    script = Path(__file__).with_name("interrupted_runs.py")
    done = subprocess.run([sys.executable, "-W", "ignore", str(script), "4", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 "), done.stdout
