"""The verb `check`: would these polymorphs survive?"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nucleate.cli.common import (
    AsJson,
    Blocks,
    Engine,
    Preset,
    Pressure,
    Quiet,
    SettingsFile,
    SharedLedgerAddress,
    Workers,
    complain,
    interruptible,
    print_json,
    stages_and_bar,
)
from nucleate.errors import BadInput, quoted

if TYPE_CHECKING:
    from nucleate.polymorphs.stability.cost import Estimate
    from nucleate.polymorphs.stability.results import CheckResult
    from nucleate.polymorphs.stability.settings import CheckSettings


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(check)


def check(
    source: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Run folder, or structure file.")],
    model: Annotated[Path | None, typer.Option(help="Model file of the committee; default: the last one of the run folder.")] = None,
    reference: Engine = None,
    preset: Preset = None,
    settings: SettingsFile = None,
    top: Annotated[
        int | None, typer.Option(help="Number of polymorphs, the lowest first; default: 3 of a run folder, all structures of a file.")
    ] = None,
    phonons: Annotated[bool | None, typer.Option("--phonons/--no-phonons", help="Phonons and harmonic free energies.")] = None,
    elastic: Annotated[bool | None, typer.Option("--elastic/--no-elastic", help="Elastic constants.")] = None,
    quasi_harmonic: Annotated[bool, typer.Option("--quasi-harmonic", help="Free energies whose volume follows the temperature.")] = False,
    supercell: Annotated[str | None, typer.Option(help="Multiples of the primitive cell in the supercell, such as 3x3x2.")] = None,
    length: Annotated[
        float | None, typer.Option(help="Smallest distance of an atom and its images in the supercell, Å; default 10.")
    ] = None,
    converge: Annotated[bool, typer.Option("--converge", help="Repeat the phonons in a supercell that is a half longer.")] = False,
    displacement: Annotated[float | None, typer.Option(help="Displacement of an atom, Å; default 0.03.")] = None,
    strain: Annotated[float | None, typer.Option(help="Strain for the elastic constants; default 0.01.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Highest temperature, K; default 1000.")] = None,
    follow: Annotated[int | None, typer.Option(help="Number of imaginary modes that are followed downhill; default 2.")] = None,
    spots: Annotated[
        int | None, typer.Option(help="Number of displaced structures of each polymorph that the reference labels; default 2.")
    ] = None,
    train: Annotated[
        int | None,
        typer.Option(help="Largest number of labels near each polymorph on which the committee is trained before the check; default 0."),
    ] = None,
    pressure: Pressure = None,
    workers: Workers = None,
    executor: Blocks = None,
    ledger: SharedLedgerAddress = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; default: check in the run folder, or beside the file.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without a question about the cost.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check whether polymorphs would survive: phonons, elastic constants and free energies, on the committee or the reference."""
    from nucleate.polymorphs.check import check as run_check
    from nucleate.report.check_page import write_check_page

    if supercell is not None and length is not None:
        raise BadInput(f"--supercell {quoted(supercell, 40)} and --length {length:g} both describe the supercell; give one of them")
    # An option that names one part selects it alone; one that excludes a part keeps the other.
    phonons, elastic = (elastic is not True if phonons is None else phonons), (phonons is not True if elastic is None else elastic)
    chosen = _settings({
        "phonons": phonons, "elastic": elastic, "quasi_harmonic": quasi_harmonic, "supercell": multiples_of(supercell), "length": length,
        "converge": converge, "displacement": displacement, "strain": strain, "temperature": temperature, "follow": follow, "spots": spots,
        "train": train,
    })  # fmt: skip

    def approve(cost: Estimate) -> bool:
        complain(str(cost))
        if yes:
            return True
        if not sys.stdin.isatty():
            raise BadInput("the check on the reference is not started without a question; give --yes")
        return typer.confirm("start?", err=True)

    farewell = "stopped; the same command resumes, and no reference calculation is repeated"
    with interruptible(farewell), stages_and_bar(as_json, quiet) as progress:
        result = run_check(
            source, chosen, model=model, reference=reference, preset=preset, reference_settings=settings, top=top, pressure=pressure,
            workers=workers, executor=executor, ledger=ledger, out=out, approve=approve, progress=progress,
        )  # fmt: skip
    page = write_check_page(result)
    if as_json:
        print_json(result.as_dict())
    else:
        _show(result, page)


def _settings(options: dict[str, Any]) -> CheckSettings:
    """Return the settings of the options that are given."""
    from pydantic import ValidationError

    from nucleate.polymorphs.stability.settings import CheckSettings

    try:
        return CheckSettings.model_validate({name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        problem = error.errors()[0]
        name = "".join(f"--{str(place).replace('_', '-')} " for place in problem["loc"][:1])
        given = f" (got {quoted(problem['input'], 40)})" if problem["loc"] else ""
        raise BadInput(f"{name}{quoted(problem['msg'].removeprefix('Value error, '), 120)}{given}") from None


def multiples_of(text: str | None) -> tuple[int, ...] | None:
    """Return the multiples of a text such as `3x3x2`.

    Raises:
        BadInput: the text is not three positive numbers.
    """
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,2}x[0-9]{1,2}x[0-9]{1,2}", text) or "0" in text.split("x"):
        raise BadInput(f"--supercell {quoted(text, 40)}: give three positive numbers, such as 3x3x2")
    return tuple(int(part) for part in text.split("x"))


def _show(result: CheckResult, page: Path) -> None:
    """Print the table and the remarks."""
    from rich.table import Table

    from nucleate.report.check import TEXT, headline, remarks, table_of, warnings_of
    from nucleate.report.terminal import make_console

    console = make_console()
    for line in warnings_of(result):
        console.print(line, style="yellow", soft_wrap=True)
    console.print(headline(result), soft_wrap=True)
    columns, rows = table_of(result)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k < TEXT else "right", overflow="fold")
    for row in rows:
        table.add_row(*row, style="green" if row[3] == "stable" else None)
    console.print(table)
    for line in remarks(result):
        console.print(line, soft_wrap=True)
    if result.calls:
        console.print(
            f"{result.calls} call{'' if result.calls == 1 else 's'} of the reference in {result.out / 'ledger.db'}", soft_wrap=True
        )
    if result.trained is not None:
        console.print(f"trained model: {result.surface}", soft_wrap=True)
    leads = any(each.leads for each in result.polymorphs)
    console.print(f"page{' and new leads' if leads else ''}: {page}", soft_wrap=True)
