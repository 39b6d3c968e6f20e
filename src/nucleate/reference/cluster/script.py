"""The job script of a block, as Parsl would submit it."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from nucleate.errors import BadInput, MissingDependency, quoted
from nucleate.reference.cluster.checks import PATIENCE, check_cluster, listening_address
from nucleate.reference.cluster.jobs import LABEL, NAME
from nucleate.reference.cluster.settings import ExecutorSettings

RUN = "RUN/blocks/parsl/000"
"""Place of Parsl's files in a run folder, for which a script that is only shown has no name yet."""


def job_script(settings: ExecutorSettings, source: str) -> str:
    """Return the job script of a block; nothing is submitted.

    The port of the search, which is chosen when it starts, is written as 0, and the run folder as RUN.

    Raises:
        MissingDependency, BadInput: as for `check_cluster`.
    """
    check_cluster(settings, source)
    try:
        from nucleate.reference.cluster.providers import make_executor
    except ImportError as error:
        raise MissingDependency(
            f"an executor file needs Parsl, which cannot be imported ({quoted(str(error), 60)}); run: pip install 'nucleate[cluster]'"
        ) from error
    if settings.provider == "kubernetes":
        # Its provider connects to the cluster when it is made.
        raise BadInput(f"{source}: provider 'kubernetes' has no job script; the settings are valid")
    executor: Any = make_executor(settings, listening_address(settings, source), None)
    executor.run_dir, executor.worker_port = RUN, 0
    executor.cert_dir, executor.logconf_path = f"{RUN}/{LABEL}/certificates", None
    executor.initialize_scaling()
    command = executor._get_launch_command("0")
    provider = executor.provider
    if settings.provider == "local":
        return f"{provider.worker_init}\n{provider.launcher(command, 1, provider.nodes_per_block, RUN)}\n"
    with tempfile.TemporaryDirectory(prefix="nucleate-") as name:
        provider.script_dir = name
        # The script is written, and its submission is answered with a failure.
        provider.execute_wait = lambda *unused, **more: (1, "", "")
        with suppress(Exception):
            provider.submit(command, 1, f"{NAME}0")
        written = [path for path in Path(name).iterdir() if path.is_file()]
        if not written:
            raise BadInput(f"{source}: Parsl wrote no job script from these settings; see the documentation of its provider")
        return written[0].read_text(encoding="utf-8").replace(name, f"{RUN}/submit_scripts")


def judged(settings: ExecutorSettings, script: str, source: str) -> str:
    """Have the batch system judge a job script without submitting it; return what it says, empty if it cannot be asked.

    Raises:
        BadInput: it would refuse the job.
    """
    if settings.provider != "slurm":
        return ""
    try:
        answer = subprocess.run(
            ["sbatch", "--test-only"], input=script, capture_output=True, text=True, timeout=PATIENCE
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    said = " ".join((answer.stderr or answer.stdout).split())
    if answer.returncode != 0:
        raise BadInput(f"{source}: the batch system would refuse the job: {quoted(said, 300)}")
    return quoted(said, 300)
