"""Models of couplings: symmetries to rounding, splits that do not leak, learning what can be known in closed form."""

import json

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.errors import BadInput, NucleateError
from nucleate.spins.models.data import Pairs, folds, read_pairs, write_pairs
from nucleate.spins.models.features import ELEMENT_NAMES, element_features, symmetric
from nucleate.spins.models.kernel import PairGaussianProcess
from nucleate.spins.models.network import PairNetwork, PairNetworkSettings, fit_network, pair_graph
from nucleate.spins.models.training import PairTraining, cross_validate, fit_pairs, load_pairs_model, train_pairs

METALS = ("V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu")
SMALL = PairNetworkSettings(features=8, radial=6, members=2, steps=5, batch=8)


def synthetic(n=40, seed=0, dm=False):
    """Dimers in rattled MgO; J from d counts and distance, D from where the oxygens are."""
    rng = np.random.default_rng(seed)
    atoms, sites, vectors, j, d = [], [], [], [], []
    for _ in range(n):
        cell = bulk("MgO", "rocksalt", a=rng.uniform(4.1, 4.4), cubic=True)
        cell.rattle(0.08, seed=int(rng.integers(1 << 30)))
        magnesium = np.flatnonzero(cell.symbols == "Mg")
        a, b = rng.choice(magnesium, 2, replace=False)
        cell.symbols[a], cell.symbols[b] = rng.choice(METALS, 2)
        vector = cell.get_distance(a, b, mic=True, vector=True)
        counts = [element_features(cell[int(k)].symbol)[2] for k in (a, b)]
        atoms.append(cell), sites.append((a, b)), vectors.append(vector)
        j.append(-20 * np.exp(3 - np.linalg.norm(vector)) * np.cos(0.4 * (counts[0] + counts[1] - 10)))
        # Moriya's rule: a sum over oxygens of r_al x r_lb is odd under exchange and axial.
        images = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 1, 3) @ cell.cell.array
        arms = (cell.positions[cell.symbols == "O"] + images).reshape(-1, 3) - cell.positions[a]
        weights = np.exp(-(np.linalg.norm(arms, axis=1) ** 2 + np.linalg.norm(vector - arms, axis=1) ** 2) / 4)
        d.append((weights[:, None] * np.cross(arms, vector - arms)).sum(axis=0))
    return Pairs.of_crystals(atoms, np.array(sites), np.array(vectors), np.array(j), np.array(d) if dm else None)


def swapped(pairs):
    return Pairs.of_crystals(pairs.atoms, pairs.sites[:, ::-1], -pairs.vectors, pairs.couplings, -pairs.dm)


def turned(pairs, matrix):
    atoms = []
    for a in pairs.atoms:
        b = a.copy()
        b.set_cell(a.cell.array @ matrix.T)
        b.positions = a.positions @ matrix.T
        atoms.append(b)
    return Pairs.of_crystals(atoms, pairs.sites, pairs.vectors @ matrix.T, pairs.couplings, pairs.dm)


def rotation(seed=0):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def test_the_network_has_the_symmetries_of_couplings():
    """J is even and D odd under exchange; D turns as an axial vector: an inversion leaves it."""
    pairs = synthetic(6)
    network = PairNetwork(SMALL)

    def outputs(p):
        with torch.no_grad():
            return network(pair_graph(p, SMALL.cutoff, torch.float64))

    j, d = outputs(pairs)
    assert d.abs().max() > 1e-3
    exchanged = outputs(swapped(pairs))
    assert torch.allclose(exchanged[0], j, atol=1e-10)
    assert torch.allclose(exchanged[1], -d, atol=1e-10)
    r = rotation()
    rotated = outputs(turned(pairs, r))
    assert torch.allclose(rotated[0], j, atol=1e-9)
    assert torch.allclose(rotated[1], d @ torch.tensor(r).T, atol=1e-9)
    inverted = outputs(turned(pairs, -np.eye(3)))
    assert torch.allclose(inverted[0], j, atol=1e-9)
    assert torch.allclose(inverted[1], d, atol=1e-9)


def test_a_bond_with_inversion_in_its_middle_has_no_d():
    cell = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    magnesium = np.flatnonzero(cell.symbols == "Mg")
    cell.symbols[magnesium[:2]] = "Mn"
    pairs = Pairs.of_crystals([cell], magnesium[None, :2], cell.get_distance(*magnesium[:2], mic=True, vector=True)[None], np.zeros(1))
    with torch.no_grad():
        _, d = PairNetwork(SMALL)(pair_graph(pairs, SMALL.cutoff, torch.float64))
    assert d.abs().max() < 1e-9


@pytest.mark.parametrize("model", ["kernel", "elements"])
def test_other_models_do_not_know_a_b_from_b_a(model):
    pairs = synthetic(24)
    fitted = fit_pairs(pairs, PairTraining(model=model, components=[2]))
    ahead, back = fitted.predict(synthetic(5, 1)), fitted.predict(swapped(synthetic(5, 1)))
    assert back.couplings == pytest.approx(ahead.couplings, abs=1e-8)
    assert back.errors == pytest.approx(ahead.errors, abs=1e-8)


def test_the_kernel_learns_and_knows_how_well():
    pairs, unseen = synthetic(120), synthetic(60, 1)
    model = PairGaussianProcess(0, 1).fit(pairs)
    found, error = model.predict(unseen)
    off = np.abs(found - unseen.couplings)
    assert off.mean() < 0.25 * np.abs(unseen.couplings - pairs.couplings.mean()).mean()
    assert error[off > np.quantile(off, 0.8)].mean() > error[off < np.quantile(off, 0.5)].mean()
    # On what it was told it is sure.
    assert model.predict(pairs)[1].mean() < error.mean()


def test_the_network_learns_couplings_and_dm_vectors():
    pairs, unseen = synthetic(80, dm=True), synthetic(20, 1, dm=True)
    network = fit_network(pairs, PairNetworkSettings(features=16, radial=8, members=2, steps=200, batch=24, rate=1e-2))
    found, _, d = network.predict(unseen)
    assert np.abs(found - unseen.couplings).mean() < 0.6 * np.abs(unseen.couplings - pairs.couplings.mean()).mean()
    assert np.abs(d - unseen.dm).mean() < 0.6 * np.abs(unseen.dm).mean()


def test_folds_keep_a_pair_with_its_mirror_image():
    elements = [(a, b) for a in METALS for b in METALS]
    pairs = Pairs.of_elements(elements, np.arange(49.0))
    parts = folds(pairs, 7, np.random.default_rng(0))
    assert sorted(np.concatenate(parts)) == list(range(49))
    of = {elements[k]: n for n, part in enumerate(parts) for k in part}
    assert all(of[a, b] == of[b, a] for a, b in elements)
    assert max(map(len, parts)) - min(map(len, parts)) <= 2
    loose = folds(pairs, 7, np.random.default_rng(0), "ungrouped")
    of = {elements[k]: n for n, part in enumerate(loose) for k in part}
    assert any(of[a, b] != of[b, a] for a, b in elements)
    with pytest.raises(BadInput, match="unknown grouping"):
        folds(pairs, 7, np.random.default_rng(0), "lucky")
    with pytest.raises(BadInput, match="use fewer folds"):
        folds(pairs, 40, np.random.default_rng(0))


def test_an_ungrouped_split_leaks():
    """A symmetric table of random numbers can be predicted from its mirror image alone: only a grouped split says so."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(7, 7))
    table = table + table.T
    elements = [(METALS[i], METALS[j]) for i in range(7) for j in range(7) if i != j]
    pairs = Pairs.of_elements(elements, np.array([table[METALS.index(a), METALS.index(b)] for a, b in elements]))
    settings = PairTraining(model="elements")
    assert cross_validate(pairs, settings, 7).r2 < 0.3
    assert cross_validate(pairs, settings, 7, "ungrouped").r2 > 0.6


@pytest.mark.parametrize("model", ["kernel", "network", "elements"])
def test_a_folder_predicts_as_what_was_trained(tmp_path, model):
    pairs = synthetic(16, dm=True)
    settings = PairTraining(model=model, components=[2], network=SMALL)
    trained = train_pairs(pairs, tmp_path / "m", settings)
    loaded = load_pairs_model(tmp_path / "m")
    unseen = synthetic(4, 2)
    assert loaded.predict(unseen).couplings == pytest.approx(trained.predict(unseen).couplings, abs=1e-6)
    assert loaded.predict(unseen).errors == pytest.approx(trained.predict(unseen).errors, abs=1e-6)
    with pytest.raises(NucleateError, match="contains a trained model"):
        train_pairs(pairs, tmp_path / "m", settings)
    (tmp_path / "m" / "training.toml").write_text('model = "guess"\n')
    with pytest.raises(NucleateError):
        load_pairs_model(tmp_path / "m")


def test_pairs_read_back(tmp_path):
    pairs = synthetic(5, dm=True)
    write_pairs(tmp_path / "p.extxyz", pairs)
    back = read_pairs(tmp_path / "p.extxyz")
    assert back.elements == pairs.elements
    assert back.couplings == pytest.approx(pairs.couplings)
    assert back.vectors == pytest.approx(pairs.vectors, abs=1e-7)
    assert back.dm == pytest.approx(pairs.dm, abs=1e-7)
    plain = Pairs.of_elements([("Fe", "Mn"), ("Co", "Co")], np.array([1.5, -2.0]))
    write_pairs(tmp_path / "p.csv", plain)
    assert read_pairs(tmp_path / "p.csv").couplings.tolist() == [1.5, -2.0]
    with pytest.raises(BadInput, match="cannot be combined"):
        Pairs.joined([pairs, plain])
    assert len(Pairs.joined([pairs, pairs])) == 10


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.csv", "element_a,element_b\nFe,Fe\n", "are required"),
        ("p.csv", "element_a,element_b,J_meV\nFe,Fe,\n", "not a number"),
        ("p.csv", "element_a,element_b,J_meV\nFe,Qq,1\n", "unknown element"),
        ("p.csv", "element_a,element_b,J_meV\nFe,Fe,nan\n", "not a finite number"),
        ("p.extxyz", '1\nLattice="3 0 0 0 3 0 0 0 3" J_meV=1.0\nFe 0 0 0\n', "sites, vector missing"),
        ("p.dat", "", "unknown file format"),
    ],
)
def test_pairs_that_cannot_be_learned_from_are_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=words):
        read_pairs(tmp_path / name)


def test_pairs_of_elements_have_no_surroundings():
    plain = Pairs.of_elements([(a, b) for a in METALS for b in METALS], np.arange(49.0))
    with pytest.raises(BadInput, match="requires crystals"):
        fit_network(plain, SMALL)
    assert symmetric(plain).shape == (49, 3 * len(ELEMENT_NAMES))
    far = Pairs.of_crystals([Atoms("Fe2", cell=[30, 30, 30], positions=[[0, 0, 0], [14, 0, 0]], pbc=True)], [[0, 1]], [[14, 0, 0]], [1.0])
    with pytest.raises(BadInput, match=r"14\.0 Å long"):
        pair_graph(far, 4.0)


@pytest.mark.parametrize("model", ["kernel", "elements"])
def test_pairs_of_another_kind_are_refused(model):
    pairs = synthetic(8)
    plain = Pairs.of_elements(pairs.elements, pairs.couplings)
    settings = PairTraining(model=model, components=[0])
    for trained, asked in ((pairs, plain), (plain, pairs)):
        with pytest.raises(BadInput, match="give pairs of this kind"):
            fit_pairs(trained, settings).predict(asked)


def test_a_model_of_two_hosts_predicts_in_either():
    """What is around a pair is counted in the same order, whatever the pairs that are asked for."""
    oxide = synthetic(10)
    fluoride = Pairs.of_crystals([a.copy() for a in oxide.atoms], oxide.sites, oxide.vectors, oxide.couplings + 5)
    for a in fluoride.atoms:
        a.symbols[a.symbols == "O"] = "F"
    both = Pairs.joined([oxide, fluoride])
    model = fit_pairs(both, PairTraining(components=[2]))
    together = model.predict(both).couplings
    assert model.predict(fluoride).couplings == pytest.approx(together[10:], abs=1e-8)
    with pytest.raises(BadInput, match="F occurs around a pair"):
        fit_pairs(oxide, PairTraining(components=[2])).predict(fluoride)


def test_one_pair_of_elements_can_be_learned():
    pairs = synthetic(30)
    same = Pairs.of_crystals([a.copy() for a in pairs.atoms], pairs.sites, pairs.vectors, -20 * np.exp(3 - pairs.distances))
    for a, sites in zip(same.atoms, same.sites, strict=True):
        a.symbols[sites] = "Mn"
    same = Pairs.of_crystals(same.atoms, same.sites, same.vectors, same.couplings)
    # Where all elements are alike the distance alone decides, and pairs that were held back are predicted from it.
    model = fit_pairs(same.take(list(range(24))), PairTraining())
    unseen = same.take(list(range(24, 30)))
    errors = model.predict(unseen).couplings - unseen.couplings
    assert np.sqrt(np.mean(errors**2)) < 0.02 * np.std(unseen.couplings)


def test_noble_gases_have_numbers():
    assert np.isfinite(element_features("Ar")).all()


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"sites": [0, -1]}, "indices of two atoms"),
        ({"sites": [0, 0]}, "indices of two atoms"),
        ({"sites": [0.7, 2.2]}, "sites"),
        ({"vector": [9.0, 9.0, 9.0]}, "does not connect"),
        ({"vector": [1.0, 2.0]}, "vector"),
        ({"J_meV": "abc"}, "J_meV"),
        ({"J_meV": 1e300}, "exceeds"),
        ({"occupancy": 1}, "occupancy"),
    ],
)
def test_pairs_that_do_not_fit_their_crystal_are_refused(tmp_path, info, words):
    write_pairs(tmp_path / "p.extxyz", synthetic(1))
    atoms = ase.io.read(tmp_path / "p.extxyz")
    atoms.info.update(info)
    ase.io.write(tmp_path / "p.extxyz", atoms, format="extxyz")
    with pytest.raises(BadInput, match=words):
        read_pairs(tmp_path / "p.extxyz")


def test_the_verbs_of_models(tmp_path):
    pairs = synthetic(24)
    write_pairs(tmp_path / "p.extxyz", pairs)
    write_pairs(tmp_path / "new.extxyz", synthetic(3, 1))

    def run(*arguments):
        ended = CliRunner().invoke(app, ["spins", *map(str, arguments)], catch_exceptions=False)
        assert ended.exit_code == 0
        return ended.stdout

    run("train", tmp_path / "p.extxyz", "--out", tmp_path / "m", "--model", "elements")
    found = json.loads(run("predict", tmp_path / "m", tmp_path / "new.extxyz", "--json"))
    assert len(found["pairs"]) == 3
    scored = json.loads(run("evaluate", tmp_path / "p.extxyz", "--model", "elements", "--folds", "3", "--json"))
    expected = cross_validate(read_pairs(tmp_path / "p.extxyz"), PairTraining(model="elements"), 3)
    assert scored["mae"] == pytest.approx(expected.mae)
    assert scored["grouping"] == "elements"
