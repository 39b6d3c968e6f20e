"""The verb `serve`: the web application on this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(serve)


def serve(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR|MODEL]...",
            help="Folders of runs, in which searches are started, run folders, training folders and models; default: this folder.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")] = 8765,
    profile: Annotated[
        list[Path] | None,
        typer.Option(help="TOML file with settings, commands and calculators included, for searches started in the browser; repeatable."),
    ] = None,
    optimade: Annotated[
        bool, typer.Option("--optimade", help="Offer the polymorphs as an OPTIMADE database at /optimade, which needs no token.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and do not open a browser.")] = False,
) -> None:
    """Watch, start and stop searches and use trained models in a browser on this computer; stop with Ctrl-C."""
    from nucleate.web.serve import serve as run

    def ready(address: str) -> None:
        typer.echo(f"nucleate serves at {address}")
        if optimade:
            typer.echo(f"OPTIMADE clients on this computer, of all users, read the polymorphs at {address.partition('?')[0]}optimade")
        typer.echo("the address is secret and is valid until the server ends; stop it with Ctrl-C, searches continue")
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    run(paths or (), port, profile or (), ready, optimade)
