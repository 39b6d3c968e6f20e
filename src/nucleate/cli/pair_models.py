"""Commands for learned couplings under `nucleate spins`: import, train, evaluate, predict, suggest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.cli.common import AsJson, Quiet, print_json
from nucleate.errors import BadInput, quoted


def register_models(verbs: typer.Typer) -> None:
    """Add the commands to those of `nucleate spins`."""
    verbs.command("import")(import_)
    for function in (train, evaluate, predict, suggest):
        verbs.command()(function)


def import_(
    table: Annotated[Path, typer.Argument(help="Table of couplings between pairs of elements, in any column layout.")],
    out: Annotated[Path, typer.Option(help="Output CSV file of pairs, for train and evaluate.")],
    column: Annotated[
        list[str], typer.Option(help="Column name, for example J=Jij; give element_a, element_b, J and optionally distance (Å).")
    ],
    unit: Annotated[str, typer.Option(help="Unit of J: meV, eV, mRy or K.")],
    pairs: Annotated[str, typer.Option(help="Number of times the source Hamiltonian counts each pair: once or twice.")],
    sign: Annotated[str, typer.Option(help="Sign convention: minus for H = -sum J e.e, plus for H = +sum J e.e, with unit vectors e.")],
) -> None:
    """Import couplings from a table with the given columns and convention."""
    from nucleate.spins import api

    split = [text.partition("=") for text in column]
    if not all(name and mark and value for name, mark, value in split) or len({name for name, _, _ in split}) < len(split):
        raise BadInput(f"--column {quoted(' '.join(column), 60)}: give each column once, for example J=Jij")
    columns = {name: value for name, _, value in split}
    imported, skipped = api.import_pairs(table, out, columns, unit=unit, pairs=pairs, sign=sign)
    if skipped:
        typer.echo(f"{table}: {skipped} rows without a coupling were skipped", err=True)
    typer.echo(f"{len(imported)} pairs of {imported.kind}: {out}")


def train(
    data: Annotated[list[Path], typer.Argument(help="Pairs with couplings: extended XYZ, or CSV of element pairs.")],
    out: Annotated[Path, typer.Option(help="Output folder of the model.")],
    model: Annotated[str | None, typer.Option(help="Model type: kernel, network or elements.")] = None,
    settings: Annotated[Path | None, typer.Option("--settings", help="TOML settings file; options override it.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed for splits, initial values and weights.")] = None,
    quiet: Quiet = False,
) -> None:
    """Train a model of couplings on pairs."""
    from nucleate.report.terminal import Bar, make_console
    from nucleate.spins import api

    console = make_console()
    with Bar(console, quiet) as bar:
        trained = api.train(data, out, settings=settings, progress=bar, model=model, seed=seed)
    console.print(f"model of {', '.join(trained.elements)}: {out}", highlight=False, markup=False, soft_wrap=True)


def evaluate(
    data: Annotated[list[Path], typer.Argument(help="Pairs with couplings: extended XYZ, or CSV of element pairs.")],
    model: Annotated[str | None, typer.Option(help="Model type: kernel, network or elements.")] = None,
    settings: Annotated[Path | None, typer.Option("--settings", help="TOML settings file; options override it.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed for splits, initial values and weights.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of cross-validation folds.")] = 10,
    grouping: Annotated[
        str,
        typer.Option(
            help="Fold assignment. elements: a-b and b-a stay in one fold; ungrouped: they may be split, which leaks information."
        ),
    ] = "elements",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Cross-validate a model of couplings."""
    from nucleate.report.terminal import Bar, make_console
    from nucleate.spins import api

    console = make_console()
    with Bar(console, quiet or as_json) as bar:
        pairs, scores = api.evaluate(data, folds=folds, grouping=grouping, settings=settings, progress=bar, model=model, seed=seed)
    if grouping == "ungrouped":
        typer.echo(
            "warning: without grouping, a-b may be tested while b-a is in the training set, so the score is not valid for new pairs",
            err=True,
        )
    numbers = {"mae": scores.mae, "rmse": scores.rmse, "r2": scores.r2, "inside": scores.inside}
    if as_json:
        print_json({"pairs": len(pairs), "folds": folds, "grouping": grouping, **numbers})
        return
    text = f"{len(pairs)} pairs, {folds} folds ({grouping}): MAE {scores.mae:.3f} meV, RMSE {scores.rmse:.3f} meV, R² {scores.r2:.3f}; "
    console.print(text + f"{100 * scores.inside:.0f} % within one standard deviation", highlight=False, markup=False, soft_wrap=True)


def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    pairs: Annotated[Path, typer.Argument(help="Pairs: extended XYZ, or CSV of element pairs; given couplings are shown for comparison.")],
    as_json: AsJson = False,
) -> None:
    """Predict couplings of pairs with a trained model."""
    import numpy as np
    from rich.markup import escape
    from rich.table import Table

    from nucleate.report.terminal import make_console
    from nucleate.spins import api

    result = api.predict(model, pairs)
    asked, predicted, unseen = result.pairs, result.predicted, result.unseen
    if unseen:
        typer.echo(f"{', '.join(unseen)}: not among the training elements; the prediction is an extrapolation", err=True)
    rows = []
    for k, pair in enumerate(asked.elements):
        dm = None if predicted.dm is None else predicted.dm[k].tolist()
        numbers = {
            "J": float(predicted.couplings[k]),
            "error": float(predicted.errors[k]),
            "given": float(asked.couplings[k]) if np.isfinite(asked.couplings[k]) else None,
        }
        rows.append({"elements": list(pair), **numbers, "D": dm})
    if as_json:
        print_json({"pairs": rows, "unseen": unseen})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("pair", "J, meV", "±", "given"):
        table.add_column(name, justify="left" if name == "pair" else "right")
    for k, pair in enumerate(asked.elements):
        table.add_row(
            escape("-".join(pair)),
            f"{predicted.couplings[k]:+.3f}",
            f"{predicted.errors[k]:.3f}",
            f"{asked.couplings[k]:+.3f}" if np.isfinite(asked.couplings[k]) else "",
        )
    make_console().print(table)


def suggest(
    model: Annotated[Path, typer.Argument(help="Folder of a trained kernel model.")],
    pool: Annotated[Path, typer.Argument(help="Candidate pairs: extended XYZ, or CSV of element pairs.")],
    count: Annotated[int, typer.Option(min=1, help="Number of pairs to suggest.")] = 5,
    strategy: Annotated[str, typer.Option(help="Selection strategy: variance or diversity.")] = "variance",
    as_json: AsJson = False,
) -> None:
    """Suggest the pairs whose calculation is most informative for the model."""
    from dataclasses import asdict

    from nucleate.report.terminal import make_console
    from nucleate.spins import api

    suggestions = api.suggest(model, pool, count=count, strategy=strategy)
    if as_json:
        print_json({"pairs": [asdict(pair) for pair in suggestions]})
        return
    console = make_console()
    for pair in suggestions:
        console.print(f"row {pair.row + 1}: {'-'.join(pair.elements)}, ±{pair.error:.3f} meV", highlight=False, markup=False)
