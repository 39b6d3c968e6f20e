"""Commands for learned couplings under `nucleate spins`: import, train, evaluate, predict, suggest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    from nucleate.spins.files.foreign import read_foreign
    from nucleate.spins.models.data import write_pairs

    if not table.is_file():
        raise BadInput(f"{table}: the file does not exist; give a table of couplings")
    if out.suffix != ".csv" or not out.parent.is_dir():
        raise BadInput(f"{out}: give a .csv file in an existing folder")
    if out.exists():
        raise BadInput(f"{out}: the file exists already; choose another name")
    split = [text.partition("=") for text in column]
    if not all(name and mark and value for name, mark, value in split) or len({name for name, _, _ in split}) < len(split):
        raise BadInput(f"--column {quoted(' '.join(column), 60)}: give each column once, for example J=Jij")
    found, left = read_foreign(table, {name: value for name, _, value in split}, unit, pairs, sign)
    write_pairs(out, found)
    if left:
        typer.echo(f"{table}: {left} rows without a coupling were skipped", err=True)
    typer.echo(f"{len(found)} pairs of {found.kind}: {out}")


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
    from nucleate.spins.models.data import Pairs, read_pairs
    from nucleate.spins.models.training import cross_validate

    console = make_console()
    pairs = Pairs.joined([read_pairs(path) for path in data])
    with Bar(console, quiet or as_json) as bar:
        found = cross_validate(pairs, _training(settings, model, seed), folds, grouping, bar)
    if grouping == "ungrouped":
        typer.echo(
            "warning: without grouping, a-b may be tested while b-a is in the training set, so the score is not valid for new pairs",
            err=True,
        )
    numbers = {"mae": found.mae, "rmse": found.rmse, "r2": found.r2 if found.r2 == found.r2 else None, "inside": found.inside}
    if as_json:
        print_json({"pairs": len(pairs), "folds": folds, "grouping": grouping, **numbers})
        return
    text = f"{len(pairs)} pairs, {folds} folds ({grouping}): MAE {found.mae:.3f} meV, RMSE {found.rmse:.3f} meV, R² {found.r2:.3f}; "
    console.print(text + f"{100 * found.inside:.0f} % within one standard deviation", highlight=False, markup=False, soft_wrap=True)


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
    from nucleate.spins.models.data import read_pairs
    from nucleate.spins.models.training import load_pairs_model

    loaded, asked = load_pairs_model(model), read_pairs(pairs, labelled=False)
    found = loaded.predict(asked)
    unseen = loaded.unseen(asked)
    if unseen:
        typer.echo(f"{', '.join(unseen)}: not among the training elements; the prediction is an extrapolation", err=True)
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
        print_json({"pairs": rows, "unseen": unseen})
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
    model: Annotated[Path, typer.Argument(help="Folder of a trained kernel model.")],
    pool: Annotated[Path, typer.Argument(help="Candidate pairs: extended XYZ, or CSV of element pairs.")],
    count: Annotated[int, typer.Option(min=1, help="Number of pairs to suggest.")] = 5,
    strategy: Annotated[str, typer.Option(help="Selection strategy: variance or diversity.")] = "variance",
    as_json: AsJson = False,
) -> None:
    """Suggest the pairs whose calculation is most informative for the model."""
    import numpy as np

    from nucleate.report.terminal import make_console
    from nucleate.spins.models.active import choose
    from nucleate.spins.models.data import Pairs, read_pairs
    from nucleate.spins.models.kernel import PairGaussianProcess
    from nucleate.spins.models.training import load_pairs_model

    if strategy not in ("variance", "diversity"):
        raise BadInput(f"--strategy {quoted(strategy, 40)}: unknown strategy; choose variance or diversity")
    loaded, asked = load_pairs_model(model), read_pairs(pool, labelled=False)
    if not isinstance(loaded.model, PairGaussianProcess):
        raise BadInput(f"{model}: suggestions require a kernel model; train one with --model kernel")
    known = loaded.pairs
    both = Pairs.joined([known, asked])
    rest = list(range(len(known), len(both)))
    rows = choose(both, list(range(len(known))), rest, count, loaded.model, strategy, np.random.default_rng(0))
    errors = loaded.model.predict(both.take(rows))[1]
    if as_json:
        found = [{"row": r - len(known), "elements": list(both.elements[r]), "error": float(e)} for r, e in zip(rows, errors, strict=True)]
        print_json({"pairs": found})
        return
    console = make_console()
    for row, e in zip(rows, errors, strict=True):
        console.print(f"row {row - len(known) + 1}: {'-'.join(both.elements[row])}, ±{e:.3f} meV", highlight=False, markup=False)
