"""Settings, k-points, surrogates at their edges, foreign executors."""

import contextlib
import os
import pickle
import warnings
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from pydantic import ValidationError

from nucleate.errors import BadInput, ReferenceFailed, RunFolderError
from nucleate.pretrained import PRETRAINED
from nucleate.reference import Dispatcher, Label, Ledger, ReferenceSettings, content_hash, make_reference
from tests.reference.fakes import Emt


def test_unknown_engine_names_the_choices():
    with pytest.raises(ValidationError, match=r"gpaw, espresso, vasp.*chgnet"):
        ReferenceSettings(engine="abinit")


@pytest.mark.parametrize("given", [{"cutoff": 0}, {"k_spacing": -0.1}, {"smearing": -1}, {"timeout": 0}, {"kspacing": 0.3}])
def test_impossible_settings_are_refused(given):
    with pytest.raises(ValidationError):
        ReferenceSettings(**given)


@pytest.mark.parametrize("given", [{"cutoff": 300}, {"k_spacing": 0.3}, {"smearing": 0.1}, {"pseudo_dir": "x"}])
def test_settings_without_effect_are_refused(given):
    with pytest.raises(BadInput, match=f"reference.{next(iter(given))} has no effect"):
        make_reference(ReferenceSettings(engine="ase", calculator="ase.calculators.emt:EMT", **given))


class Strict(EMT):
    def __init__(self, asap_cutoff=False):
        super().__init__(asap_cutoff=asap_cutoff)


def test_parameters_that_do_not_fit_are_the_users_fault():
    given = ReferenceSettings(engine="ase", calculator=f"{__name__}:Strict", parameters={"sigma": 1})
    with pytest.raises(BadInput, match="sigma"):
        make_reference(given).label(bulk("Cu"))


def test_parameters_reach_the_calculator_and_the_hash():
    shallow, deep = (
        make_reference(
            ReferenceSettings(
                engine="ase", calculator="ase.calculators.lj:LennardJones", parameters={"sigma": 2.3, "epsilon": depth, "rc": 6.0}
            )
        )
        for depth in (0.1, 0.2)
    )
    argon = bulk("Ar", a=3.7)
    argon.rattle(0.05, seed=1)
    assert deep.label(argon).energy == pytest.approx(2 * shallow.label(argon).energy)
    assert content_hash(argon, deep.settings()) != content_hash(argon, shallow.settings())
    assert deep.name == "ase:ase.calculators.lj:LennardJones"
    assert argon.calc is None


@pytest.mark.parametrize("engine", ["ase", "chgnet", "gpaw"])
def test_references_travel_to_workers(engine):
    if find_spec({"ase": "ase"}.get(engine, engine)) is None:
        pytest.skip(f"{engine} is not installed")
    given = {"calculator": "ase.calculators.emt:EMT"} if engine == "ase" else {}
    reference = make_reference(ReferenceSettings(engine=engine, **given))
    copy = pickle.loads(pickle.dumps(reference))
    assert copy.settings() == reference.settings()
    assert copy.name == reference.name


@pytest.mark.parametrize("name", ["chgnet", "sevennet"])
def test_atom_without_neighbours_has_no_force(name, capfd):
    pytest.importorskip({"chgnet": "chgnet", "sevennet": "sevenn"}[name])
    reference = make_reference(ReferenceSettings(engine=name))
    capfd.readouterr()
    alone = reference.label(Atoms("Si", cell=[20, 20, 20], pbc=True))
    np.testing.assert_allclose(alone.forces, 0, atol=1e-6)
    np.testing.assert_allclose(alone.stress, 0, atol=1e-9)
    dimer = Atoms("Si3", positions=[[0, 0, 0], [2.3, 0, 0], [10, 10, 10]], cell=[20, 20, 20], pbc=True)
    label = reference.label(dimer)
    assert abs(label.forces[0, 0]) > 0.1
    np.testing.assert_allclose(label.forces[2], 0, atol=1e-6)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def own_calculator(name):
    """The calculator of the package itself."""
    known = PRETRAINED[name]
    pytest.importorskip(known.package)
    with contextlib.redirect_stdout(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if known.package == "chgnet":
            from chgnet.model import CHGNet
            from chgnet.model.dynamics import CHGNetCalculator

            return CHGNetCalculator(CHGNet.load(**known.loader, use_device="cpu", verbose=False), use_device="cpu")
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator(**known.loader, device="cpu")


@pytest.mark.parametrize("name", [name for name, known in PRETRAINED.items() if known.extra == "surrogates"])
def test_numbers_are_those_of_the_own_calculator(name):
    calculator = own_calculator(name)
    reference = make_reference(ReferenceSettings(engine=name))
    for seed, atoms in enumerate([bulk("NaCl", "rocksalt", 5.5), bulk("Si", a=5.43, cubic=True)]):
        atoms.rattle(0.1, seed=seed)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.random.default_rng(seed).normal(size=(3, 3))), scale_atoms=True)
        label = reference.label(atoms)
        atoms.calc = calculator
        assert label.energy == pytest.approx(float(atoms.get_potential_energy()), abs=1e-5 * len(atoms))
        np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-4)
        np.testing.assert_allclose(label.stress, atoms.get_stress(), atol=1e-5)


def test_models_of_one_family_are_different_surfaces():
    """The two heads of 7net-mf-0, and CHGNet with the weights of both functionals."""
    pytest.importorskip("chgnet")
    pytest.importorskip("sevenn")
    atoms = bulk("NaCl", "rocksalt", 5.6)
    for family in (("chgnet", "chgnet:r2scan"), ("7net-mf-0:PBE", "7net-mf-0:R2SCAN"), ("sevennet", "7net-l3i5")):
        one, other = (make_reference(ReferenceSettings(engine=name)).label(atoms).energy for name in family)
        assert abs(one - other) > 1e-3


@pytest.mark.parametrize("name", [name for name, known in PRETRAINED.items() if known.package == "sevenn"])
def test_elements_and_cutoff_of_the_table_are_those_of_the_checkpoint(name):
    calculator = own_calculator(name)
    known = PRETRAINED[name]
    assert known.cutoff == calculator.cutoff
    if known.functional == "r2SCAN":
        # The head has no reference energy for an element that its data do not contain.
        shift = calculator.model.state_dict()["rescale_atomic_energy.shift"][calculator.model.modal_map["R2SCAN"]]
        assert set(known.elements) == {z for z, row in calculator.type_map.items() if shift[row] != 0}
    else:
        assert set(known.elements) == set(calculator.type_map)


def test_elements_of_the_r2scan_weights_are_those_that_were_trained():
    """The embeddings of other elements are those of the PBE weights from which the training started."""
    model = pytest.importorskip("chgnet.model").CHGNet
    before, after = (
        model.load(**PRETRAINED[name].loader, use_device="cpu", verbose=False).atom_embedding.embedding.weight.detach().numpy()
        for name in ("chgnet", "chgnet:r2scan")
    )
    assert set(PRETRAINED["chgnet:r2scan"].elements) == {z + 1 for z in np.flatnonzero(np.abs(after - before).max(axis=1) > 1e-4)}


@pytest.mark.parametrize("name", ["7net-0", "7NET-0", "sevennet", "SevenNet"])
def test_earlier_ledgers_know_7net_0_under_every_name(name):
    """Labels are found by the hash of structure and settings, which ledgers of earlier versions contain with the name sevennet."""
    pytest.importorskip("sevenn")
    reference = make_reference(ReferenceSettings(engine=name))
    assert reference.name == "sevennet"
    assert reference.settings() == {"engine": "sevennet", "version": version("sevenn")}


def test_an_element_that_a_surrogate_does_not_know_fails():
    pytest.importorskip("sevenn")
    with pytest.raises(ReferenceFailed, match="Po"):
        make_reference(ReferenceSettings(engine="7net-0")).label(bulk("Po", "sc", a=3.35))


@pytest.mark.parametrize("name", ["chgnet", "sevennet"])
def test_left_handed_cells_have_the_same_stress(name):
    pytest.importorskip({"chgnet": "chgnet", "sevennet": "sevenn"}[name])
    reference = make_reference(ReferenceSettings(engine=name))
    right = bulk("Si", a=5.2, cubic=True)
    right.rattle(0.05, seed=4)
    left = Atoms(right.symbols, positions=right.positions, cell=right.cell.array[[1, 0, 2]], pbc=True)
    assert left.cell.handedness == -right.cell.handedness
    np.testing.assert_allclose(reference.label(left).stress, reference.label(right).stress, atol=1e-5)


def test_hash_does_not_see_the_seventh_decimal():
    copper, settings = bulk("Cu", a=3.6), {"engine": "x"}
    near, far = copper.copy(), copper.copy()
    copper.positions[0] = near.positions[0] = far.positions[0] = [0.1, 0.2, 0.3]
    near.positions[0, 0] += 2e-8
    far.positions[0, 0] += 2e-6
    assert content_hash(near, settings) == content_hash(copper, settings)
    assert content_hash(far, settings) != content_hash(copper, settings)


def test_folder_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="writable") as caught:
        Ledger(tmp_path / "missing" / "run.db")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_read_only_database_is_one_line(tmp_path):
    path = tmp_path / "run.db"
    Ledger(path)
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(RunFolderError, match="writable"):
            Ledger(path)
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.slow
def test_parsl_is_an_executor_like_any_other(tmp_path):
    parsl = pytest.importorskip("parsl")
    executors = pytest.importorskip("parsl.concurrent")
    from parsl.executors import ThreadPoolExecutor as ParslThreads

    config = parsl.Config(executors=[ParslThreads(max_threads=2)], run_dir=str(tmp_path / "parsl"))
    copper = []
    for k in range(1, 4):
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.positions[0, 0] = 0.01 * k
        copper.append(atoms)
    with executors.ParslPoolExecutor(config=config) as executor:
        dispatcher = Dispatcher(Emt(), Ledger(tmp_path / "run.db"), executor=executor, timeout=30)
        answers = dispatcher.label_many(copper, "train", 0)
    assert all(isinstance(answer, Label) for answer in answers)


def test_only_flat_cells_are_put_on_short_vectors():
    from nucleate.reference.base import on_short_vectors

    primitive = bulk("Si", a=5.3)
    for strain in (0.0, 0.01, -0.02):
        atoms = primitive.copy()
        atoms.set_cell(primitive.cell.array @ np.diag([1 + strain, 1, 1]), scale_atoms=True)
        np.testing.assert_array_equal(on_short_vectors(atoms).cell.array, atoms.cell.array)
    flat = primitive.copy()
    flat.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 2, 1]]) @ primitive.cell.array, scale_atoms=False)
    short = on_short_vectors(flat)
    assert short.cell.volume == pytest.approx(primitive.cell.volume)
    assert short.cell.angles().min() >= 60 - 1e-6
    np.testing.assert_array_equal(short.positions, flat.positions)
