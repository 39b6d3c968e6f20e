"""A real Slurm on this machine, in a folder of its own: munged, slurmctld and slurmd, on the loopback interface alone."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CONFIG = """
ClusterName=nucleate
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=2
# The node states more cores than the machine has: workers of tests and benchmarks sleep.
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Return why Slurm cannot be started here; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "Slurm's daemons are started by root on Linux alone"
    lacking = [program for program in PROGRAMS if _program(program) is None]
    return f"not installed: {', '.join(lacking)} (apt-get install slurmctld slurmd slurm-client munge)" if lacking else None


def _program(name):
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Slurm:
    """Slurm in a folder; a context that starts it and ends everything that it has started.

    Sockets of Unix have paths of at most 107 characters, so the folder must be short.
    """

    def __init__(self, folder, cpus=4):
        self.folder, self.cpus = Path(folder), cpus
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._before = {}

    def __enter__(self):
        for name in ("state", "spool", "munge"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "munge").chmod(0o700)
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        text = CONFIG.format(folder=self.folder, cpus=self.cpus, controller=_free_port(), daemon=_free_port())
        (self.folder / "slurm.conf").write_text(text)
        self._before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
            munge = [f"--{name}={self.folder}/munge/{file}" for name, file in files.items()]
            self._run(["munged", "--force", *munge])
            for daemon in ("slurmctld", "slurmd"):
                self._run([daemon, "-f", str(self.folder / "slurm.conf")])
            self._wait(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%t"), 30, "no node became idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _run(self, command):
        done = subprocess.run([_program(command[0]), *command[1:]], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{command[0]}: {done.stderr or done.stdout}"

    def ask(self, *command):
        """Return the output of a command of Slurm."""
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout

    def jobs(self):
        """Return the ids of jobs that wait or run, or that are just ending."""
        return self.ask("squeue", "--noheader", "--format=%i").split()

    def wait_until_empty(self, seconds=30):
        """Wait until no job is left; fail after a time."""
        self._wait(lambda: not self.jobs(), seconds, "jobs are left")

    def _wait(self, true, seconds, what):
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, what
            time.sleep(0.1)

    def pids(self):
        """Return the process ids of the daemons."""
        found = []
        for name in ("slurmctld.pid", "slurmd.pid", "munge/pid"):
            try:
                found.append(int((self.folder / name).read_text()))
            except (OSError, ValueError):
                continue
        return found

    def __exit__(self, *unused):
        if self.pids():
            subprocess.run(["scancel", "--user=root"], capture_output=True, timeout=30)
            end = time.monotonic() + 10
            while self.jobs() and time.monotonic() < end:
                time.sleep(0.1)
        pids = self.pids()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        end = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
            time.sleep(0.05)
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
