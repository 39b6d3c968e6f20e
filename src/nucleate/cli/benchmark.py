"""The verb `benchmark search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.cli.common import AsJson, SettingsFile, print_json
from nucleate.pretrained import NAMES, PRETRAINED, canonical_name


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    verbs = typer.Typer(no_args_is_help=True, help="Measure nucleate against random search.")
    verbs.command("search")(benchmark_search)
    app.add_typer(verbs, name="benchmark")


def benchmark_search(
    system: Annotated[str, typer.Option(help="Formula with a known ground state, such as Si8.")],
    reference: Annotated[str, typer.Option(help=f"Reference engine, or a pretrained potential: {NAMES}.")] = "chgnet",
    seeds: Annotated[int, typer.Option(min=1, help="Number of searches, each with its own seed.")] = 10,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first search.")] = 0,
    budget: Annotated[int, typer.Option(min=1, help="Largest number of reference calls of a search.")] = 1000,
    baseline_cells: Annotated[int, typer.Option(min=0, help="Number of random cells relaxed for each baseline.")] = 0,
    ablation: Annotated[bool, typer.Option("--ablation", help="Run searches without symmetric candidates as well.")] = False,
    pretrained: Annotated[
        str | None,
        typer.Option(
            help=f"Pretrained potential that relaxes the random cells before the reference confirms the lowest: {NAMES}, mace:FILE or "
            "ase:MODULE:CLASS."
        ),
    ] = None,
    target: Annotated[
        Path | None, typer.Option(help="Structure file of the crystal to find; default: the known ground state of the formula.")
    ] = None,
    lowest: Annotated[
        float | None, typer.Option(help="Lowest known energy on the reference, eV/atom; default: that of the crystal to find.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Output folder; the same command resumes from it.")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure the number of reference calls until the known ground state is found, over many seeds."""
    from nucleate.benchmark.run import UnitDone, benchmark
    from nucleate.persist.toml import read_settings
    from nucleate.progress import Event
    from nucleate.report.benchmark_text import show_benchmark
    from nucleate.report.run_text import surrogate_warning

    overrides = {} if settings is None else read_settings(settings)
    if not as_json and canonical_name(reference) in PRETRAINED:
        typer.echo(surrogate_warning(reference))

    def show_unit(event: Event, /) -> None:
        if isinstance(event, UnitDone) and "first" in event.result:
            result = event.result
            hit = f"hit after {result['first']}" if result["first"] is not None else f"no hit in {result['calls']}"
            typer.echo(f"{event.name}: {hit} calls, {result['seconds']:.0f} s", err=as_json)

    numbers = list(range(first_seed, first_seed + seeds))
    report = benchmark(
        system, reference, numbers, budget, overrides, baseline_cells, ablation, pretrained, workers, out, show_unit, target, lowest
    )
    if as_json:
        print_json(report)
    else:
        show_benchmark(report)
