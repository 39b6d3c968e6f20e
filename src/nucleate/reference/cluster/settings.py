"""Settings of an executor file: where blocks of workers run, how large they are, and what one label needs."""

from __future__ import annotations

import ipaddress
import re
import shlex
import socket
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from nucleate.errors import BadInput, quoted
from nucleate.persist.toml import Line, read_settings, validated

LOOPBACK = "127.0.0.1"
_TIME = re.compile(r"(?:(?P<days>[0-9]{1,3})-)?(?P<hours>[0-9]{1,4}):(?P<minutes>[0-5][0-9]):(?P<seconds>[0-5][0-9])")
FILE_HINT = "examples are in docs/slurm.md"


def seconds_of(text: str) -> int:
    """Return the seconds of a time such as `04:00:00` or `2-00:00:00`.

    Raises:
        ValueError: the text is not such a time.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError("write hours, minutes and seconds, such as 04:00:00, or with days, such as 2-00:00:00")
    days, hours, minutes, seconds = (int(match[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def _time(text: str) -> str:
    seconds_of(text)
    return text.strip()


def _name(text: str) -> str:
    # An empty name would become `#SBATCH --partition=`, which some versions of Slurm accept and others refuse.
    if not re.fullmatch(r"[A-Za-z0-9_.,:@+/-]+", text):
        raise ValueError("write a name without spaces, or leave it out")
    return text


def _python(text: str) -> str:
    # It is part of a job script and of a text in which Parsl replaces braces.
    if not re.fullmatch(r"[A-Za-z0-9_./+@=-]+", text):
        raise ValueError("write the path of a Python without spaces, quotation marks, braces or $")
    return text


def is_everywhere(address: str) -> bool:
    """Return whether an address means every network interface; `0` and `0.0` do as well as `0.0.0.0`."""
    text = address.strip().strip("[]").partition("%")[0]
    if text in ("", "*"):
        return True
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        try:
            found = ipaddress.ip_address(socket.inet_aton(text))
        except OSError:
            return False
    mapped = getattr(found, "ipv4_mapped", None)
    return found.is_unspecified or (mapped is not None and mapped.is_unspecified)


Time = Annotated[Line, AfterValidator(_time)]
"""Time as HH:MM:SS or D-HH:MM:SS."""
Name = Annotated[Line, AfterValidator(_name)]


class BlockSettings(BaseModel):
    """One job of the batch system, in which workers compute labels one after another."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    partition: Name | None = Field(None, description="Partition (slurm) or queue (pbs); unset: the default one.")
    account: Name | None = Field(None, description="Account that is charged; unset: the default one.")
    qos: Name | None = Field(None, description="Quality of service (slurm).")
    constraint: Line | None = Field(None, description="Features that the nodes must have (slurm).")
    walltime: Time = Field("04:00:00", description="Wall time of a block, HH:MM:SS or D-HH:MM:SS, rounded up to minutes.")
    last_label: Time | None = Field(
        None, description="Time before the end of a block after which it begins no more labels, HH:MM:SS; unset: it begins them to its end."
    )
    nodes: int = Field(1, ge=1, le=10_000, description="Number of nodes of a block.")
    workers_per_node: int | None = Field(
        None, ge=1, le=4096, description="Labels that run side by side on a node; unset: as many as its cores allow."
    )
    cores_per_node: int | None = Field(None, ge=1, le=4096, description="Cores of a node that a block uses; unset: those of its workers.")
    memory_per_node: int | None = Field(None, ge=1, le=100_000, description="Memory of a node that a block requests, GB.")
    exclusive: bool = Field(False, description="Whether a block does not share its nodes with other jobs (slurm).")
    min_blocks: int = Field(0, ge=0, le=10_000, description="Number of blocks that are kept while there are no labels to compute.")
    max_blocks: int = Field(1, ge=1, le=10_000, description="Largest number of blocks, waiting ones included.")
    idle: float = Field(120.0, gt=0, le=1e6, description="Time without labels after which a block is given back, s.")
    options: list[Line] = Field(
        default_factory=list, description="Further options of the job, such as '--mail-type=FAIL'; one text for each."
    )
    setup: list[Line] = Field(
        default_factory=list, description="Lines of the job script before the workers start, such as 'module load gpaw'."
    )
    python: Annotated[Line, AfterValidator(_python)] | None = Field(
        None, description="Python on the nodes; unset: the one that runs the search, which needs a shared file system."
    )
    srun: list[Line] = Field(
        default_factory=list, description="Further options of the srun that starts one group of workers on each node of a block."
    )
    image: Line | None = Field(None, description="Container image with nucleate and parsl (kubernetes).")
    namespace: Name = Field("default", description="Namespace (kubernetes).")


class LabelSettings(BaseModel):
    """What one label needs."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cores: int = Field(1, ge=1, le=4096, description="Cores of one label.")
    memory: float | None = Field(
        None, gt=0, le=100_000, description="Memory of one label, GB; limits the number of workers on a node. Unset: no limit."
    )
    ranks: int = Field(1, ge=1, le=100_000, description="MPI ranks of one label; 1: without MPI.")
    launch: Line | None = Field(
        None,
        description="Command before an MPI program, in which {ranks} stands for their number; unset: 'srun --exact -n {ranks}' on slurm, "
        "'mpiexec -n {ranks}' elsewhere.",
    )
    attempts: int = Field(
        5, ge=1, le=1000, description="Times that a label is handed out before it is recorded as failed, if its worker or block is lost."
    )


class ConnectionSettings(BaseModel):
    """How workers reach the search."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    interface: Name | None = Field(None, description="Network interface of this computer that the nodes reach, such as ib0.")
    address: Line | None = Field(None, description="Address of this computer that the nodes reach, in place of `interface`.")
    heartbeat: int = Field(10, ge=1, le=3600, description="Time between two signs of life of a block, s.")
    silence: int = Field(60, ge=3, le=86400, description="Time without a sign of life after which a block is lost, s.")
    poll: float = Field(10.0, ge=0.2, le=60, description="Time between two questions to the batch system, s.")
    ports: tuple[int, int] = Field((54000, 55000), description="Range of ports that the search listens on for workers.")
    broken_blocks: int = Field(
        2, ge=1, le=1000, description="Number of successive blocks that end before a worker reports, after which the search stops."
    )


class ExecutorSettings(BaseModel):
    """An executor file."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    provider: Literal["slurm", "pbs", "kubernetes", "local"] = Field(
        "slurm", description="What starts blocks: slurm, pbs, kubernetes or local."
    )
    block: BlockSettings = Field(default_factory=BlockSettings, description="One job of the batch system.")
    label: LabelSettings = Field(default_factory=LabelSettings, description="What one label needs.")
    connection: ConnectionSettings = Field(default_factory=ConnectionSettings, description="How workers reach the search.")

    @model_validator(mode="after")
    def _together(self) -> ExecutorSettings:
        block, label, connection = self.block, self.label, self.connection
        if connection.interface is not None and connection.address is not None:
            raise ValueError("connection.interface and connection.address are both given; remove one")
        if connection.address is not None and is_everywhere(connection.address):
            raise ValueError(f"connection.address = '{connection.address}' would listen everywhere; name connection.interface, such as ib0")
        if self.provider != "local" and connection.interface is None and connection.address is None:
            raise ValueError("connection.interface is missing: name the interface that the nodes reach, such as ib0 (see: ip address)")
        if connection.silence < 2 * connection.heartbeat:
            raise ValueError("connection.silence must be at least twice connection.heartbeat")
        if not 1024 <= connection.ports[0] < connection.ports[1] <= 65535:
            raise ValueError("connection.ports: give the first and the last port, from 1024 to 65535")
        if label.launch is not None:
            if label.ranks == 1:
                raise ValueError("label.launch has no effect with one rank; set label.ranks, or remove it")
            # shlex raises ValueError for an unclosed quotation mark.
            shlex.split(label.launch)
        if seconds_of(block.walltime) < 60:
            raise ValueError("block.walltime must be at least one minute, 00:01:00")
        if label.memory is not None and block.memory_per_node is None:
            raise ValueError("label.memory needs block.memory_per_node, else nobody reserves it; give both, or remove label.memory")
        if block.last_label is not None and seconds_of(block.last_label) >= seconds_of(block.walltime):
            raise ValueError("block.last_label must be shorter than block.walltime")
        if block.cores_per_node is not None and block.cores_per_node < self.workers * self.cores_of_a_label:
            raise ValueError(
                f"{self.workers} labels of {self.cores_of_a_label} cores do not fit into block.cores_per_node = {block.cores_per_node}"
            )
        if block.memory_per_node is not None and label.memory is not None and label.memory * self.workers > block.memory_per_node:
            raise ValueError(
                f"{self.workers} labels of {label.memory:g} GB do not fit into block.memory_per_node = {block.memory_per_node}"
            )
        self._without_effect()
        return self

    def _without_effect(self) -> None:
        block = self.block
        given = {
            "qos": block.qos, "constraint": block.constraint, "exclusive": block.exclusive or None, "srun": block.srun or None,
        }  # fmt: skip
        if self.provider != "slurm":
            for name, value in given.items():
                if value is not None:
                    raise ValueError(f"block.{name} has no effect on provider '{self.provider}'; remove it")
        if self.provider == "kubernetes" and block.image is None:
            raise ValueError("block.image is missing: name a container image with nucleate and parsl")
        if self.provider != "kubernetes" and block.image is not None:
            raise ValueError(f"block.image has no effect on provider '{self.provider}'; remove it")
        if self.provider in ("local", "kubernetes") and block.options:
            raise ValueError(f"block.options has no effect on provider '{self.provider}'; remove it")

    @property
    def cores_of_a_label(self) -> int:
        """Cores that one label occupies."""
        return max(self.label.cores, self.label.ranks)

    @property
    def workers(self) -> int:
        """Number of workers on a node."""
        block = self.block
        if block.workers_per_node is not None:
            return block.workers_per_node
        fit = [] if block.cores_per_node is None else [block.cores_per_node // self.cores_of_a_label]
        if block.memory_per_node is not None and self.label.memory is not None:
            fit.append(int(block.memory_per_node // self.label.memory))
        return max(1, min(fit)) if fit else 1

    @property
    def cores(self) -> int:
        """Number of cores of a block that are charged."""
        return self.block.nodes * (self.block.cores_per_node or self.workers * self.cores_of_a_label)

    @property
    def launch(self) -> str:
        """Command before an MPI program; empty without MPI."""
        if self.label.ranks == 1:
            return ""
        default = "srun --exact -n {ranks}" if self.provider == "slurm" else "mpiexec -n {ranks}"
        return (self.label.launch or default).replace("{ranks}", str(self.label.ranks))


def cluster_settings(data: dict[str, Any], source: str) -> ExecutorSettings:
    """Validate the settings of an executor file.

    Args:
        data: settings as nested dictionaries.
        source: file, for error messages.

    Raises:
        BadInput: a key is unknown, a value is wrong, or settings contradict each other.
    """
    return validated(ExecutorSettings, data, source)


def read_cluster(path: str | PathLike[str]) -> ExecutorSettings:
    """Read an executor file.

    Raises:
        BadInput: the file cannot be read as TOML, or its settings are invalid.
    """
    if Path(path).is_dir():
        raise BadInput(f"{quoted(str(path), 120)}: is a folder; name an executor file in TOML ({FILE_HINT})")
    return cluster_settings(read_settings(path, FILE_HINT), str(path))
