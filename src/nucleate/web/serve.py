"""Starts the server of the web application."""

from __future__ import annotations

import contextlib
import errno
import secrets
import signal
import socket
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from nucleate.errors import BadInput, MissingDependency
from nucleate.processes.interrupts import answered
from nucleate.web.places import places_of

HOST = "127.0.0.1"
"""The only address on which the server listens; other computers cannot reach it."""
PORT = 8765
"""Default port."""


def serve(
    paths: Sequence[Path] = (),
    port: int = PORT,
    profiles: Sequence[Path] = (),
    ready: Callable[[str], None] = lambda address: None,
    optimade: bool = False,
) -> None:
    """Serve until the user interrupts the process.

    Args:
        paths: folders of runs, run folders, training folders, and files or folders of models; none: the current folder.
        port: port on 127.0.0.1; 0: any free one.
        profiles: settings files in TOML whose settings a search started from the page may have.
        ready: called with the address, token included, when the server listens.
        optimade: whether the polymorphs are offered as a database of OPTIMADE, for which no token is needed.

    Raises:
        BadInput: a path or profile cannot be used, or the port is in use.
        MissingDependency: starlette, uvicorn or python-multipart is not installed, or optimade if it is wanted.
    """
    # python-multipart has had two names as a module.
    needed = {"starlette": ("starlette",), "uvicorn": ("uvicorn",), "python-multipart": ("python_multipart", "multipart")}
    missing = [name for name, modules in needed.items() if not any(find_spec(module) for module in modules)]
    if missing:
        raise MissingDependency(f"nucleate serve needs {', '.join(missing)}; install it with: pip install 'nucleate[serve]'")
    if optimade and not find_spec("optimade"):
        raise MissingDependency("nucleate serve --optimade needs optimade; install it with: pip install 'nucleate[serve,optimade]'")
    import uvicorn

    from nucleate.web.app import make_app

    places = places_of(paths, profiles)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell that starts the server in the background ignores interrupts; searches would inherit this and could not be stopped.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    token = secrets.token_urlsafe(32)
    with contextlib.closing(_listener(port)) as listener:
        port = listener.getsockname()[1]
        app = make_app(places, port, token, optimade)
        # No access log: it would contain the token.
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="on", server_header=False, limit_concurrency=100, ws="none",
            timeout_graceful_shutdown=2, timeout_keep_alive=30,
        )  # fmt: skip
        ready(f"http://{HOST}:{port}/?token={token}")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            answered()


def _listener(port: int) -> socket.socket:
    """Return a socket that listens on the port.

    Raises:
        BadInput: the port is in use, or this user may not use it.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
        listener.set_inheritable(False)
    except (OSError, OverflowError) as error:
        listener.close()
        why = "is in use" if getattr(error, "errno", None) == errno.EADDRINUSE else f"cannot be used ({getattr(error, 'strerror', error)})"
        raise BadInput(f"port {port} on {HOST} {why}; choose another one with --port") from None
    return listener
