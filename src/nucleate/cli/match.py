"""The verb that compares structures with measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.cli.common import AsJson, Quiet, print_json


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(match)


def match(
    source: Annotated[Path, typer.Argument(help="Run folder of a search, or file of structures.")],
    xrd: Annotated[Path | None, typer.Option(help="Powder pattern: columns of 2 theta (degrees) and intensity (.xy, .xye, .csv).")] = None,
    wavelength: Annotated[
        str | None, typer.Option(help="Wavelength of the powder pattern in Å, or an X-ray line such as CuKa, CuKa1 or MoKa.")
    ] = None,
    neutron: Annotated[bool, typer.Option("--neutron", help="The powder pattern and G(r) are measured with neutrons.")] = False,
    deuterated: Annotated[bool, typer.Option("--deuterated", help="Hydrogen atoms scatter neutrons as deuterium.")] = False,
    pdf: Annotated[Path | None, typer.Option(help="Pair distribution function G(r): columns of r (Å) and G(r) (.gr).")] = None,
    shifts: Annotated[
        Path | None, typer.Option(help="Chemical shifts: CSV with the columns nucleus, shift (ppm), and optionally multiplicity and label.")
    ] = None,
    shieldings: Annotated[
        str | None, typer.Option(help="Shieldings of the structures: a .magres file, a folder of them, shiftml:FOLDER, or cp2k:FOLDER.")
    ] = None,
    nmr_reference: Annotated[
        list[str] | None,
        typer.Option(help="Slope and offset from shielding to shift, such as H=-1.0,30.5; default: fitted; repeatable."),
    ] = None,
    nmr_error: Annotated[
        list[str] | None, typer.Option(help="Standard error of predicted shifts of an element in ppm, such as C=2.2; repeatable.")
    ] = None,
    strain: Annotated[
        float, typer.Option(help="Largest principal strain of the variable-cell comparison; 0 compares cells as they are.")
    ] = 0.05,
    any_strain: Annotated[bool, typer.Option("--any-strain", help="Strains may break the symmetry of a structure.")] = False,
    zero_shift: Annotated[float, typer.Option(help="Largest shift of the zero of 2 theta, degrees.")] = 0.1,
    energy_scale: Annotated[float, typer.Option(help="Decay of the prior probability with the energy, meV/atom.")] = 25.0,
    energy_error: Annotated[float, typer.Option(help="Standard error of energy differences, meV/atom.")] = 5.0,
    top: Annotated[int | None, typer.Option(help="Number of lowest polymorphs, or of first structures, that are compared.")] = None,
    out: Annotated[Path | None, typer.Option(help="Page of figures; default: match.html in the run folder, or NAME-match.html.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare the polymorphs of a search, or the structures of a file, with a powder pattern, G(r) or chemical shifts."""
    from nucleate.polymorphs.match import MatchOptions
    from nucleate.polymorphs.match import match as compare
    from nucleate.report.match import check_page, match_data, match_lines, match_table, write_match
    from nucleate.report.terminal import Bar, make_console

    page = check_page(source, out)
    options = MatchOptions(
        xrd=xrd, wavelength=wavelength, neutron=neutron, deuterated=deuterated, pdf=pdf, shifts=shifts, shieldings=shieldings,
        nmr_reference=nmr_reference or (), nmr_error=nmr_error or (), strain=strain, any_strain=any_strain, zero_shift=zero_shift,
        energy_scale=energy_scale, energy_error=energy_error, top=top,
    )  # fmt: skip
    with Bar(make_console(stderr=as_json), quiet) as bar:
        result = compare(source, options, bar)
        write_match(page, result, bar)
    if as_json:
        print_json({**match_data(result), "page": str(page)})
        return
    console = make_console()
    console.print(match_table(result))
    for line in [*match_lines(result), f"figures: {page}"]:
        console.print(line, soft_wrap=True)
