"""The verbs of executor files: cluster check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.cli.common import complain


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the program."""
    group = typer.Typer(no_args_is_help=True, help="Blocks of workers on a cluster, as described in an executor file.")
    group.command()(check)
    # A group with one command would otherwise be that command.
    group.callback()(_group)
    app.add_typer(group, name="cluster")


def _group() -> None:
    pass


def check(
    file: Annotated[Path, typer.Argument(help="Executor file in TOML; see docs/slurm.md.")],
) -> None:
    """Validate an executor file and print the job script that would be submitted; nothing is submitted."""
    from nucleate.reference.cluster.script import job_script, judged
    from nucleate.reference.cluster.settings import read_cluster

    settings = read_cluster(file)
    script = job_script(settings, str(file))
    said = judged(settings, script, str(file))
    typer.echo(script)
    block = settings.block
    complain(
        f"{file}: valid; a block has {block.nodes} node{'' if block.nodes == 1 else 's'} with {settings.workers} "
        f"worker{'' if settings.workers == 1 else 's'} of {settings.cores_of_a_label} core{'' if settings.cores_of_a_label == 1 else 's'}, "
        f"{settings.cores} cores in all, for {block.walltime}; at most {block.max_blocks} at a time"
    )
    if said:
        complain(said)
