"""A real PostgreSQL on this machine, in a folder of its own, on a Unix socket alone and with a password."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

PASSWORD = "of the tests"


def binaries():
    """Return the folder of the newest server's programs; None if there is none."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))  # noqa: PTH207
    return Path(found[-1]).parent if found else None


def missing():
    """Return why PostgreSQL cannot be started here; None if it can."""
    if binaries() is None:
        return "Debian's postgresql is not installed"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    if os.geteuid() == 0 and not any(user.pw_name == "postgres" for user in pwd.getpwall()):
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


class Postgres:
    """A server with the empty database `labels`; the path of a socket is short, so the folder is in /tmp."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="nucleate-pg-", dir="/tmp"))
        self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        if self.as_user:
            shutil.chown(self.folder, "postgres", "postgres")
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", self.folder / "data", "-U", "alice", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync")
        self.start()
        self._run("psql", "-h", self.folder, "-U", "alice", "-d", "postgres", "-c", "CREATE DATABASE labels")
        self.url = f"postgresql://alice@/labels?host={self.folder}"

    def _run(self, program, *arguments):
        environment = {"PATH": "/usr/bin:/bin", "PGPASSWORD": PASSWORD, "LC_ALL": "C"}
        command = [*self.as_user, binaries() / program, *arguments]
        done = subprocess.run(command, env=environment, cwd="/", text=True, stdin=subprocess.DEVNULL, capture_output=program != "pg_ctl")
        assert done.returncode == 0, (done.stderr, (self.folder / "log").read_text()[-500:] if (self.folder / "log").exists() else "")

    def start(self):
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "start", "-s", "-w", "-D", self.folder / "data", "-l", self.folder / "log", "-o", options)

    def stop(self):
        self._run("pg_ctl", "stop", "-s", "-w", "-m", "fast", "-D", self.folder / "data")

    def close(self):
        self.stop()
        shutil.rmtree(self.folder)
