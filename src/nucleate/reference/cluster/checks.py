"""Checks of an executor file against this computer, before anything is started."""

from __future__ import annotations

import shutil
import socket
import subprocess
from importlib.util import find_spec

from nucleate.errors import BadInput, MissingDependency, quoted
from nucleate.reference.cluster.settings import LOOPBACK, ExecutorSettings, is_everywhere

PROGRAMS = {"slurm": ("sbatch", "squeue", "scancel"), "pbs": ("qsub", "qstat", "qdel"), "kubernetes": (), "local": ()}
"""Programs that submit, list and cancel the jobs of each provider."""
PATIENCE = 30.0
"""Longest time that the batch system may take to answer, s."""


def check_cluster(settings: ExecutorSettings, source: str) -> None:
    """Check that blocks can be submitted from this computer; nothing is submitted.

    Raises:
        MissingDependency: Parsl or a program of the batch system is not installed.
        BadInput: the partition or the network interface does not exist.
    """
    if find_spec("parsl") is None:
        raise MissingDependency("an executor file needs Parsl; run: pip install 'nucleate[cluster]'")
    for program in PROGRAMS[settings.provider]:
        if shutil.which(program) is None:
            raise MissingDependency(
                f"{source}: provider '{settings.provider}' needs the program {program}, which is not found here; "
                "run nucleate on a login node, or load its module"
            )
    if settings.provider == "slurm" and settings.block.partition is not None:
        _check_partition(settings.block.partition, source)
    listening_address(settings, source)


def _check_partition(given: str, source: str) -> None:
    """Raise `BadInput` if a partition does not exist; nothing is known without `sinfo`, or if it does not answer."""
    if shutil.which("sinfo") is None:
        return
    try:
        answer = subprocess.run(["sinfo", "--noheader", "--format=%R"], capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return
    known = sorted(set(answer.stdout.split()))
    for name in given.split(","):
        if name not in known:
            shown = quoted(", ".join(known), 160) or "none"
            raise BadInput(f"{source}: block.partition '{quoted(name, 40)}' does not exist; the partitions are: {shown}")


def listening_address(settings: ExecutorSettings, source: str) -> str:
    """Return the address that the search listens on.

    Raises:
        BadInput: the interface does not exist or has no IPv4 address, or the address is not one of this computer.
    """
    connection = settings.connection
    if connection.interface is not None:
        return _address_of(connection.interface, source)
    address = connection.address or LOOPBACK
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as probe:
            probe.bind((found[4][0], 0))
    except (OSError, UnicodeError):
        raise BadInput(
            f"{source}: connection.address '{quoted(address, 60)}' is not an address of this computer (see: ip address)"
        ) from None
    if is_everywhere(str(found[4][0])):
        raise BadInput(
            f"{source}: connection.address '{quoted(address, 60)}' would listen everywhere; name connection.interface, such as ib0"
        )
    return str(found[4][0])


def _address_of(interface: str, source: str) -> str:
    import psutil

    interfaces = psutil.net_if_addrs()
    if interface not in interfaces:
        known = quoted(", ".join(interfaces), 120)
        raise BadInput(f"{source}: connection.interface '{quoted(interface, 40)}' does not exist here; the interfaces are: {known}")
    for entry in interfaces[interface]:
        if entry.family == socket.AF_INET:
            return str(entry.address)
    raise BadInput(f"{source}: connection.interface '{quoted(interface, 40)}' has no IPv4 address; name another one")
