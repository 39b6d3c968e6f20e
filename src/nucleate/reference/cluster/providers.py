"""Parsl's providers and executor for the settings of an executor file. Imports Parsl; the rest of nucleate imports this module late."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.jobs.states import JobState
from parsl.launchers import SimpleLauncher, SrunLauncher
from parsl.providers import KubernetesProvider, LocalProvider, PBSProProvider, SlurmProvider

from nucleate.processes.workers import THREAD_VARIABLES
from nucleate.reference.cluster.blocks import Blocks
from nucleate.reference.cluster.jobs import LABEL, NAME, listed
from nucleate.reference.cluster.settings import ExecutorSettings, seconds_of

_STATES = {JobState.PENDING: "waiting", JobState.HELD: "waiting", JobState.RUNNING: "running", JobState.CANCELLED: "cancelled",
           JobState.COMPLETED: "ended", JobState.FAILED: "ended", JobState.TIMEOUT: "ended"}  # fmt: skip


def setup_text(settings: ExecutorSettings) -> str:
    """Return the lines of a job script before its workers start."""
    label = settings.label
    threads = max(1, settings.cores_of_a_label // label.ranks)
    lines = [f"export {name}={threads}" for name in THREAD_VARIABLES]
    if settings.provider != "slurm":
        # Parsl states cores and memory of a node only to Slurm; else it would start as many workers as the node has cores.
        lines.append(f"export PARSL_CORES={settings.cores // settings.block.nodes}")
        if settings.block.memory_per_node is not None:
            lines.append(f"export PARSL_MEMORY_GB={settings.block.memory_per_node}")
    return "\n".join([*lines, *settings.block.setup])


def _options(settings: ExecutorSettings) -> str:
    prefix = "#PBS" if settings.provider == "pbs" else "#SBATCH"
    return "\n".join(text if text.startswith("#") else f"{prefix} {text}" for text in settings.block.options)


def _walltime(settings: ExecutorSettings) -> str:
    # Parsl knows no days and drops seconds, so they are rounded up to minutes.
    seconds = -(-seconds_of(settings.block.walltime) // 60) * 60
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _arguments(settings: ExecutorSettings) -> tuple[type[Any], dict[str, Any]]:
    """Return the class of Parsl's provider and its arguments."""
    block = settings.block
    # Blocks begin with the first label; Parsl would submit `init_blocks` at once.
    common: dict[str, Any] = {
        "nodes_per_block": block.nodes, "init_blocks": block.min_blocks, "min_blocks": block.min_blocks, "max_blocks": block.max_blocks,
        "worker_init": setup_text(settings),
    }  # fmt: skip
    if settings.provider == "kubernetes":
        memory = {} if block.memory_per_node is None else dict.fromkeys(("init_mem", "max_mem"), f"{block.memory_per_node}Gi")
        cores = settings.cores // block.nodes
        return KubernetesProvider, common | memory | {
            "image": block.image, "namespace": block.namespace, "init_cpu": cores, "max_cpu": cores,
        }  # fmt: skip
    # One group of workers on each node; Parsl's manager starts the workers of a node itself. With --overlap the step of these groups does
    # not occupy the cores, else the srun of an MPI label inside it would wait for ever. The groups are no MPI program.
    groups = " ".join(["--overlap", "--mpi=none", *block.srun])
    common["launcher"] = SimpleLauncher() if block.nodes == 1 else SrunLauncher(overrides=groups)
    if settings.provider == "local":
        return LocalProvider, common
    common |= {"account": block.account, "walltime": _walltime(settings), "scheduler_options": _options(settings)}
    cores = settings.cores // block.nodes
    if settings.provider == "pbs":
        memory = {} if block.memory_per_node is None else {"select_options": f"mem={block.memory_per_node}gb"}
        return PBSProProvider, common | memory | {"queue": block.partition, "cpus_per_node": cores}
    return PatientSlurm, common | {
        "partition": block.partition, "qos": block.qos, "constraint": block.constraint, "cores_per_node": cores,
        "mem_per_node": block.memory_per_node, "exclusive": block.exclusive, "cmd_timeout": 60,
    }  # fmt: skip


class PatientSlurm(SlurmProvider):
    """Parsl's provider for Slurm, which neither believes every end of a job nor waits for one that was forgotten."""

    def execute_wait(self, cmd: str, timeout: Any = None) -> Any:
        """Run a command; a job that Slurm has forgotten is no failure, else Parsl would take it for running for ever."""
        code, out, error = super().execute_wait(cmd, timeout)  # type: ignore[no-untyped-call]
        return (0, out, error) if code != 0 and cmd.startswith("squeue") and "Invalid job id" in error else (code, out, error)

    def _status(self) -> None:
        before = {job: facts["status"] for job, facts in self.resources.items()}
        super()._status()  # type: ignore[no-untyped-call]
        # Parsl takes a job that the accounting does not list (yet) for completed. The end of a job that was never seen running is believed
        # if the controller does not know the job any more.
        doubtful = [
            job
            for job, old in before.items()
            if old.state == JobState.PENDING and self.resources[job]["status"].state == JobState.COMPLETED
        ]
        there = listed("slurm") if doubtful else {}
        for job in doubtful:
            if there is None or job in there:
                self.resources[job]["status"] = before[job]


def make_provider(settings: ExecutorSettings, blocks: Blocks | None) -> Any:
    """Return Parsl's provider, which records its jobs.

    Args:
        settings: settings of the executor file.
        blocks: record of jobs; None: nothing is recorded.
    """
    base, arguments = _arguments(settings)
    walltime = float(seconds_of(settings.block.walltime))

    class Recorded(base):  # type: ignore[misc, valid-type]
        """The provider, which writes down every job and its states."""

        def submit(self, command: str, tasks_per_node: int, job_name: str = NAME) -> Any:
            if blocks is None:
                return super().submit(command, tasks_per_node, job_name)
            if settings.provider == "slurm":
                job_name = job_name.replace(NAME, blocks.name, 1)
            blocks.submitting += 1
            try:
                job = super().submit(command, tasks_per_node, job_name)
                if job:
                    blocks.submitted(str(job), settings.provider, settings.cores, walltime, settings.cores_of_a_label)
                    if blocks.closing:
                        # The executor was closed while the batch system thought about this job.
                        self.cancel([job])
                return job
            finally:
                blocks.submitting -= 1

        def status(self, job_ids: list[Any]) -> Any:
            found = super().status(job_ids)
            if blocks is not None:
                for job, status in zip(job_ids, found, strict=True):
                    if status.state in _STATES:
                        blocks.seen(str(job), _STATES[status.state])
            return found

        def cancel(self, job_ids: list[Any]) -> Any:
            found = super().cancel(job_ids)
            if blocks is not None:
                for job, gone in zip(job_ids, found, strict=True):
                    if gone:
                        blocks.seen(str(job), "cancelled")
            return found

        @property
        def status_polling_interval(self) -> float:
            return settings.connection.poll

    Recorded.__name__ = Recorded.__qualname__ = base.__name__
    return Recorded(**arguments)


class LabelExecutor(HighThroughputExecutor):
    """Parsl's executor, which keeps blocks that are starting while there are fewer labels than workers."""

    def scale_in(self, blocks: int, max_idletime: float | None = None) -> list[str]:
        """Cancel idle blocks; see Parsl.

        Parsl (2026.10) asks for zero blocks when the labels leave some workers of a block without work, and then cancels all idle blocks,
        to which those count that have not connected yet. A lone label would never begin.
        """
        return super().scale_in(blocks, max_idletime) if blocks > 0 else []


def make_executor(settings: ExecutorSettings, address: str, blocks: Blocks | None) -> HighThroughputExecutor:
    """Return Parsl's executor, with encrypted and authenticated traffic on one address.

    Args:
        settings: settings of the executor file.
        address: address of this computer on which workers are awaited.
        blocks: record of jobs; None: nothing is recorded.
    """
    block, label, connection = settings.block, settings.label, settings.connection
    python = shlex.quote(block.python or sys.executable).replace("{", "{{").replace("}", "}}")
    # Modules rather than scripts: the folder of the scripts need not be on PATH, neither here nor on the nodes.
    workers = DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", f"{python} -P -m parsl.executors.high_throughput.process_worker_pool", 1)
    drain = None if block.last_label is None else max(1, seconds_of(block.walltime) - seconds_of(block.last_label))
    return LabelExecutor(
        label=LABEL, provider=make_provider(settings, blocks), launch_cmd=workers,
        interchange_launch_cmd=[sys.executable, "-P", "-m", "nucleate.reference.cluster.interchange"],
        address=address, loopback_address="127.0.0.1", worker_port_range=connection.ports,
        cores_per_worker=float(settings.cores_of_a_label), mem_per_worker=label.memory, max_workers_per_node=settings.workers,
        heartbeat_period=connection.heartbeat, heartbeat_threshold=connection.silence, drain_period=drain,
        # Parsl's own handler declares the executor broken after a few lost blocks, which are normal on a cluster.
        block_error_handler=False, encrypted=True,
    )  # fmt: skip


def make_config(settings: ExecutorSettings, address: str, folder: Path, blocks: Blocks) -> Config:
    """Return Parsl's configuration for a run folder.

    Args:
        settings: settings of the executor file.
        address: address of this computer on which workers are awaited.
        folder: folder of Parsl's files: job scripts, their output and logs.
        blocks: record of jobs.
    """
    return Config(
        executors=[make_executor(settings, address, blocks)], run_dir=str(folder), initialize_logging=False,
        # Lost labels are repeated by nucleate, which counts the attempts in its ledger.
        retries=0, strategy="htex_auto_scale", strategy_period=min(settings.connection.poll, 5.0), max_idletime=settings.block.idle,
        usage_tracking=0,
    )  # fmt: skip
