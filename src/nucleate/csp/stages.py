"""The stages of a search: what is known is collected, a teacher is searched, then the reference.

Stage zero is the search itself with the teacher in the place of the reference, in the folder `teacher` of the run folder. It leaves a
committee that has learned the surface of the teacher, and the minima of the teacher. The search on the reference then learns only the
difference to this committee,

    E = E_teacher's committee + E_correction.

Multi-fidelity learning of differences: R. Ramakrishnan et al., J. Chem. Theory Comput. 11, 2087 (2015), doi 10.1021/acs.jctc.5b00099.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from nucleate.csp.events import TeacherBegins, TeacherDone
from nucleate.csp.final_stages import Until
from nucleate.csp.known import Known
from nucleate.csp.labels_from import labels_known
from nucleate.csp.learner import Learner
from nucleate.csp.loop import Search
from nucleate.csp.plan import Plan
from nucleate.csp.records import LoopState, Polymorph
from nucleate.csp.run_data import wall_seconds
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.systems.known_phases import phases_given, read_known
from nucleate.errors import BadInput
from nucleate.persist.toml import to_toml
from nucleate.potentials.base import check_species
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.files import load_potential
from nucleate.potentials.registry import Learned
from nucleate.pretrained import shown_name
from nucleate.progress import Event, Progress, Step, in_phase, silent
from nucleate.reference.settings import ReferenceSettings
from nucleate.training.labelled import LabelledStructure

TEACHER_TOP = 5
"""Number of lowest minima of the teacher that must stay the same before its search stops: several of them are labelled first."""


def run_search(
    folder: RunFolder,
    plan: Plan,
    executor: Executor | None = None,
    progress: Progress = silent,
    ends_search: Callable[[Polymorph], bool] = lambda polymorph: False,
    until: Until | None = None,
) -> LoopState:
    """Run all stages of a search, or what is left of them.

    Args:
        folder: open run folder.
        plan: settings and the objects that follow from them.
        executor: executor on which calculations of the reference run, instead of local processes.
        progress: called with the events of `nucleate.csp.events`.
        ends_search: called with each polymorph confirmed on the reference; returning True ends the search.
        until: where to stop; None: at the end.
    """
    known = what_is_known(folder, plan, progress)
    return Search(folder, plan, executor, progress, ends_search, known, until).run()


def what_is_known(folder: RunFolder, plan: Plan, progress: Progress = silent) -> Known:
    """Collect what is known before the first reference call, with a search on the teacher if there is one.

    Raises:
        BadInput: labels or a model do not fit the search.
    """
    settings, teacher = plan.settings, plan.settings.teacher
    known, others = labels_known(settings, plan.reference, progress) if teacher.labels_from else (Known(), [])
    if folder.loop_state() is not None:
        # The saved model contains the base.
        return known
    if others:
        return replace(known, base=_learn(others, plan, progress), source=", ".join(teacher.labels_from))
    if teacher.model_from is not None:
        return replace(known, base=model_known(Path(teacher.model_from), settings), source=teacher.model_from)
    if plan.teacher is None:
        return known
    taught = _teach(folder, plan, progress)
    # Minima of the reference itself come first.
    minima = known.minima + taught.minima
    return replace(taught, labels=known.labels, minima=minima, own_minima=len(known.minima), smaller=known.smaller)


def check_known(plan: Plan) -> None:
    """Check labels and models from elsewhere before a run folder is created.

    Raises:
        BadInput: labels or a model do not fit the search, or contradict the teacher.
    """
    settings, teacher = plan.settings, plan.settings.teacher
    if settings.system is not None:
        read_known(settings)
        phases_given(settings, plan.reference)
    if teacher.model_from is not None:
        model_known(Path(teacher.model_from), settings)
    if teacher.labels_from and labels_known(settings, plan.reference)[1]:
        given = next((name for name in ("name", "model_from") if getattr(teacher, name) is not None), None)
        given = "model.prior" if settings.model.prior is not None else None if given is None else f"teacher.{given}"
        if given is not None:
            raise BadInput(
                f"{given} and labels without settings are both given, but the search corrects one surface; state the settings of the "
                "labels with labels_settings, or remove one of them"
            )


def _learn(data: list[LabelledStructure], plan: Plan, progress: Progress) -> Learned:
    """Return a committee trained on the labels of another method."""
    learner = Learner(plan.settings.species, plan.settings.model, plan.settings.training, plan.settings.seed, plan.reference)
    longer = plan.settings.training.model_copy(update={"steps": 3 * plan.settings.training.steps})
    learner.training = longer
    learner.fit(data, in_phase("training on the given labels", progress))
    return learner.potential.learned


def model_known(path: Path, settings: RunSettings) -> Learned:
    """Return the committee of a model file.

    Raises:
        BadInput: the file is not a model file, does not support the elements, or is itself a correction.
    """
    model, _ = load_potential(path)
    if isinstance(model, CorrectedPotential):
        raise BadInput(f"{path}: the model is a correction of another potential; give the model of a training or search without one")
    try:
        check_species(model.species, settings.species)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return model.learned


def teacher_settings(settings: RunSettings) -> RunSettings:
    """Return the settings of the search on the teacher."""
    teacher, search = settings.teacher, settings.search
    assert teacher.name is not None
    kind, _, calculator = teacher.name.partition(":")
    reference = (
        ReferenceSettings(engine="ase", calculator=calculator, workers=0) if kind == "ase" else ReferenceSettings(engine=teacher.name)
    )
    return settings.model_copy(
        update={
            "reference": reference,
            "teacher": type(teacher)(),
            # Known phases are phases of the reference.
            "hull": settings.hull.model_copy(update={"known": [], "elements_from": []}),
            "search": search.model_copy(
                update={
                    "first_batch": teacher.first_batch, "batch": teacher.batch, "max_rounds": teacher.max_rounds,
                    "budget": teacher.budget, "top": max(search.top, TEACHER_TOP), "quiet_rounds": 1, "leads": 6, "lead_steps": 6,
                    "check": False, "magnetic": False, "accurate": False, "proof": False,
                }
            ),
        }
    )  # fmt: skip


def _teach(folder: RunFolder, plan: Plan, progress: Progress) -> Known:
    """Search the surface of the teacher; return its committee, minima and pool."""
    assert plan.teacher is not None
    settings = teacher_settings(plan.settings)
    name = shown_name(plan.teacher.name)
    progress(TeacherBegins(name, settings.search.budget))

    def steps_only(event: Event, /) -> None:
        # Other events would be taken for those of the reference.
        if isinstance(event, Step):
            progress(Step(f"{name}: {event.phase}", event.done, event.total))

    with RunFolder.create(folder.path / "teacher", to_toml(settings)) as own:
        own.set_fact("reference", {"name": plan.teacher.name, "surrogate": True, "settings": plan.teacher.settings()})
        state = Search(own, Plan(settings, plan.teacher), progress=steps_only).run()
        rows = list(own.ledger.rows())
        model, _ = load_potential(own.path / "models" / f"round_{state.round:03d}.safetensors")
    ranking = [polymorph for polymorph in state.ranking() if polymorph.compound is None]
    done = TeacherDone(
        name, len(rows), sum(row.core_seconds for row in rows), sum(wall_seconds(state).values()),
        [[polymorph.space_group, float(polymorph.energy)] for polymorph in ranking],
    )  # fmt: skip
    folder.event(done.kind, **done.facts())
    folder.set_fact("teacher", done.facts())
    progress(done)
    return Known(model.learned, minima=[polymorph.atoms for polymorph in ranking], pool=state.carried, source=name)
