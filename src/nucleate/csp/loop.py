"""The active-learning loop: relax the pool on the committee, label selected structures, train, and repeat until the ranking is stable.

After S. Hessmann et al., npj Comput. Mater. 2025, doi 10.1038/s41524-025-01523-7. Every round begins from the state committed
at the end of the last one, so a killed search repeats at most one round, and the ledger answers what was already labelled.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.csp.base_judge import BaseJudge
from nucleate.csp.events import (
    LabelDone,
    PolymorphChecked,
    PolymorphConfirmed,
    RoundDone,
    SearchFinished,
    SearchResumed,
)
from nucleate.csp.evolution.breeding import fade
from nucleate.csp.evolution.build import make_breeding, modes_of
from nucleate.csp.evolution.pool import Pool
from nucleate.csp.final_stages import FinalStages, Until
from nucleate.csp.first_batch import EARLIER, KNOWN, FirstBatch
from nucleate.csp.known import Known, covers
from nucleate.csp.leads import LeadFollower, new_leads
from nucleate.csp.learner import training_data
from nucleate.csp.molecular.alone import fit_molecules
from nucleate.csp.molecular.space import MoleculeSpace
from nucleate.csp.plan import Plan
from nucleate.csp.proof import on_reference
from nucleate.csp.records import (
    SPENT,
    Carried,
    Lead,
    LoopState,
    Polymorph,
    RoundRecord,
    enthalpy_per_atom,
    out_of_rounds,
    residuals,
    round_seconds,
)
from nucleate.csp.relaxer import PoolRelaxer
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.select import lowest_unknown, score, select
from nucleate.csp.softest_modes import SoftestModeCheck
from nucleate.csp.systems.known_phases import enter, phases_given, read_known, relax_known
from nucleate.csp.systems.phases import formula_of, warnings_on
from nucleate.errors import NucleateError, ReferenceFailed
from nucleate.fingerprints.selection import fingerprints
from nucleate.generate.base import Candidate
from nucleate.potentials.bonded import BondedPotential
from nucleate.potentials.calibration import Calibration, calibrate
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.registry import Learned
from nucleate.processes.limits import available_cores
from nucleate.progress import Event, LoggedEvent, Note, Progress, Step, in_phase, silent
from nucleate.reference.asking import Answer
from nucleate.reference.base import Label
from nucleate.reference.dispatch import Answered, Dispatcher
from nucleate.reference.ledger import MAGNETIC, MOLECULE, LedgerRow, of_an_order
from nucleate.relax.batched import Relaxed

FIRST_FACTOR = 3.0
"""Calibration factor before the first labels that the committee has not been trained on: committees of four members underestimate their
errors by 2 to 4."""
HISTORY = 16
"""Number of previous ratios of error to spread that enter the calibration."""
FAILURE_ROUNDS = 3
"""Number of rounds for which structures similar to a failed calculation are not labelled; afterwards they are, because a time limit or a
killed worker says nothing about the structure."""
FIRST_JUDGED = 2
"""Number of labels after which a useless teacher is recognised, before further minima of it are labelled."""
ON_REQUEST = "ended on request"


class Search:
    """Active-learning search in a run folder.

    Args:
        folder: Open run folder.
        plan: Settings, with the reference, generators and learner made from them.
        executor: Executor on which reference calculations run, instead of local processes.
        progress: Called with the events of `nucleate.csp.events` and with `Step` for every part of a phase.
        ends_search: Called with each confirmed polymorph; returning True ends the search.
        known: What is known before the first call; see `stages.what_is_known`.
        until: Where to stop; None: at the end.
    """

    def __init__(
        self,
        folder: RunFolder,
        plan: Plan,
        executor: Executor | None = None,
        progress: Progress = silent,
        ends_search: Callable[[Polymorph], bool] = lambda polymorph: False,
        known: Known | None = None,
        until: Until | None = None,
    ):
        self.until = until or Until()
        self.folder = folder
        self.plan = plan
        self.settings = settings = plan.settings
        self.species = settings.species
        self.space = plan.space
        self.progress = progress
        self.known = known or Known()
        self.reference = plan.reference
        workers = settings.reference.workers
        if workers is None:
            workers = 0 if self.reference.surrogate else available_cores()
        self._executor = executor
        self.dispatcher = Dispatcher(
            self.reference,
            folder.ledger,
            workers=workers,
            executor=executor,
            timeout=settings.reference.timeout,
            budget=settings.search.budget,
            shared=plan.shared,
        )
        self._ends_search = ends_search
        self.follower = LeadFollower(self.dispatcher, settings.search, settings.pressure, self.species, self.space, self._polymorph)
        self.relaxer = PoolRelaxer(settings)
        self.state = LoopState()
        self.learner = plan.learner(folder.path / "prior.jsonl")
        self.judge = BaseJudge(plan, self.learner, self.known.source, self._log)
        self.breeding = make_breeding(settings, self._modes)
        self._seconds: dict[str, float] = {}
        self._known_modes: dict[bytes, np.ndarray] = {}

    # -- running ----------------------------------------------------------------------------------------------

    def run(self) -> LoopState:
        """Run the search from the last committed round until the stop rule, the budget or the last round ends it."""
        torch.set_num_threads(self.settings.threads)
        self.dispatcher.publish()
        saved = self.folder.loop_state()
        if saved is not None:
            self.state = saved
            self.learner.load(self._model_path(self.state.round))
            if self.learner.molecules is not None:
                self._use_molecules(self.learner.molecules)
            self.space.begin([row for row in self._crystals() if row.round <= self.state.round], self.state)
            self._log(SearchResumed(self.state.round, self.dispatcher.calls()))
            spent, rounds = self.state.finished == SPENT, self.state.finished == out_of_rounds(self.state.round)
            raised = (spent and self.dispatcher.remaining() != 0) or (rounds and self.state.round < self.settings.search.max_rounds)
            if raised:
                # The limit that ended the search was raised since; another polymorph may become the lowest and need a proof of its own.
                self.state.finished, self.state.proof, self.state.accurate, self.state.magnetic = None, None, None, None
                for polymorph in self.state.polymorphs:
                    polymorph.accurate = None
                    polymorph.set_order(None)
        try:
            while self.state.finished is None and (self.until.round is None or self.state.round < self.until.round):
                if self.state.round < 0:
                    self._first_round()
                else:
                    self._round(self.state.round + 1)
                self._commit()
            if self.state.finished is not None:
                stages = FinalStages(self.folder, self.plan, self.dispatcher, self._executor, self._log)
                stages.run(self.state, self._commit, self.until.stages)
        finally:
            self.relaxer.close()
            self.dispatcher.close()
        return self.state

    def _commit(self) -> None:
        state = self.state
        self.learner.save(self._model_path(state.round), state.sigma_factor)
        self.folder.save_state(state.round, state.as_dict())
        old = self._model_path(state.round - 3)
        old.unlink(missing_ok=True)

    def _model_path(self, round: int) -> Any:
        return self.folder.path / "models" / f"round_{round:03d}.safetensors"

    @contextmanager
    def _timed(self, phase: str) -> Any:
        started, before = time.monotonic(), sum(self._seconds.values())
        yield
        # The time of phases within this one is theirs.
        within = sum(self._seconds.values()) - before
        self._seconds[phase] = self._seconds.get(phase, 0.0) + time.monotonic() - started - within

    def _log(self, event: LoggedEvent) -> None:
        self.folder.event(event.kind, **event.facts())
        self.progress(event)

    def _polymorph(self, polymorph: Polymorph) -> bool:
        formula = "" if self.settings.system is None else formula_of(self.settings.system, polymorph.atoms)
        self._log(PolymorphConfirmed(polymorph.energy, polymorph.space_group, polymorph.calls, polymorph.round, formula))
        return self._ends_search(polymorph)

    # -- rounds -----------------------------------------------------------------------------------------------

    def _rng(self, round: int, what: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, round, what])

    def _generate(self, count: int, round: int) -> list[Candidate]:
        if count <= 0:
            return []
        # Structures of the user enter the first pool only; later rounds keep them among the carried minima.
        return self.space.propose(count, self._rng(round, 1), with_seeds=round <= 1)

    def _generate_small(self, round: int) -> list[Candidate]:
        """Generate smaller cells of the same composition, which are training data for the committee."""
        search = self.settings.search
        made: list[Candidate] = []
        for k, generator in enumerate(self.plan.small_generators()):
            made += generator.propose(-(-search.train_pool // len(search.train_units)), self._rng(round, 10 + k))
        return made

    def _first_round(self) -> None:
        """Label what is known to be promising, or else structures as different as possible; then train for the first time."""
        search, known = self.settings.search, self.known
        self._seconds = {}
        self.state.evolution.smaller = list(known.smaller)
        self.dispatcher.begin_round(0)
        self.space.begin([], self.state)
        moments = None if self.reference.surrogate else self.settings.reference.magnetic_moments
        for text in warnings_on(self.settings.system or self.settings.counts, moments):
            self.progress(Note(text))
        if self.settings.system is not None:
            with self._timed("known"):
                self._place_known()
        if self.settings.molecules.molecule:
            with self._timed("molecules"):
                self._place_molecules()
            known = self.known
        self.learner.set_base(known.base)
        with self._timed("generate"):
            pool = self._generate(search.pool, 0)
        first = FirstBatch(self.settings, self.space, known, pool, partial(self._rng, 0), self.dispatcher.remaining)
        self.state.carried = list(known.pool or self._relaxed_on_base(pool)) if known.base is not None else []
        batch = first.promising(self.state.carried)
        chosen = [candidate.atoms for candidate in batch]
        answers: list[Answer] = []
        if known.base is not None:
            answers = self._label_and_judge_base(chosen)
            batch, chosen = batch[: len(answers)], chosen[: len(answers)]
        if self.learner.base is None:
            self.state.sigma_factor = FIRST_FACTOR
            wanted = search.first_batch - (len(known.labels) if covers(known.labels, self.species) else 0)
            with self._timed("generate"):
                random = wanted - len(batch)
                batch += first.of_the_anchors(len(batch) - len(answers))
                batch += first.far_apart(self._generate_small(0), random, batch, len(batch) - len(answers))
            with self._timed("label"):
                answers += self._label([candidate.atoms for candidate in batch[len(answers) :]], "train", 0)
            chosen = [candidate.atoms for candidate in batch]
        if answers and not any(isinstance(answer, Label) for answer in answers):
            # The cause is the set-up and not the structures, which are labelled again once it is repaired.
            self.dispatcher.forget_failures()
            raise NucleateError(
                f"all {len(answers)} calculations of the first batch failed; fix the cause, then resume; the first failure: {answers[0]}"
            )
        self._add_leads(chosen, answers, [(candidate.origin, "", 0) for candidate in batch])
        training = self._train(0)
        self.state.round = 0
        ended = False
        if self.learner.base is not None or known.minima:
            with self._timed("confirm"):
                ended = self.follower.follow(self.state, self.learner.potential, 0, search.leads, search.lead_steps)
            self.state.top = [polymorph.energy for polymorph in self.space.lowest(self.state)]
        self._record(0, [], 0, None, training)
        if ended:
            self._finish(ON_REQUEST)

    def _place_known(self) -> None:
        """Enter the phases of earlier searches, and relax the known phases on the reference."""
        for polymorph in phases_given(self.settings, self.reference, self.progress):
            enter(polymorph, self.state.polymorphs)
        phases = read_known(self.settings)
        for done, phase in enumerate(phases):
            self.progress(Step("relaxing known phases", done, len(phases)))
            result = relax_known(phase, self.dispatcher, on_reference(self.settings))
            if isinstance(result, str):
                self.state.left_out.append(f"{phase.name}: {result}")
                self.progress(Note(f"the known phase {phase.name} is left out: {result}"))
            elif enter(result, self.state.polymorphs):
                self._polymorph(result)
        self.space.update(self.state)

    def _place_molecules(self) -> None:
        """Relax each molecule alone on the reference and fit its force field; crystals are generated from the relaxed molecules."""
        molecules, events = fit_molecules(self.settings, self.dispatcher, lambda k: self._rng(0, 20 + k), self.progress)
        for event in events:
            self._log(event)
        self.folder.set_fact("molecules", [event.facts() for event in events])
        self._use_molecules(molecules)
        # Minima of a teacher have its bond lengths; with those of the reference, their labels show the forces between molecules.
        own = molecules.topology
        pool = [Carried(own.in_own_geometry(item.atoms), item.origin) for item in self.known.pool]
        others = [own.in_own_geometry(atoms) for atoms in self.known.minima[self.known.own_minima :]]
        self.known = replace(self.known, minima=self.known.minima[: self.known.own_minima] + others, pool=pool)

    def _use_molecules(self, molecules: BondedPotential) -> None:
        self.learner.molecules = molecules
        assert isinstance(self.space, MoleculeSpace)
        self.space.use(molecules.topology.molecules)

    def _relaxed_on_base(self, pool: list[Candidate]) -> list[Carried]:
        """Relax the first pool on the base, whose minima are not known; return the distinct minima, the best first."""
        search, base = self.settings.search, self.learner.base_potential
        ends = self._relaxed([candidate.atoms for candidate in pool], base, 1.0)
        structures = [end.atoms for end in ends]
        vectors = fingerprints(structures, self.species)
        heads = select(ends, vectors, [], vectors[:0], search, 0, self.space.merits(ends)).heads
        return [Carried(ends[k].atoms, pool[k].origin) for k in heads[: self._kept]]

    @property
    def _kept(self) -> int:
        """Number of minima that are carried from round to round."""
        return min(self.settings.search.keep, self.settings.search.pool // 2)

    def _label_and_judge_base(self, chosen: list[Atoms]) -> list[Answer]:
        """Label minima of the base and judge it by them; return the answers, which are fewer if the first ones show that it is useless."""
        answers: list[Answer] = []
        for count in (min(FIRST_JUDGED, len(chosen)), len(chosen)):
            if count <= len(answers):
                continue
            with self._timed("label"):
                answers += self._label(chosen[len(answers) : count], "train", 0)
            if self.judge.useless(chosen, answers):
                break
        self.judge.judge(self.state, chosen[: len(answers)], answers)
        return answers

    def _round(self, round: int) -> None:
        search, state = self.settings.search, self.state
        self._seconds = {}
        # A proof is made after the last round; if its search continues, its calls have the number of this round.
        self.dispatcher.begin_round(round, settled=("proof", MAGNETIC))
        self.space.begin([row for row in self._crystals() if row.round < round], state)
        left = self.dispatcher.remaining()
        if left == 0:
            self._finish(SPENT)
            return
        pool, small, small_ends = self._pool(round)
        ends, vectors = pool.ends, pool.vectors
        with self._timed("select"):
            known = self._known_structures(round)
            mine = [atoms for atoms in known if self.space.holds(atoms)]
            count = search.batch if left is None else min(search.batch, left)
            # A small cell must be unknown to the reference; a cell of the searched size may be similar to a labelled small cell.
            small_vectors = fingerprints([end.atoms for end in small_ends], self.species)
            small_heads = lowest_unknown(small_ends, small_vectors, known, fingerprints(known, self.species), search)
            small_heads = small_heads[: min(search.train_slots, count)]
            structures = [end.atoms for end in ends]
            selection = select(
                ends,
                vectors,
                mine,
                fingerprints(mine, self.species),
                search,
                count - len(small_heads),
                self.space.merits(ends),
                self.space.groups(structures),
                self.space.coverage(ends),
                partial(self._relax_closely, pool) if state.polymorphs else None,
            )
            state.carried = [replace(pool.items[k], atoms=ends[k].atoms) for k in selection.heads[: self._kept]]
            state.chance = self.space.chance(pool, selection.left, state)
            clear = self.space.clear(pool, selection.left, state)
        chosen = [ends[choice.index] for choice in selection.choices] + [small_ends[k] for k in small_heads]
        chosen = self.relaxer.idealised(chosen, self.learner.potential)
        places = [choice.index for choice in selection.choices]
        births = [(pool.items[k].origin, pool.items[k].birth, met) for k, met in zip(places, self.space.finds(pool, places), strict=True)]
        births += [(small[k].origin, "", 0) for k in small_heads]
        with self._timed("label"):
            answers = self._label([end.atoms for end in chosen], "explore", round)
        calibration = self._calibrate(chosen, answers)
        if self.learner.base is not None:
            with self._timed("train"):
                self.judge.compare(state, [end.atoms for end in chosen], answers, self._crystals(), round)
            if self.learner.base is None:
                self._train(round)
        self._add_leads([end.atoms for end in chosen], answers, births)
        ended = False
        with self._timed("confirm"):
            ended = self.follower.follow(state, self.learner.potential, round, search.leads, search.lead_steps)
        state.round = round
        training = {} if ended else self._train(round)
        self._update_sigma()
        named: list[Carried | Lead | Polymorph] = [*state.carried, *state.leads, *state.polymorphs]
        state.evolution.keep(item.birth for item in named)
        # A committee that is wrong about its new labels may be wrong about the candidates without one.
        self._count_quiet(clear and calibration.median < search.clear_window * 1e-3)
        self._record(round, ends, len(selection.heads), calibration, training)
        if ended:
            self._finish(ON_REQUEST)
        else:
            self._judge(round, bool(chosen))

    def _pool(self, round: int) -> tuple[Pool, list[Candidate], list[Relaxed]]:
        """Relax the pool of a round on the committee: carried and random candidates, then the generations of their children.

        Returns:
            The pool, and the smaller cells with their relaxations.
        """
        search, record = self.settings.search, self.state.evolution
        fade(record)
        self._known_modes.clear()
        pool = Pool(self.state.carried, round, self.species, record)
        room = search.pool - len(pool.items)
        # Structures of the user enter the first pool before children do.
        numbers = self.breeding.numbers(max(room - (self.space.seeds if round <= 1 else 0), 0))
        with self._timed("generate"):
            pool.enter(self._generate(room - sum(numbers), round))
            small = self._generate_small(round) if search.train_slots else []
        relaxed = self._relaxed([item.atoms for item in pool.items] + [candidate.atoms for candidate in small])
        small_ends = relaxed[len(pool.items) :]
        pool.relaxed(relaxed[: len(pool.items)])
        pool.enter_smaller([(EARLIER, atoms) for atoms in record.smaller])
        if numbers and small:
            vectors = fingerprints([end.atoms for end in small_ends], self.species)
            heads = lowest_unknown(small_ends, vectors, [], vectors[:0], search)[: self.settings.evolution.parents]
            pool.enter_smaller([(small[k].origin, small_ends[k].atoms) for k in heads])
        for generation, number in enumerate(numbers):
            before, rng = len(pool.items), self._rng(round, 30 + generation)
            with self._timed("generate"):
                made = self.breeding.breed(pool, self.breeding.population(pool, self._scores(pool.ends)), number, rng)
                if made < number:
                    # Random candidates take the places of children that could not be made.
                    pool.enter(self.space.propose(number - made, rng, with_seeds=False))
            pool.relaxed(self._relaxed([item.atoms for item in pool.waiting]))
            self.breeding.reward(pool, self._scores(pool.ends), before, self._kept)
        return pool, small, small_ends

    def _modes(self, atoms: Atoms) -> np.ndarray:
        """Return the softest modes of a relaxed candidate on the committee, which are remembered for the round."""
        key = atoms.positions.tobytes() + atoms.cell.array.tobytes()
        if key not in self._known_modes:
            self._known_modes[key] = modes_of(atoms, self.learner.potential, self.settings.pressure)
        return self._known_modes[key]

    def _relaxed(
        self,
        structures: list[Atoms],
        potential: Learned | CorrectedPotential | None = None,
        sigma_factor: float | None = None,
        closely: bool = False,
    ) -> list[Relaxed]:
        """Relax structures on the committee, or on another potential."""
        with self._timed("relax"):
            factor = sigma_factor or self.state.sigma_factor
            return self.relaxer.relax(structures, potential or self.learner.potential, factor, self.progress, closely)

    def _relax_closely(self, pool: Pool, places: list[int]) -> None:
        """Relax candidates of the pool once more, with lower thresholds; those that explode or collapse stay as they were."""
        for k, end in zip(places, self._relaxed([pool.ends[k].atoms for k in places], closely=True), strict=True):
            if end.usable:
                pool.ends[k] = end
        pool.vectors[places] = fingerprints([pool.ends[k].atoms for k in places], self.species)

    def _scores(self, ends: list[Relaxed]) -> np.ndarray:
        """Return the scores of relaxed candidates, lower is better."""
        merits = self.space.merits(ends)
        return score(ends, self.settings.search) if merits is None else merits

    def _crystals(self) -> list[LedgerRow]:
        """Return the rows of the ledger without those of isolated molecules, whose energies the force field of the molecules contains.

        Those of magnetic orders other than that of the search are left out as well: they belong to another energy surface.
        """
        return [row for row in self.folder.ledger.rows() if row.purpose != MOLECULE and not of_an_order(row)]

    def _known_structures(self, round: int) -> list[Atoms]:
        """Return structures that are not labelled again: labelled ones, polymorphs, and for some rounds those that failed."""
        # Rows of this round exist if it is repeated after a kill; the round must then select the same structures again.
        rows = [row for row in self._crystals() if row.round < round]
        known = [row.atoms for row in rows if row.label is not None or round - row.round <= FAILURE_ROUNDS]
        return known + [polymorph.atoms for polymorph in self.state.polymorphs]

    def _label(self, structures: list[Atoms], purpose: str, round: int) -> list[Answer]:
        done = 0

        def answered(event: Event, /) -> None:
            nonlocal done
            if not isinstance(event, Answered):
                return
            done += 1
            self.progress(Step(f"{self.reference.name} calculations", done, len(structures)))
            failed = event.answer.reason if isinstance(event.answer, ReferenceFailed) else None
            self._log(LabelDone(round, purpose, self.dispatcher.calls(), failed))

        answers = self.dispatcher.label_many(structures, purpose, round, answered)
        self.space.add(structures, answers)
        return answers

    def _add_leads(self, structures: list[Atoms], answers: list[Answer], births: list[tuple[str, str, int]]) -> None:
        """Add labelled structures to the leads; `births` are origin, name in the family history, and `met` of each."""
        pressure = self.settings.pressure
        labelled: list[Lead] = []
        for atoms, answer, (origin, birth, met) in zip(structures, answers, births, strict=True):
            if isinstance(answer, Label) and self.space.holds(atoms):
                fmax, smax = residuals(atoms, answer, pressure)
                labelled.append(
                    Lead(
                        atoms, atoms, enthalpy_per_atom(atoms, answer, pressure),
                        fmax, smax, origin, np.array(answer.forces), np.array(answer.stress), birth=birth, met=met,
                    )
                )  # fmt: skip
        new_leads(self.state, labelled, self.settings.search, self.species)

    def _calibrate(self, chosen: list[Relaxed], answers: list[Answer]) -> Calibration:
        state = self.state
        pairs = [(end, answer) for end, answer in zip(chosen, answers, strict=True) if isinstance(answer, Label)]
        errors, spreads, forces = np.zeros(0), np.zeros(0), float("nan")
        if pairs:
            batch = CrystalBatch.from_atoms([end.atoms for end, _ in pairs])
            prediction = self.learner.potential.energy_forces_stress(batch)
            counts = batch.counts.numpy()
            energies = np.array([label.energy for _, label in pairs])
            errors = (energies - prediction.energy.mean(0).numpy()) / counts
            spreads = prediction.energy_sigma(batch).numpy()
            difference = prediction.forces.mean(0).numpy() - np.concatenate([label.forces for _, label in pairs])
            forces = float(np.sqrt(np.mean(difference**2)))
        result = calibrate(errors, spreads, state.sigma_factor, forces, np.array(state.ratios))
        ratios = np.abs(errors) / np.maximum(spreads, 1e-6)
        state.ratios = (state.ratios + ratios.tolist())[-HISTORY:]
        state.sigma_factor = result.factor
        return result

    def _train(self, round: int) -> dict[str, float | None]:
        # A round that is repeated after a kill may find labels of its own checks, which follow the training.
        rows = [row for row in self._crystals() if row.round < round or row.purpose != "check"]
        known = training_data(rows, self.known.labels)
        with self._timed("train"):
            report = self.learner.fit(known, in_phase("training the committee", self.progress))
        return {
            "labels": len(known) - self.learner.left_out,
            "left_out": self.learner.left_out,
            "energy_rmse": report.energy_rmse,
            "force_rmse": report.force_rmse,
            "stress_rmse": report.stress_rmse,
        }

    def _update_sigma(self) -> None:
        """Update the uncertainty of each polymorph, which has decreased since its confirmation."""
        polymorphs = self.state.polymorphs
        if polymorphs and self.learner.trained:
            batch = CrystalBatch.from_atoms([polymorph.atoms for polymorph in polymorphs])
            spreads = self.learner.potential.energy_forces_stress(batch).energy_sigma(batch)
            for polymorph, spread in zip(polymorphs, spreads.tolist(), strict=True):
                polymorph.sigma = self.state.sigma_factor * spread

    def _record(
        self,
        round: int,
        ends: list[Relaxed],
        clusters: int,
        calibration: Calibration | None,
        training: dict[str, float | None],
    ) -> None:
        best = min((polymorph.energy for polymorph in self.state.minima()), default=None)
        record = RoundRecord(
            round,
            self.dispatcher.calls(),
            best,
            dict(Counter(end.stop for end in ends)),
            clusters,
            calibration.as_dict() if calibration is not None else {},
            training,
            {name: round_seconds(value) for name, value in self._seconds.items()},
            None if self.settings.system is None else len(self.space.lowest(self.state)),
            self.state.quiet,
            self.state.clear,
        )
        self.state.records.append(record)
        self._log(RoundDone(record))

    # -- stopping ---------------------------------------------------------------------------------------------

    def _count_quiet(self, clear: bool) -> None:
        """Count the rounds in which the lowest `top` polymorphs have not changed and nothing is below them.

        Args:
            clear: whether the round counts twice.
        """
        state = self.state
        top = [polymorph.energy for polymorph in self.space.lowest(state)]
        tolerance = self.settings.search.resolution * 1e-3
        same = len(top) > 0 and len(top) == len(state.top) and all(abs(a - b) <= tolerance for a, b in zip(top, state.top, strict=True))
        # The ranking is not settled while an open lead, a label or a likely candidate may change it.
        pending = self.space.pending(state) or state.chance > self.space.most_chance
        state.quiet = state.quiet + 1 if same and not pending else 0
        state.clear = state.clear + clear if state.quiet else 0
        state.top = top

    def _judge(self, round: int, asked: bool) -> None:
        """Stop after enough quiet rounds with the softest-mode check, or for another reason.

        Args:
            round: number of the round.
            asked: whether candidates of the pool were labelled in it.
        """
        search, state = self.settings.search, self.state
        # One round is enough where the search on the reference only confirms what the teacher knew.
        agrees = self.learner.base is not None and bool(state.top) and self.settings.system is None and state.minima()[0].origin == KNOWN
        quiet_rounds = 1 if agrees else search.quiet_rounds
        settled = state.quiet + state.clear >= quiet_rounds or round >= search.max_rounds
        if settled and search.check and self._check(round):
            # A polymorph was a saddle: the search continues below it, unless this was the last round.
            state.quiet = state.clear = 0
        if state.quiet + state.clear >= quiet_rounds:
            which = self.space.shown(len(state.top))
            why = f"{which} stayed the same for {state.quiet} round{'' if state.quiet == 1 else 's'}"
            if state.quiet < quiet_rounds:
                all_of_them = "" if state.clear == state.quiet else f"in {state.clear} of them "
                why += f", {all_of_them}with no other candidate within {search.clear_window:g} meV/atom"
            self._finish(why + (f", and the lowest is a minimum of {self.state.base['source']}" if agrees and self.state.base else ""))
        elif round >= search.max_rounds:
            self._finish(out_of_rounds(round))
        elif self.dispatcher.remaining() == 0:
            self._finish(SPENT)
        elif not asked and not any(lead.status == "open" for lead in state.leads) and state.chance <= self.space.most_chance:
            self._finish("all end points of the pool are known to the reference")

    def _check(self, round: int) -> bool:
        """Check the lowest polymorphs along their softest modes; return whether one of them was a saddle."""
        state = self.state
        unchecked = [polymorph for polymorph in self.space.lowest(state) if polymorph.check == "unchecked"]
        started = time.monotonic()
        checks = SoftestModeCheck(self.dispatcher, self.settings.pressure).run(unchecked, self.learner.potential, round)
        for check in checks:
            self._log(PolymorphChecked(check.polymorph.space_group, float(check.polymorph.energy), check.verdict, self.dispatcher.calls()))
            lead = check.lead(self.settings.pressure) if check.verdict == "saddle" else None
            if lead is not None:
                state.leads.append(lead)
        if state.records:
            state.records[-1].seconds["check"] = round_seconds(time.monotonic() - started)
        return any(check.verdict == "saddle" for check in checks)

    def _finish(self, why: str) -> None:
        self.state.finished = why
        self._log(SearchFinished(why, self.dispatcher.calls()))
