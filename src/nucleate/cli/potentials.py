"""The verbs of training on the command line: train, evaluate, learning-curve, steer."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from nucleate.cli.common import AsJson, Prior, print_json
from nucleate.errors import BadInput, NucleateError
from nucleate.progress import Event
from nucleate.training.events import CurvePoint, Evaluated, Steered, TrainingFinished, TrainingResumed, TrainingStarted

Data = Annotated[Path, typer.Argument(help="Labelled structures: extended XYZ, ASE database, or run folder of a search.")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="TOML file; see docs/training.md.")]
EnergyKey = Annotated[str | None, typer.Option(help="Entry of the file with the energy, such as REF_energy.")]
ForcesKey = Annotated[str | None, typer.Option(help="Entry of the file with the forces; none: ignore the forces.")]
StressKey = Annotated[str | None, typer.Option(help="Entry of the file with the stress or virial; none: ignore the stress.")]
StressUnit = Annotated[
    str | None, typer.Option(help="Unit of the stress: eV/A^3, GPa or kbar; -kbar where compression is positive, as in VASP's output.")
]

PAGE_SECONDS = 20.0
"""Smallest time in s between two pages written while a training runs: a page takes 1 to 2 s, longer than many small evaluations."""


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    app.command()(train)
    app.command()(evaluate)
    app.command("learning-curve")(learning_curve)
    app.command()(steer)


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Training folder; the same command resumes from it.")],
    model: Annotated[
        str | None, typer.Option(help="Family of the learned potential: manybody, a2a, molcnn, schnet, painn or soap-krr.")
    ] = None,
    settings: SettingsFile = None,
    prior: Prior = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of optimiser steps.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed of weights, split and minibatches.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Validation data, in place of a split of the training data.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Training folder whose steering commands are repeated.")] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    stress_unit: StressUnit = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only the result.")] = False,
) -> None:
    """Train a potential on labelled structures."""
    from nucleate.report.terminal import Bar, make_console
    from nucleate.report.training_page import write_page
    from nucleate.training.run import fit

    console = make_console()
    written, behind = time.monotonic(), False

    def show_event(event: Event, /) -> None:
        nonlocal written, behind
        bar(event)
        if not quiet:
            for line in _lines(event):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
        behind = behind or isinstance(event, Evaluated)
        if isinstance(event, TrainingFinished) or (behind and time.monotonic() - written > PAGE_SECONDS):
            write_page(out)
            written, behind = time.monotonic(), False

    def catch_up() -> None:
        # What stopped the training is reported, not an error of the page.
        if behind:
            with contextlib.suppress(Exception):
                write_page(out)

    try:
        with Bar(console, quiet) as bar:
            labels = _labels(energy_key, forces_key, stress_key, stress_unit) or None
            path = fit(data, out, settings, validation, replay, show_event, model=model, prior=prior, steps=steps, seed=seed, labels=labels)
    except KeyboardInterrupt:
        catch_up()
        typer.echo("stopped; repeat the command to resume from the last checkpoint", err=True)
        raise typer.Exit(130) from None
    except NucleateError:
        catch_up()
        raise
    console.print(f"model: {path}; page: {out / 'monitor.html'}", highlight=False, markup=False, soft_wrap=True)


def _labels(energy: str | None, forces: str | None, stress: str | None, unit: str | None) -> dict[str, str]:
    given = {"energy": energy, "forces": forces, "stress": stress, "stress_unit": unit}
    return {name: value for name, value in given.items() if value is not None}


def _lines(event: Event) -> list[str]:
    match event:
        case TrainingStarted():
            members = "1 member" if event.members == 1 else f"{event.members} members"
            first = f"{event.model}: {event.parameters} weights, {members}, {' '.join(event.species)}"
            second = f"{event.training} training structures, {event.validation} validation structures, split by {event.split_by}"
            return [first, second, *event.notes]
        case TrainingResumed():
            return [f"resumed after step {event.step}"]
        case Steered():
            return [f"step {event.step}: {json.dumps(event.command)}" + (f" refused: {event.refused}" if event.refused else "")]
        case TrainingFinished():
            return [f"ended at step {event.step}: {event.why}"]
        case Evaluated():
            sets = {"training": event.training, "validation": event.validation}
            errors = [f"{name} {errors_text(part)}" for name, part in sets.items() if part is not None]
            return ["; ".join([f"step {event.step}", *errors])]
    return []


def errors_text(errors: dict[str, Any]) -> str:
    """Return errors of energies and forces as text, such as `5.1 meV/atom, 0.102 eV/Å`."""
    force = "" if errors["force_rmse"] is None else f", {errors['force_rmse']:.3f} eV/Å"
    return f"{1e3 * errors['energy_rmse']:.1f} meV/atom{force}"


def evaluate(
    model: Annotated[Path, typer.Argument(help="Training folder, run folder of a search, or model file.")],
    data: Data,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    stress_unit: StressUnit = None,
    as_json: AsJson = False,
) -> None:
    """Compute the errors of a trained potential on labelled structures."""
    from nucleate.persist.toml import validated
    from nucleate.report.terminal import plain
    from nucleate.training.label_keys import LabelKeys
    from nucleate.training.run import evaluate as run

    errors = run(model, data, validated(LabelKeys, _labels(energy_key, forces_key, stress_key, stress_unit), "options"))
    if as_json:
        print_json(errors)
        return
    typer.echo(
        f"{plain(errors['family'])}, {errors['parameters']} weights per member, "
        f"{errors['structures']} structures: {errors_text(errors)} (RMSE)"
    )
    for note in errors["notes"]:
        typer.echo(plain(note), err=True)
    for formula, part in errors["by_formula"].items():
        typer.echo(f"  {plain(formula)} ({part['structures']}): {errors_text(part)}")


def learning_curve(
    data: Data,
    model: Annotated[list[str], typer.Option(help="Family, or FAMILY:settings.toml; may be given several times.")],
    out: Annotated[Path, typer.Option(help="Output folder; the same command resumes from it.")],
    labels: Annotated[str, typer.Option(help="Numbers of labels, such as 50,100,200.")] = "50,100,200",
    seeds: Annotated[int, typer.Option(min=1, help="Number of trainings for each model and number of labels.")] = 1,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Compute the error of potentials as a function of the number of labels."""
    from nucleate.report.terminal import plain
    from nucleate.training.run import learning_curve as run

    try:
        sizes = [int(part) for part in labels.split(",")]
    except ValueError:
        raise BadInput(f"--labels {labels}: give integers separated by commas, such as 50,100,200") from None
    if min(sizes) < 1:
        raise BadInput(f"--labels {labels}: at least one label is needed")

    def show_point(event: Event, /) -> None:
        if isinstance(event, CurvePoint) and not as_json:
            row = event.row
            text = f"{plain(row['model'])}, {row['labels']} labels, seed {row['seed']}: {errors_text(row)}, {row['cpu_seconds']:.0f} CPU-s"
            typer.echo(text)

    rows = run(data, model, sizes, out, settings, list(range(seeds)), progress=show_point)
    if as_json:
        print_json({"rows": rows})


def steer(
    folder: Annotated[Path, typer.Argument(help="Folder of a running training.")],
    lr: Annotated[float | None, typer.Option(help="New learning rate; the schedule continues from it.")] = None,
    freeze: Annotated[list[str] | None, typer.Option(help="Layer or species to freeze.")] = None,
    unfreeze: Annotated[list[str] | None, typer.Option(help="Layer or species to train again.")] = None,
    reset: Annotated[list[str] | None, typer.Option(help="Layer or species to reset to random weights.")] = None,
    copy: Annotated[list[str] | None, typer.Option(help="FROM:TO: copy the weights of one species to another (a2a).")] = None,
    save: Annotated[bool, typer.Option("--save", help="Write a checkpoint and the model now.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the training after this step and write the model.")] = False,
) -> None:
    """Change a running training; the change is applied at the next step and recorded."""
    from nucleate.training.folder import add_command

    commands: list[dict[str, Any]] = []
    if lr is not None:
        if not 0 < lr < float("inf"):
            raise BadInput(f"--lr {lr}: a learning rate is a positive number")
        commands.append({"do": "lr", "value": lr})
    commands += [
        {"do": verb, "what": what} for verb, given in (("freeze", freeze), ("unfreeze", unfreeze), ("reset", reset)) for what in given or []
    ]
    for pair in copy or []:
        source, colon, target = pair.partition(":")
        if not (source and colon and target):
            raise BadInput(f"--copy {pair}: write FROM:TO, as C:H")
        commands.append({"do": "copy", "from": source, "to": target})
    commands += [{"do": verb} for verb, asked in (("save", save), ("stop", stop)) if asked]
    if not commands:
        raise BadInput("no change is given; use --lr, --freeze, --unfreeze, --reset, --copy, --save or --stop")
    for command in commands:
        add_command(folder, command)
    typer.echo(
        f"sent to the training: {', '.join(json.dumps(command) for command in commands)}; its answer is in {folder / 'events.jsonl'}"
    )
