"""Scripts that worker processes import."""

from __future__ import annotations

import multiprocessing


def refuse_import_by_worker(verb: str) -> None:
    """End a worker process that is importing the user's script, which calls a verb without a guard; do nothing elsewhere.

    Python starts worker processes by importing the script of the program. A search that begins there would begin once more in each worker.

    Raises:
        SystemExit: this process is such a worker; the message says how to guard the call.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(f'error: worker processes import this script; put nucleate.{verb}(...) under: if __name__ == "__main__":')
