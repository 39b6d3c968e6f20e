"""Couplings from energies: a reference that is a Heisenberg model must give its own couplings back; then GPAW."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.io import write

from nucleate.cli.app import main
from nucleate.errors import BadInput, NucleateError, ReferenceFailed
from nucleate.reference import Dispatcher, Label, Ledger, ReferenceSettings, content_hash, make_reference
from nucleate.reference.base import K_POINTS, asked_of_engine
from nucleate.reference.kpoints import k_grid
from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.dft.dimers import dimer_coupling, host_pairs, put_in
from nucleate.spins.dft.mapping import MappingSettings, map_couplings
from nucleate.spins.geometry import pairs_within
from nucleate.spins.order.curie import coupling_waves, leading_order
from nucleate.spins.shells import on_shells
from nucleate.spins.symmetry import pair_map, symmetrised


class HeisenbergReference:
    """Energies of E = -sum J(r) s s over the starting directions; J by distance in meV, and spells that break states."""

    name = "heisenberg"
    surrogate = True

    def __init__(self, couplings, spell=None, silent=False):
        self.couplings = couplings
        self.spell = spell
        self.silent = silent
        self.asked = 0

    def settings(self):
        return {"engine": self.name, "couplings": str(self.couplings)}

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        self.asked += 1
        start = atoms.get_initial_magnetic_moments()
        sites = np.flatnonzero(start)
        signs = np.sign(start[sites])
        i, j, shifts = pairs_within(atoms, sites, 7.0)
        r = np.linalg.norm(atoms.positions[sites][j] - atoms.positions[sites][i] + shifts @ atoms.cell.array, axis=1)
        strength = np.array([next((v for d, v in self.couplings.items() if abs(d - x) < 0.05), 0.0) for x in r])
        energy = -7.0 * len(atoms) - 1e-3 * (strength * signs[i] * signs[j]).sum()
        moments = 0.9 * start
        if self.spell is not None:
            moments = self.spell(sites, signs, moments)
        details = {} if self.silent else {"moments": moments.tolist(), "total_moment": float(np.round(moments.sum() * 10) / 9)}
        return Label(energy, np.zeros((len(atoms), 3)), np.zeros(6), 1, 0.1, details)


def dispatcher(reference, path=":memory:"):
    return Dispatcher(reference, Ledger(path))


def iron(repeat=(2, 2, 2)):
    atoms = bulk("Fe", "bcc", a=2.87, cubic=True).repeat(repeat)
    atoms.set_initial_magnetic_moments(None)
    return atoms


SETTINGS = MappingSettings(moments={"Fe": 2.2}, cutoff=3.0)


def test_collinear_mapping_gives_the_model_back():
    model = {2.485: 12.0, 2.87: 5.0}
    found = map_couplings(iron(), SETTINGS, dispatcher(HeisenbergReference(model)))
    for distance, j in model.items():
        mine = np.abs(found.couplings.distances - distance) < 0.05
        assert mine.sum() == {2.485: 64, 2.87: 48}[distance]
        assert found.couplings.isotropic[mine] == pytest.approx(j, abs=1e-8)
    assert found.misfit == pytest.approx(0, abs=1e-8)
    assert not found.failures
    assert found.couplings.moments == pytest.approx(1.98 * np.ones(16))


class OnGrids(HeisenbergReference):
    """Its energies err with the grid of k-points, as in a real calculation."""

    def k_points(self, atoms):
        return k_grid(atoms, 0.6)

    def label(self, atoms):
        asked = asked_of_engine(atoms, self)
        label = super().label(atoms)
        error = len(atoms) / (np.prod(asked.grid.size) * len(atoms) / len(asked.atoms))
        return replace(label, energy=label.energy + error, details={**label.details, **asked.record})


def test_all_states_are_calculated_on_one_grid():
    """The ferromagnetic state repeats a primitive cell and the others do not: errors of k-points must not become couplings."""
    asked = dispatcher(OnGrids({2.485: 12.0, 2.87: 5.0}))
    found = map_couplings(iron((2, 2, 2)), SETTINGS, asked)
    assert found.couplings.isotropic[np.abs(found.couplings.distances - 2.485) < 0.05] == pytest.approx(12.0, abs=1e-6)
    grids = [row.label.details[K_POINTS] for row in asked.ledger.rows()]
    assert all(grid == grids[0] for grid in grids)
    assert grids[0]["cells"] == 1


def test_the_misfit_shows_couplings_that_reach_farther():
    reference = HeisenbergReference({2.485: 12.0, 2.87: 5.0, 4.06: 1.0})
    found = map_couplings(iron(), SETTINGS.model_copy(update={"spare": 6}), dispatcher(reference))
    assert found.misfit > 1.0
    assert np.nanmax(found.couplings.errors) > 0.01


def test_four_states_hold_one_pair_and_its_images():
    """Farther couplings cancel: each pair comes out exactly, though the fit of the same cell could not tell."""
    found = map_couplings(
        iron((3, 3, 3)),
        SETTINGS.model_copy(update={"method": "four-state"}),
        dispatcher(HeisenbergReference({2.485: 12.0, 2.87: 5.0, 4.06: 1.0})),
    )
    for distance, j in {2.485: 12.0, 2.87: 5.0}.items():
        mine = np.abs(found.couplings.distances - distance) < 0.05
        assert found.couplings.isotropic[mine] == pytest.approx(j, abs=1e-8)


@pytest.mark.parametrize(
    ("spell", "words"),
    [
        (lambda sites, signs, m: np.abs(m) if signs.sum() == 4 else m, "changed sign"),
        (lambda sites, signs, m: 0.1 * m if signs.sum() == 4 else m, "vanished"),
        (lambda sites, signs, m: m * (1.3 if signs.sum() == 4 else 1.0), "in other states"),
    ],
)
def test_a_run_that_fell_into_another_state_is_a_failure(spell, words):
    reference = HeisenbergReference({2.485: 12.0, 2.87: 5.0}, spell)
    found = map_couplings(bulk("Fe", "bcc", a=2.87).repeat((2, 2, 2)), SETTINGS.model_copy(update={"spare": 6}), dispatcher(reference))
    assert any(words in text for text in found.failures)
    # What is left is still right.
    assert found.couplings.isotropic[np.abs(found.couplings.distances - 2.485) < 0.05] == pytest.approx(12.0)


def test_a_reference_that_tells_no_moments_gives_no_couplings():
    with pytest.raises(NucleateError, match="reports no magnetic moments"):
        map_couplings(iron((1, 1, 2)), SETTINGS, dispatcher(HeisenbergReference({2.485: 12.0}, silent=True)))


def test_metals_are_told_from_insulators():
    tilted = HeisenbergReference({2.485: 12.0, 2.87: 5.0}, lambda sites, signs, m: m * 1.01)
    with pytest.raises(NucleateError, match="the state is metallic"):
        map_couplings(iron((1, 1, 2)), SETTINGS.model_copy(update={"insulator": True}), dispatcher(tilted))


def test_a_gap_is_asked_for_where_it_is_told():
    class Metal(HeisenbergReference):
        def k_points(self, atoms):
            return None

        def label(self, atoms):
            label = super().label(atoms)
            return Label(label.energy, label.forces, label.stress, 1, 0.1, {**label.details, "gap": 0.0})

    with pytest.raises(NucleateError, match=r"the gap is 0\.00 eV"):
        map_couplings(iron((1, 1, 2)), SETTINGS.model_copy(update={"insulator": True}), dispatcher(Metal({2.485: 12.0, 2.87: 5.0})))


def test_shells_are_laid_onto_a_crystal():
    atoms = bulk("MnO", "rocksalt", a=4.4)
    found = on_shells(atoms, {"Mn": 4.5}, [-7.0, -9.0])
    assert len(found.first) == 6 + 3
    assert found.isotropic[found.distances < 3.2] == pytest.approx(-7.0 * np.ones(6))
    assert found.isotropic[found.distances > 4.3] == pytest.approx(-9.0 * np.ones(3))
    # Type II of the fcc lattice, found by neutrons in MnO: q = (1/2, 1/2, 1/2), or one equivalent to it.
    assert coupling_waves(found, np.array([[0.5, 0.5, 0.5]]))[0, 0, 0].real == pytest.approx(leading_order(found).eigenvalue)
    with pytest.raises(BadInput, match="no couplings"):
        on_shells(atoms, {"Mn": 4.5}, [])
    with pytest.raises(BadInput, match="no magnetic atom"):
        on_shells(bulk("Si"), {"Mn": 4.5}, [1.0])


def test_a_cell_that_cannot_tell_shells_apart_is_refused():
    two = bulk("Fe", "bcc", a=2.87, cubic=True)
    with pytest.raises(BadInput, match="use a larger cell"):
        map_couplings(two, MappingSettings(moments={"Fe": 2.2}, cutoff=4.9), dispatcher(HeisenbergReference({2.485: 12.0})))
    with pytest.raises(BadInput, match="use a supercell"):
        map_couplings(bulk("Fe", "bcc", a=2.87), SETTINGS, dispatcher(HeisenbergReference({2.485: 12.0})))


def test_structures_without_magnetism_are_refused():
    silicon = bulk("Si")
    with pytest.raises(BadInput, match="no magnetic atom"):
        map_couplings(silicon, SETTINGS, dispatcher(HeisenbergReference({})))
    with pytest.raises(BadInput, match="increase the cutoff"):
        map_couplings(bulk("Fe", "sc", a=4.0), SETTINGS, dispatcher(HeisenbergReference({})))


def test_images_that_the_energy_holds_are_named():
    """Any representative of a class will do, whichever way the cell is long; farther images are counted in, and said."""
    host = bulk("MgO", "rocksalt", a=4.44, cubic=True)
    settings = MappingSettings(moments={"Mn": 5.0}, method="four-state", cutoff=4.5)
    for repeat, other in (((1, 1, 2), 8), ((2, 1, 1), 8)):
        cell = host.repeat(repeat)
        cell.symbols[[0, other]] = "Mn"
        found = map_couplings(cell, settings, dispatcher(HeisenbergReference({4.44: -9.0})))
        assert found.couplings.isotropic == pytest.approx(-9.0 * np.ones(6))
    host.symbols[[0, 2]] = "Mn"
    found = map_couplings(host, settings.model_copy(update={"cutoff": 3.3}), dispatcher(HeisenbergReference({3.14: -2.0, 5.44: 3.0})))
    # Four bonds share the energy, and eight images at 5.44 Å are in it.
    assert found.couplings.isotropic == pytest.approx((-2.0 + 2 * 3.0) * np.ones(4))
    assert "images at 5.44 Å contribute" in found.notes[0]


def test_moments_of_elements_that_are_not_there_are_refused():
    with pytest.raises(BadInput, match="moments are given for Co"):
        map_couplings(iron(), SETTINGS.model_copy(update={"moments": {"Fe": 2.2, "Co": 1.0}}), dispatcher(HeisenbergReference({})))


def test_states_are_asked_once(tmp_path):
    reference = HeisenbergReference({2.485: 12.0, 2.87: 5.0})
    for _ in range(2):
        with Dispatcher(reference, Ledger(tmp_path / "l.db")) as d:
            map_couplings(iron((1, 1, 2)), SETTINGS.model_copy(update={"cutoff": 2.6}), d)
    assert reference.asked == d.ledger.count() > 1


def test_starting_moments_are_part_of_a_question():
    up, down, none = iron(), iron(), iron()
    up.set_initial_magnetic_moments([2.0] * 16)
    down.set_initial_magnetic_moments([2.0] * 15 + [-2.0])
    none.set_initial_magnetic_moments([0.0] * 16)
    assert len({content_hash(a, {}) for a in (up, down, none)}) == 3
    assert content_hash(none, {}) == content_hash(iron(), {})


def test_pairs_of_a_crystal_fall_into_its_shells():
    primitive = make_supercell(bulk("Fe", "bcc", a=2.87), 2 * np.eye(3))
    sites = np.arange(8)
    first, second, shifts = pairs_within(primitive, sites, 4.1)
    orbit = pair_map(primitive, sites, first, second, shifts).orbit
    r = np.linalg.norm(primitive.positions[second] - primitive.positions[first] + shifts @ primitive.cell.array, axis=1)
    assert len(set(orbit)) == 3
    for k in range(3):
        assert np.ptp(r[orbit == k]) < 1e-6
    with pytest.raises(BadInput, match="missing"):
        pair_map(primitive, sites, first[1:], second[1:], shifts[1:])


def test_symmetry_allows_a_tensor_what_the_crystal_allows():
    """bcc iron: inversion at the middle of every bond leaves no D; four-fold axes leave nothing but J along <100>."""
    atoms = bulk("Fe", "bcc", a=2.87)
    sites = np.array([0])
    first, second, shifts = pairs_within(atoms, sites, 3.0)
    rng = np.random.default_rng(0)
    noisy = Couplings.from_atoms(
        atoms,
        sites,
        [2.2],
        first=first,
        second=second,
        shifts=shifts,
        tensors=tensor(np.ones(len(first))) + 0.1 * rng.normal(size=(len(first), 3, 3)),
    )
    found = symmetrised(noisy, atoms, sites)
    assert np.abs(found.dm).max() < 1e-12
    for k in range(len(first)):
        t, r = found.tensors[k], found.vectors[k] / found.distances[k]
        longitudinal = r @ t @ r
        expected = (np.trace(t) - longitudinal) / 2 * np.eye(3) + (longitudinal - (np.trace(t) - longitudinal) / 2) * np.outer(r, r)
        assert t == pytest.approx(expected, abs=1e-10)
    assert 0.05 < found.errors.mean() < 0.3
    assert symmetrised(found, atoms, sites).errors == pytest.approx(0, abs=1e-10)


def test_sites_of_opposite_moments_are_not_averaged():
    """Two sublattices of one element: their pairs are equivalent in a ferromagnet and not in an antiferromagnet."""
    atoms = bulk("Cr", "bcc", a=2.9, cubic=True)
    sites = np.arange(2)
    first, second, shifts = pairs_within(atoms, sites, 3.0)
    inner = first == second
    strengths = np.where(inner, np.where(first == 0, 1.0, 3.0), -5.0)
    made = Couplings.from_atoms(atoms, sites, [2.0, 2.0], first=first, second=second, shifts=shifts, tensors=tensor(strengths))
    assert symmetrised(made, atoms, sites).isotropic[inner] == pytest.approx(2.0)
    apart = symmetrised(made, atoms, sites, np.array([1, -1]))
    assert apart.isotropic == pytest.approx(strengths)
    assert apart.errors == pytest.approx(0, abs=1e-10)


def test_without_inversion_d_survives_as_moriya_says():
    """A ligand beside a bond: D is at right angles to the mirror plane that holds all three atoms."""
    atoms = Atoms("Fe2O", positions=[[0, 0, 5], [2.4, 0, 5], [1.2, 1.1, 5]], cell=[12, 12, 10], pbc=True)
    sites = np.array([0, 1])
    first, second, shifts = pairs_within(atoms, sites, 3.0)
    noisy = Couplings.from_atoms(
        atoms, sites, [2, 2], first=first, second=second, shifts=shifts, tensors=np.random.default_rng(1).normal(size=(1, 3, 3))
    )
    d = symmetrised(noisy, atoms, sites).dm[0]
    assert np.abs(d[:2]).max() < 1e-12
    assert abs(d[2]) > 1e-3


def test_pairs_of_a_host_and_their_images():
    host = bulk("MgO", "rocksalt", a=4.25, cubic=True)
    (pair,) = host_pairs(host, "Mg", 3.2)
    dimer = put_in(host, pair, ("Mn", "Ni"))
    assert (dimer.bonds, dimer.elements) == (4, ("Mn", "Ni"))
    assert dimer.distance == pytest.approx(4.25 / 2**0.5)
    large = host.repeat((2, 2, 2))
    assert put_in(large, host_pairs(large, "Mg", 3.2)[0], ("Mn", "Ni")).bonds == 1
    with pytest.raises(BadInput, match="no two atoms"):
        host_pairs(host, "Mg", 2.0)


def test_a_dimer_shares_its_energy_among_its_bonds():
    host = bulk("MgO", "rocksalt", a=4.25, cubic=True)
    dimer = put_in(host, host_pairs(host, "Mg", 3.2)[0], ("Mn", "Ni"))
    settings = MappingSettings(moments={"Mn": 5.0, "Ni": 2.0})
    found = dimer_coupling(dimer, settings, dispatcher(HeisenbergReference({3.005: -3.0, 4.25: 8.0})))
    assert found.coupling == pytest.approx(-3.0)
    assert found.moments == pytest.approx((4.5, 1.8))
    with pytest.raises(ReferenceFailed, match="changed sign"):
        dimer_coupling(dimer, settings, dispatcher(HeisenbergReference({}, lambda sites, signs, m: np.abs(m))))


FAKE = """
import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

class Ising(Calculator):
    implemented_properties = ["energy", "forces", "stress", "magmoms"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        moments = self.atoms.get_initial_magnetic_moments()
        i, j = neighbor_list("ij", self.atoms, 3.05)
        energy = -0.5e-3 * self.parameters["j"] * float((np.sign(moments)[i] * np.sign(moments)[j]).sum())
        n = len(self.atoms)
        self.results = {"energy": energy, "forces": np.zeros((n, 3)), "stress": np.zeros(6), "magmoms": 0.9 * moments}
"""


def couple(monkeypatch, capsys, tmp_path, reference, *more):
    write(tmp_path / "sc.extxyz", Atoms("Mn", cell=[3, 3, 3], pbc=True).repeat(2))
    (tmp_path / "spins_fake.py").write_text(FAKE)
    (tmp_path / "s.toml").write_text("[reference]\n" + reference)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["spins", "couple", tmp_path / "sc.extxyz", "--out", tmp_path / "run", "--moment", "Mn=5", "--cutoff", "3.2", "--settings",
             tmp_path / "s.toml", "--workers", "0", *more]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["nucleate", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    caught = capsys.readouterr()
    return ended.value.code, caught.out, caught.err


def test_any_calculator_couples(tmp_path, monkeypatch, capsys):
    reference = 'engine = "ase"\ncalculator = "spins_fake:Ising"\nparameters = { j = 7.0 }\n'
    code, out, err = couple(monkeypatch, capsys, tmp_path, reference, "--json")
    assert not code, err
    (shell,) = json.loads(out)["shells"]
    assert shell["J"] == pytest.approx(7.0)
    assert shell["pairs"] % 3 == 0


def test_surrogates_know_no_spin_states(tmp_path, monkeypatch, capsys):
    code, _, err = couple(monkeypatch, capsys, tmp_path, 'engine = "chgnet"\n')
    assert code == 2
    assert "spin states" in err


@pytest.mark.slow
def test_manganese_in_magnesia_is_antiferromagnetic(tmp_path, monkeypatch, capsys):
    """One real coupling: Mn-Mn in MgO, PBE + U; 17 core-s."""
    pytest.importorskip("gpaw")
    host = bulk("MgO", "rocksalt", a=4.25, cubic=True)
    dimer = put_in(host, host_pairs(host, "Mg", 3.2)[0], ("Mn", "Mn"))
    write(tmp_path / "dimer.cif", dimer.atoms)
    (tmp_path / "s.toml").write_text('[reference]\ncutoff = 350\nk_spacing = 0.75\n[reference.parameters.setups]\nMn = ":d,4.0"\n')
    command = ["spins", "couple", tmp_path / "dimer.cif", "--out", tmp_path / "run", "--moment", "Mn=5", "--method", "four-state"]
    command += ["--cutoff", "3.2", "--insulator", "--settings", tmp_path / "s.toml", "--json"]
    monkeypatch.setattr("sys.argv", ["nucleate", *map(str, command)])
    with pytest.raises(SystemExit) as ended:
        main()
    caught = capsys.readouterr()
    assert not ended.value.code, caught.err
    (shell,) = json.loads(caught.out)["shells"]
    assert shell["pairs"] == 4
    # Superexchange and direct exchange of half-filled shells; 11.3 meV a bond at a = 4.35 Å.
    assert -25 < shell["J"] < -8


def test_gpaw_tells_moments_of_atoms():
    pytest.importorskip("gpaw")
    atoms = Atoms("O2", positions=[[0, 0, 0], [0, 0, 1.21]], cell=[4, 4, 5], pbc=True)
    atoms.set_initial_magnetic_moments([1.0, 1.0])
    label = make_reference(ReferenceSettings(cutoff=300, k_spacing=2.0, workers=0)).label(atoms)
    assert label.details["total_moment"] == pytest.approx(2.0, abs=0.05)
    assert len(label.details["moments"]) == 2
