"""A real Slurm on this machine, in a folder of its own: munged, slurmctld and slurmd, on the loopback interface alone."""

import ctypes
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


def _end_with_the_test():
    """Have the kernel end a daemon when the process that started it is gone, even if that was killed (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Slurm:
    """Slurm in a folder; a context that starts it and ends everything that it has started.

    Sockets of Unix have paths of at most 107 characters, so the folder must be short.
    """

    def __init__(self, folder, cpus=4):
        self.folder, self.cpus = Path(folder), cpus
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._before = {}
        self.daemons = []

    def __enter__(self):
        self._before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        for left in (2, 1, 0):
            try:
                self._start()
            except BaseException as error:
                self.__exit__()
                # Another process may have taken a port since it was found free.
                if left == 0 or not isinstance(error, AssertionError):
                    raise
                os.environ.update(self.environment)
            else:
                return self

    def _start(self):
        for name in ("state", "spool", "munge"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(parents=True)
        (self.folder / "munge").chmod(0o700)
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        text = CONFIG.format(folder=self.folder, cpus=self.cpus, controller=_free_port(), daemon=_free_port())
        (self.folder / "slurm.conf").write_text(text)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._run(["munged", "--foreground", "--force", *(f"--{name}={self.folder}/munge/{file}" for name, file in files.items())])
        self._wait(lambda: (self.folder / "munge" / "socket").exists(), 30, "munged does not listen")
        for daemon in ("slurmctld", "slurmd"):
            self._run([daemon, "-D", "-f", str(self.folder / "slurm.conf")])
        self._wait(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%t"), 30, "no node became idle")

    def _run(self, command):
        """Start a daemon in the foreground, as a child."""
        with (self.folder / "output").open("ab") as output:
            self.daemons.append(
                subprocess.Popen(
                    [_program(command[0]), *command[1:]],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    preexec_fn=_end_with_the_test,
                )
            )

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
            assert all(daemon.poll() is None for daemon in self.daemons), f"{what}: {(self.folder / 'output').read_text()[-2000:]}"
            assert time.monotonic() < end, what
            time.sleep(0.1)

    def pids(self):
        """Return the process ids of the daemons."""
        return [daemon.pid for daemon in self.daemons]

    def __exit__(self, *unused):
        if self.daemons and all(daemon.poll() is None for daemon in self.daemons):
            subprocess.run(["scancel", "--user=root"], capture_output=True, timeout=30)
            end = time.monotonic() + 10
            while self.jobs() and time.monotonic() < end:
                time.sleep(0.1)
        # In the order in which they need each other: munged is the last one.
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.daemons = []
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
