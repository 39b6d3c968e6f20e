"""Genetic algorithm of ase-ga for bulk crystals, with the settings of its tutorial.

Tutorial: "Genetic algorithm search for bulk crystal structures" (ASE's documentation, tutorials/ga/ga_bulk), after M. Van den Bossche, H.
Grönbeck and B. Hammer, J. Chem. Theory Comput. 14, 2797 (2018). Its settings: 20 random structures and a population of 20; distances
above 0.5 sums of covalent radii; angles to the planes from 35 to 145 degrees and lengths from 3 to 50 Å at the start, 20 to 160 degrees
and 2 to 60 Å later; half of the start cells repeat a half cell; operators CutAndSplicePairing (minfrac 0.15), SoftMutation (2 to 5 Å) and
StrainMutation (standard deviation 0.7) with weights 4 : 3 : 3; OFPComparator (cos_dist_max 1e-3, rcut 10 Å); scaling volumes updated
every ten candidates. For compounds PermuStrainMutation, which the tutorial lists, has weight 3 as well. The tutorial guesses the volume
of the start cells; here it is the mean of nucleate's random cells. The tutorial relaxes by FIRE to 1e-3 in ExpCellFilter; here by L-BFGS
to the thresholds of all others.
"""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
from ase import Atoms
from ase.build import niggli_reduce
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from counting import Trial
from random_search import candidates

from nucleate.crystals.formula import parse_formula

POPULATION = 20


def search(trial: Trial, system: str, seed: int) -> None:
    """Run the genetic algorithm until the run ends; the current folder takes its database."""
    from ase_ga import set_raw_score
    from ase_ga.cutandsplicepairing import CutAndSplicePairing
    from ase_ga.data import DataConnection, PrepareDB
    from ase_ga.offspring_creator import OperationSelector
    from ase_ga.ofp_comparator import OFPComparator
    from ase_ga.population import Population
    from ase_ga.soft_mutation import SoftMutation
    from ase_ga.standardmutations import PermuStrainMutation, PermutationMutation, StrainMutation
    from ase_ga.startgenerator import StartGenerator
    from ase_ga.utilities import CellBounds, closest_distances_generator

    # Some operators of the package draw from the global generators.
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    counts = parse_formula(system)
    numbers = [atomic_numbers[symbol] for symbol, count in counts.items() for _ in range(count)]
    volume = float(np.mean([atoms.get_volume() for atoms in islice(candidates(system, seed, 0.0), 20)]))
    slab = Atoms("", pbc=True)
    closest = closest_distances_generator(numbers, 0.5)
    angles = ("phi", "chi", "psi")
    first_bounds = CellBounds({**{name: [35, 145] for name in angles}, **{name: [3, 50] for name in "abc"}})
    bounds = CellBounds({**{name: [20, 160] for name in angles}, **{name: [2, 60] for name in "abc"}})

    prepared = PrepareDB("ga.db", simulation_cell=slab, stoichiometry=numbers)
    start = StartGenerator(
        slab, list(counts.items()), closest, box_volume=volume, number_of_variable_cell_vectors=3, cellbounds=first_bounds,
        splits={(2,): 1, (1,): 1}, test_too_far=False,
    )  # fmt: skip
    same = OFPComparator(
        n_top=len(numbers), dE=1.0, cos_dist_max=1e-3, rcut=10.0, binwidth=0.05, pbc=[True] * 3, sigma=0.05, nsigma=4, recalculate=False
    )
    pairing = CutAndSplicePairing(
        slab, len(numbers), closest, p1=1.0, p2=0.0, minfrac=0.15, number_of_variable_cell_vectors=3, cellbounds=bounds, use_tags=False
    )
    strain = StrainMutation(closest, stddev=0.7, cellbounds=bounds, number_of_variable_cell_vectors=3, use_tags=False)
    soft = SoftMutation(closest_distances_generator(numbers, 0.1), bounds=[2.0, 5.0], use_tags=False)
    operators, weights = [pairing, soft, strain], [4.0, 3.0, 3.0]
    if len(counts) > 1:
        permutation = PermutationMutation(len(numbers), probability=0.33, test_dist_to_slab=False, blmin=closest)
        operators.append(PermuStrainMutation(permutation, strain))
        weights.append(3.0)
    selector = OperationSelector(weights, operators)

    def relax(atoms: Atoms) -> None:
        """Relax a candidate in place, and give it its score; one that fails leaves the population."""
        if not bounds.is_within_bounds(atoms.get_cell()):
            niggli_reduce(atoms)
        end = trial.relax_and_confirm(atoms) if bounds.is_within_bounds(atoms.get_cell()) else None
        if end is not None:
            atoms.set_cell(end[0].cell.array)
            atoms.set_positions(end[0].positions)
            atoms.wrap()
            if not bounds.is_within_bounds(atoms.get_cell()):
                niggli_reduce(atoms)
        energy = 1e9 if end is None else end[1] * len(atoms)
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        set_raw_score(atoms, -energy)
        database.add_relaxed_step(atoms)
        if end is None or not bounds.is_within_bounds(atoms.get_cell()):
            database.kill_candidate(atoms.info["confid"])

    for _ in range(POPULATION):
        prepared.add_unrelaxed_candidate(start.get_new_candidate())
    database = DataConnection("ga.db")
    while database.get_number_of_unrelaxed_candidates():
        relax(database.get_an_unrelaxed_candidate())
    population = Population(data_connection=database, population_size=POPULATION, comparator=same, use_extinct=True)
    step = 0
    while True:
        if step % 10 == 0:
            current = population.get_current_population()
            for operator in (strain, pairing):
                operator.update_scaling_volume(current, w_adapt=0.5, n_adapt=4)
        child = None
        while child is None:
            child, description = selector.get_new_individual(population.get_two_candidates())
        database.add_unrelaxed_candidate(child, description=description)
        relax(child)
        population.update()
        step += 1
