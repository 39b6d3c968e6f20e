"""The verbs of learned couplings, under `nucleate spins`: import, train, evaluate, predict, suggest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nucleate.cli.couple import AsJson, Quiet
from nucleate.errors import BadInput, quoted


def register_models(verbs: typer.Typer) -> None:
    """Add the verbs to those of spins."""
    verbs.command("import")(import_)
    for function in (train, evaluate, predict, suggest):
        verbs.command()(function)


def import_(
    table: Annotated[Path, typer.Argument(help="Anybody's table of couplings between pairs of elements.")],
    out: Annotated[Path, typer.Option(help="CSV of pairs to write, for train and evaluate.")],
    column: Annotated[
        list[str], typer.Option(help="Name of a column, such as J=Jij; once for each of element_a, element_b, J and perhaps distance (Å).")
    ],
    unit: Annotated[str, typer.Option(help="Of J: meV, eV, mRy or K.")],
    pairs: Annotated[str, typer.Option(help="once or twice: how often its Hamiltonian counts a pair.")],
    sign: Annotated[str, typer.Option(help="minus: H = - sum J e.e, or plus; e unit vectors.")],
) -> None:
    """Take couplings over from a table whose columns and convention you name."""
    from nucleate.spins.files.foreign import read_foreign
    from nucleate.spins.models.data import write_pairs

    if not table.is_file():
        raise BadInput(f"{table}: no such file; give a table of couplings")
    if out.suffix != ".csv" or not out.parent.is_dir():
        raise BadInput(f"{out}: give a .csv in a folder that is there")
    if out.exists():
        raise BadInput(f"{out}: is there already; name another file")
    split = [text.partition("=") for text in column]
    if not all(name and mark and value for name, mark, value in split) or len({name for name, _, _ in split}) < len(split):
        raise BadInput(f"--column {quoted(' '.join(column), 60)}: write each once, as J=Jij")
    found, left = read_foreign(table, {name: value for name, _, value in split}, unit, pairs, sign)
    write_pairs(out, found)
    if left:
        typer.echo(f"{table}: {left} rows without a coupling were left out", err=True)
    typer.echo(f"{len(found)} pairs of {found.kind}: {out}")


def train(
    data: Annotated[list[Path], typer.Argument(help="Pairs with couplings: extended XYZ, or a CSV of elements.")],
    out: Annotated[Path, typer.Option(help="Folder of the model.")],
    model: Annotated[str | None, typer.Option(help="kernel, network or elements.")] = None,
    settings: Annotated[Path | None, typer.Option("--settings", help="TOML file; options go before it.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of splits, starts and weights.")] = None,
    quiet: Quiet = False,
) -> None:
    """Learn couplings from pairs."""
    from nucleate.report.terminal import Bar, make_console
    from nucleate.spins.models.data import Pairs, read_pairs
    from nucleate.spins.models.training import train_pairs

    console = make_console()
    with Bar(console, quiet) as bar:
        found = train_pairs(Pairs.joined([read_pairs(path) for path in data]), out, _training(settings, model, seed), bar)
    console.print(f"model of {', '.join(found.elements)}: {out}", highlight=False, markup=False, soft_wrap=True)


def _training(settings: Path | None, model: str | None, seed: int | None) -> Any:
    from nucleate.persist.toml import read_settings, validated
    from nucleate.spins.models.training import PairTraining

    given = read_settings(settings) if settings else {}
    return validated(PairTraining, {**given, **{k: v for k, v in {"model": model, "seed": seed}.items() if v is not None}}, "options")


def evaluate(
    data: Annotated[list[Path], typer.Argument(help="Pairs with couplings: extended XYZ, or a CSV of elements.")],
    model: Annotated[str | None, typer.Option(help="kernel, network or elements.")] = None,
    settings: Annotated[Path | None, typer.Option("--settings", help="TOML file; options go before it.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of splits, starts and weights.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 10,
    grouping: Annotated[str, typer.Option(help="elements: a-b and b-a stay together; ungrouped: they leak.")] = "elements",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Cross-validate a model of couplings."""
    from nucleate.report.terminal import Bar, make_console
    from nucleate.spins.models.data import Pairs, read_pairs
    from nucleate.spins.models.training import cross_validate

    console = make_console()
    pairs = Pairs.joined([read_pairs(path) for path in data])
    with Bar(console, quiet or as_json) as bar:
        found = cross_validate(pairs, _training(settings, model, seed), folds, grouping, bar)
    if grouping == "ungrouped":
        typer.echo("ungrouped: the model has seen b-a when it is asked for a-b; this score says little of new pairs", err=True)
    numbers = {"mae": found.mae, "rmse": found.rmse, "r2": found.r2 if found.r2 == found.r2 else None, "inside": found.inside}
    if as_json:
        print(json.dumps({"schema": 1, "pairs": len(pairs), "folds": folds, "grouping": grouping, **numbers}))
        return
    text = f"{len(pairs)} pairs, {folds} folds ({grouping}): MAE {found.mae:.3f} meV, RMSE {found.rmse:.3f} meV, R² {found.r2:.3f}; "
    console.print(text + f"{100 * found.inside:.0f} % within one standard deviation", highlight=False, markup=False, soft_wrap=True)


def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    pairs: Annotated[Path, typer.Argument(help="Pairs: extended XYZ, or a CSV of elements; couplings, where given, are shown beside.")],
    as_json: AsJson = False,
) -> None:
    """Couplings of pairs by a trained model."""
    import numpy as np
    from rich.markup import escape
    from rich.table import Table

    from nucleate.report.terminal import make_console
    from nucleate.spins.models.data import read_pairs
    from nucleate.spins.models.training import load_pairs_model

    loaded, asked = load_pairs_model(model), read_pairs(pairs, labelled=False)
    found = loaded.predict(asked)
    unseen = loaded.unseen(asked)
    if unseen:
        typer.echo(f"{', '.join(unseen)}: not among the elements the model was trained on; it extrapolates", err=True)
    rows = []
    for k, pair in enumerate(asked.elements):
        dm = None if found.dm is None else found.dm[k].tolist()
        numbers = {
            "J": float(found.couplings[k]),
            "error": float(found.errors[k]),
            "given": float(asked.couplings[k]) if np.isfinite(asked.couplings[k]) else None,
        }
        rows.append({"elements": list(pair), **numbers, "D": dm})
    if as_json:
        print(json.dumps({"schema": 1, "pairs": rows, "unseen": unseen}))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("pair", "J, meV", "±", "given"):
        table.add_column(name, justify="left" if name == "pair" else "right")
    for k, pair in enumerate(asked.elements):
        table.add_row(
            escape("-".join(pair)),
            f"{found.couplings[k]:+.3f}",
            f"{found.errors[k]:.3f}",
            f"{asked.couplings[k]:+.3f}" if np.isfinite(asked.couplings[k]) else "",
        )
    make_console().print(table)


def suggest(
    model: Annotated[Path, typer.Argument(help="Folder of a trained kernel.")],
    pool: Annotated[Path, typer.Argument(help="Pairs that could be computed: extended XYZ, or a CSV of elements.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 5,
    strategy: Annotated[str, typer.Option(help="variance or diversity.")] = "variance",
    as_json: AsJson = False,
) -> None:
    """Which pairs to compute next: those that teach a model most."""
    import numpy as np

    from nucleate.report.terminal import make_console
    from nucleate.spins.models.active import choose
    from nucleate.spins.models.data import Pairs, read_pairs
    from nucleate.spins.models.kernel import PairGaussianProcess
    from nucleate.spins.models.training import load_pairs_model

    if strategy not in ("variance", "diversity"):
        raise BadInput(f"--strategy {quoted(strategy, 40)}; known: variance, diversity")
    loaded, asked = load_pairs_model(model), read_pairs(pool, labelled=False)
    if not isinstance(loaded.model, PairGaussianProcess):
        raise BadInput(f"{model}: only a kernel knows what it would learn; train one with --model kernel")
    known = loaded.pairs
    both = Pairs.joined([known, asked])
    rest = list(range(len(known), len(both)))
    rows = choose(both, list(range(len(known))), rest, count, loaded.model, strategy, np.random.default_rng(0))
    errors = loaded.model.predict(both.take(rows))[1]
    if as_json:
        found = [{"row": r - len(known), "elements": list(both.elements[r]), "error": float(e)} for r, e in zip(rows, errors, strict=True)]
        print(json.dumps({"schema": 1, "pairs": found}))
        return
    console = make_console()
    for row, e in zip(rows, errors, strict=True):
        console.print(f"row {row - len(known) + 1}: {'-'.join(both.elements[row])}, ±{e:.3f} meV", highlight=False, markup=False)
