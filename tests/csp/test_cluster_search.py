"""Clusters: the box is kept, polymorphs have point groups, bad input is refused; the known minima of Lennard-Jones clusters are found."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene
from ase.calculators.lj import LennardJones
from ase.cluster import Icosahedron
from ase.constraints import FixAtoms
from ase.io import read, write

from nucleate import api
from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.clusters import extent, gathered
from nucleate.crystals.dimensions import is_cluster
from nucleate.crystals.point_groups import number_of
from nucleate.crystals.strain import voigt_from_full
from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict
from nucleate.csp.newton import Frame, newton_step
from nucleate.csp.plan import prepare
from nucleate.csp.records import residuals
from nucleate.csp.softest_modes import softest_modes
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import idealised, same_crystal, space_group, symmetrised, symmetry
from nucleate.generate.point_group_sites import point_group_sites
from nucleate.reference.base import Label
from nucleate.reference.kpoints import k_grid
from nucleate.relax.batched import relax
from nucleate.relax.settings import RelaxSettings
from tests.conftest import PairPotential

SIGMA, DEPTH = 3.4, 0.05
CUTOFF = 12.0


def boxed(atoms, edge=26.0):
    made = Atoms(atoms.numbers, atoms.positions - atoms.positions.mean(0) + 0.5 * edge, cell=[edge] * 3, pbc=False)
    return made


def thirteen():
    atoms = Icosahedron("Ar", 2, latticeconstant=5.4)
    return boxed(atoms)


def test_clusters_keep_their_kind_on_the_way():
    atoms = thirteen()
    (batch,) = CrystalBatch.from_atoms([atoms]).to_atoms()
    assert is_cluster(batch)
    assert is_cluster(atoms_from_dict(atoms_to_dict(atoms)))
    rattled = atoms.copy()
    rattled.rattle(0.02, seed=1)
    assert space_group(rattled) == ("Ih", number_of("Ih"))
    assert symmetry(rattled) == (120, 2)
    exact = idealised(rattled)
    assert is_cluster(exact)
    assert space_group(exact, 1e-6)[0] == "Ih"
    assert exact.cell.array == pytest.approx(atoms.cell.array)
    rattled.rattle(0.08, seed=2)
    assert symmetrised(rattled, 0.5)[1] == number_of("Ih")
    assert space_group(boxed(Atoms("CO2", [[0, 0, 0], [0, 0, 1.2], [0, 0, -1.2]])))[0] == "Dinfh"


def test_orientation_place_and_handedness_do_not_matter():
    rng = np.random.default_rng(1)
    atoms = boxed(Atoms("C2Cl2F4", rng.uniform(-2.5, 2.5, (8, 3))))
    other = atoms.copy()
    other.rotate(70, (1, 2, 3))
    other.positions = other.positions * [1, -1, 1] + 1.0
    assert same_crystal(atoms, other)
    moved = atoms.copy()
    moved.positions[3] += [0.9, 0, 0]
    assert not same_crystal(atoms, moved)
    crystal = atoms.copy()
    crystal.pbc = True
    assert not same_crystal(atoms, crystal)


def test_the_box_is_kept():
    potential = PairPotential(bond=3.0)
    start = thirteen()
    start.rattle(0.2, seed=3)
    (end,) = relax([start], potential, RelaxSettings(fmax=0.002, max_steps=600))
    assert end.stop == "converged"
    assert end.atoms.cell.array == pytest.approx(start.cell.array, abs=1e-12)
    label = Label(0.0, np.zeros((13, 3)), np.array([0.1, 0.2, 0.3, 0, 0, 0]))
    assert residuals(start, label, 0.0)[1] == 0


def test_steps_and_soft_modes_contain_no_rotation_or_strain():
    start = thirteen()
    start.rattle(0.2, seed=4)
    potential = PairPotential(bond=3.0)
    frame = Frame(start, 0.0)
    here = frame.beginning()
    label = potential.energy_forces_stress(CrystalBatch.from_atoms([start]))
    gradient = frame.gradient(here, label.forces[0].numpy(), voigt_from_full(label.stress[0])[0].numpy())
    assert gradient[-6:] == pytest.approx(0)
    step = newton_step(frame.hessian(potential, here), gradient, 0.3)
    assert np.abs(step[:-6]).max() > 0.01
    assert step[-6:] == pytest.approx(0, abs=1e-12)
    (end,) = relax([start], potential, RelaxSettings(fmax=1e-5, max_steps=2000))
    frame = Frame(end.atoms, 0.0)
    curvature = frame.curvature(potential, frame.beginning())
    modes = softest_modes(curvature, end.atoms, 3)
    arms = end.atoms.positions - end.atoms.positions.mean(0)
    for mode in modes:
        moves = mode[:-6].reshape(-1, 3)
        assert mode[-6:] == pytest.approx(0, abs=1e-9)
        assert moves.sum(0) == pytest.approx(0, abs=1e-8)
        assert np.cross(arms, moves).sum(0) == pytest.approx(0, abs=1e-7)
        # A minimum: internal modes are stiff, where rotations would have no curvature.
        assert mode @ curvature @ mode > 0.05
    # Two atoms have one internal mode.
    pair = boxed(Atoms("Ar2", [[0, 0, 0], [0, 0, 3.0]]))
    frame = Frame(pair, 0.0)
    assert len(softest_modes(frame.curvature(potential, frame.beginning()), pair, 5)) == 1


def test_one_k_point():
    assert k_grid(thirteen(), 0.2).size == (1, 1, 1)


@pytest.fixture(scope="module", autouse=True)
def without_figures():
    """The figures of these searches are drawn: their axes are those of clusters."""


SMALL = {
    "reference": {
        "engine": "ase", "calculator": "ase.calculators.lj:LennardJones",
        "parameters": {"sigma": SIGMA, "epsilon": DEPTH, "rc": CUTOFF}, "workers": 0,
    },
    "search": {"pool": 40, "budget": 120, "quiet_rounds": 2, "top": 1, "fmax": 0.01},
    "generate": {"workers": 1},
    "relax": {"workers": 1},
    "clusters": {"vacuum": 14.0},
    "model": {"members": 3, "channels": 8, "hidden": 16},
    "training": {"steps": 150, "warm_steps": 60},
}  # fmt: skip

# Global minima of Lennard-Jones clusters in units of the well depth: M. R. Hoare and P. Pal, Adv. Phys. 20, 161 (1971), doi
# 10.1080/00018737100101231, with the digits of D. J. Wales and J. P. K. Doye, J. Phys. Chem. A 101, 5111 (1997), doi 10.1021/jp970984n.
MINIMA = [(5, -9.103852, "D3h"), pytest.param(7, -16.505384, "D5h", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("n", "energy", "group"), MINIMA)
def test_minima_of_lennard_jones_clusters(tmp_path, n, energy, group):
    result = api.search(f"Ar{n}", dimensions=0, settings=SMALL, seed=1, out=tmp_path / "run")
    best = result.polymorphs[0]
    # ASE shifts each pair by its energy at the cutoff.
    shift = 4 * ((SIGMA / CUTOFF) ** 12 - (SIGMA / CUTOFF) ** 6) * n * (n - 1) / 2
    # Forces below 0.01 eV/Å with curvatures of 57 depth / sigma² or more leave an error of 1 % of the well depth an atom at most.
    assert best.energy * n / DEPTH == pytest.approx(energy - shift, abs=0.01 * n)
    assert best.space_group == group
    assert best.check == "minimum"
    data = api.show(result.folder)
    assert data["dimensions"] == 0
    assert data["polymorphs"][0]["volume"] is None
    assert data["polymorphs"][0]["space_group_number"] is None
    assert data["polymorphs"][0]["extent"] == pytest.approx(extent(best.atoms.positions))
    assert api.resume(result.folder).calls == result.calls
    page = (result.folder / "report.html").read_text()
    assert "Point group" in page
    assert "extent (Å)" in page
    assert "extent (A)" in (result.folder / "table.csv").read_text().splitlines()[0]
    assert not read(result.folder / "structures" / "all.extxyz").pbc.any()


def test_given_clusters_are_gathered_and_centred(tmp_path):
    cut = thirteen()
    cut.positions -= cut.positions[0]
    cut.pbc = True
    cut.wrap()
    assert extent(cut.positions) > 20
    assert extent(gathered(cut)) == pytest.approx(extent(thirteen().positions))
    write(tmp_path / "seed.extxyz", cut)
    settings = api.resolve_settings("Ar13", dimensions=0, reference__engine="chgnet", seeds_from=str(tmp_path / "seed.extxyz"))
    space = prepare(settings).space
    own = space.propose(1, np.random.default_rng(0), True)[0]
    assert own.origin == "seed"
    assert is_cluster(own.atoms)
    assert own.atoms.cell.array[0, 0] == pytest.approx(space.box)
    assert same_crystal(own.atoms, thirteen())


REFUSED = [
    ({"clusters__vacuum": 4.0}, r"clusters.vacuum = 4 Å is not more than 7 Å"),
    ({"clusters__diameter": 2.0}, "clusters.diameter = 2 Å is less than"),
    ({"pressure": 1.0}, "clusters in vacuum have no pressure"),
    ({"generate__space_groups": [1]}, "generate.space_groups has no effect on clusters"),
    ({"dimensions": 3, "clusters__vacuum": 15.0}, "clusters.vacuum has no effect on a search of crystals; give --dimensions 0"),
    ({"layers__vacuum": 20.0}, "layers.vacuum has no effect on a search of clusters; give --dimensions 2"),
    ({"search__train_units": [1]}, "search.train_units has no effect on clusters"),
    ({"formula": "C"}, "a single atom has no structure"),
    ({"formula": "B-N"}, "searched in three dimensions"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_settings_that_do_not_fit(options, words):
    options = {"dimensions": 0, "reference__engine": "chgnet", "formula": "C6", **options}
    formula = options.pop("formula")
    with pytest.raises(BadInput, match=words):
        _ = prepare(api.resolve_settings(formula, **options)).space


def test_other_atoms_as_seeds_are_refused(tmp_path):
    write(tmp_path / "seed.xyz", Atoms("Ar13", thirteen().positions), format="xyz")
    settings = api.resolve_settings("Ar12", dimensions=0, reference__engine="chgnet", seeds_from=str(tmp_path / "seed.xyz"))
    with pytest.raises(BadInput, match="contains Ar13 and not Ar12"):
        _ = prepare(settings).space
    settings = api.resolve_settings(
        "Ar13", dimensions=0, reference__engine="chgnet", clusters__diameter=11.0, seeds_from=str(tmp_path / "seed.xyz")
    )
    stretched = thirteen()
    stretched.positions[0] += 40.0
    write(tmp_path / "seed.xyz", Atoms("Ar13", stretched.positions), format="xyz")
    with pytest.raises(BadInput, match=r"more than clusters\.diameter = 11\.0"):
        _ = prepare(settings).space


@pytest.mark.parametrize("bend", [0.0, 0.02, 0.05, 0.07, 0.09])
def test_nearly_straight_chains_are_straight(bend):
    """The symbol has a tolerance of 0.1 Å from the line, whichever chain is compared with which."""
    chain = boxed(Atoms("OCO", [[-1.2, 0, 0], [0, 1.5 * bend, 0], [1.2, 0, 0]]))
    straight = boxed(Atoms("OCO", [[-1.2, 0, 0], [0, 0, 0], [1.2, 0, 0]]))
    assert space_group(chain)[0] == "Dinfh"
    assert same_crystal(chain, straight)
    assert same_crystal(straight, chain)
    assert space_group(idealised(chain), 1e-6)[0] == "Dinfh"
    assert symmetry(chain) == (48, 2)


@pytest.mark.parametrize("bend", [0.12, 0.2, 0.35, 0.6])
def test_bent_chains_are_themselves(bend):
    chain = boxed(Atoms("OCO", [[-1.2, 0, 0], [0, 1.5 * bend, 0], [1.2, 0, 0]]))
    other = chain.copy()
    other.rotate(40, (1, 1, 2))
    assert space_group(chain)[0] == "C2v"
    assert same_crystal(chain, other)


def test_every_point_group_has_its_own_number():
    """The numbers are in the range of those of space groups, which the saved state of a search accepts."""
    symbols = [group.symbol for group in point_group_sites(1)] + ["Cinfv", "Dinfh", "D18h", "C30v"]
    numbers = [number_of(symbol) for symbol in symbols]
    assert len(set(numbers)) == len(symbols)
    assert min(numbers) == 1
    assert max(numbers) <= 230
    assert number_of("D40h") == 230


def test_moments_and_constraints_of_seeds_are_refused(tmp_path):
    held, magnetic = thirteen(), thirteen()
    held.set_constraint(FixAtoms([0]))
    magnetic.set_initial_magnetic_moments([1.0] * 13)
    held.pbc = magnetic.pbc = True
    write(tmp_path / "held.extxyz", held, columns=["symbols", "positions", "move_mask"])
    write(tmp_path / "magnetic.extxyz", magnetic)
    for name, words in (("held", "constraints"), ("magnetic", "starting moments")):
        settings = api.resolve_settings("Ar13", dimensions=0, reference__engine="chgnet", seeds_from=str(tmp_path / f"{name}.extxyz"))
        with pytest.raises(BadInput, match=words):
            _ = prepare(settings).space


def test_crystals_and_layers_as_seeds_are_refused(tmp_path):
    for name, atoms in (("crystal", bulk("Ar", cubic=True)), ("layer", graphene("Ar2", a=4.2, vacuum=8))):
        atoms.pbc = True
        write(tmp_path / f"{name}.extxyz", atoms)
        settings = api.resolve_settings(
            f"Ar{len(atoms)}", dimensions=0, reference__engine="chgnet", seeds_from=str(tmp_path / f"{name}.extxyz")
        )
        with pytest.raises(BadInput, match="is not a cluster: its periodic images are"):
            _ = prepare(settings).space


def test_the_calculator_of_the_tests_is_converged():
    """Images at the vacuum of the tests do not interact within the cutoff."""
    atoms = thirteen()
    energies = []
    for edge in (26.0, 40.0):
        copy = boxed(atoms, edge)
        copy.pbc = True
        copy.calc = LennardJones(sigma=SIGMA, epsilon=DEPTH, rc=CUTOFF)
        energies.append(copy.get_potential_energy())
    assert energies[0] == pytest.approx(energies[1], abs=1e-12)
