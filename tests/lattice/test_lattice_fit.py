import numpy as np
import pytest

from nucleate.errors import BadInput
from nucleate.lattice import api
from nucleate.lattice.dipoles import DipoleTerm, plain_charges
from nucleate.lattice.enumeration import enumerate_arrangements
from nucleate.lattice.expansion import ClusterExpansion, read_expansion, write_expansion
from nucleate.lattice.fit import fit
from nucleate.lattice.hull import lower_hull
from nucleate.lattice.labels import Labelled, LatticeData, read_data, write_data


@pytest.fixture(scope="module")
def known(honeycomb):
    """Energies of a given expansion of lithium on graphene, for all arrangements of up to five cells."""
    values = np.array([-18.0, -1.0, 0.2, 0.05, 0.03, -0.04])
    model = ClusterExpansion(honeycomb, (5.0, 2.5), values, DipoleTerm(5.0, plain_charges(honeycomb)), 6.0)
    arrangements = list(enumerate_arrangements(honeycomb, 5))
    energies = model.predict(arrangements)
    labelled = [Labelled(a, float(e) * a.supercell.count) for a, e in zip(arrangements, energies, strict=True)]
    return model, LatticeData(honeycomb, labelled, {"engine": "given"}, (12, 12, 1))


def test_exact_energies_give_the_interactions_back(known):
    model, data = known
    found = api.fit(data, [5.0, 2.5], dipoles=True)
    assert np.allclose(found.coefficients, model.coefficients, atol=1e-8)
    assert found.dipole_strength == pytest.approx(6.0, abs=1e-5)
    assert found.facts["loo"] < 1e-8


def test_energies_per_atom(known):
    model, data = known
    found = api.fit(data, [5.0, 2.5], dipoles=True, per_atom=True)
    assert np.allclose(found.coefficients, model.coefficients, atol=1e-7)
    assert found.dipole_strength == pytest.approx(6.0, abs=1e-4)
    # The empty lattice keeps its energy even if the model cannot describe the others.
    rough = api.fit(data, [2.5], per_atom=True)
    arrangements = [entry.arrangement for entry in data.labelled]
    shares = api.shares(arrangements)[:, 0]
    difference = rough.predict(arrangements) - data.energies()
    assert difference[shares == 0] == pytest.approx(0, abs=1e-12)
    filled = shares > 0
    assert rough.facts["rmse"] == pytest.approx(np.sqrt(np.mean((difference[filled] / shares[filled]) ** 2)), rel=1e-6)
    with pytest.raises(BadInput, match="empty lattice"):
        api.fit(LatticeData(data.parent, [e for e in data.labelled if e.arrangement.fractions()["Li"] > 0]), [2.5], per_atom=True)


@pytest.mark.parametrize("method", ["least-squares", "ridge"])
def test_leave_one_out_errors_are_those_of_fits_without_the_energy(method):
    generator = np.random.default_rng(0)
    design = np.column_stack([np.ones(30), generator.normal(size=(30, 5))])
    energies = design @ generator.normal(size=6) + generator.normal(0, 0.1, 30)
    result = fit(design, energies, method)
    for k in range(0, 30, 7):
        kept = np.arange(30) != k
        if method == "least-squares":
            coefficients = np.linalg.lstsq(design[kept], energies[kept], rcond=None)[0]
            assert result.loo_each[k] == pytest.approx(energies[k] - design[k] @ coefficients, abs=1e-9)
        else:
            # The scaling of the columns changes with the energy left out.
            centre, scale = design[:, 1:].mean(axis=0), design[:, 1:].std(axis=0)
            x = np.column_stack([np.ones(30), (design[:, 1:] - centre) / scale])
            penalty = np.diag([0.0, *[30 * result.strength] * 5])
            coefficients = np.linalg.solve(x[kept].T @ x[kept] + penalty, x[kept].T @ energies[kept])
            assert result.loo_each[k] == pytest.approx(energies[k] - x[k] @ coefficients, abs=2e-3)


def test_sparse_methods_find_the_two_interactions_that_are_there():
    generator = np.random.default_rng(1)
    design = np.column_stack([np.ones(40), generator.normal(size=(40, 30))])
    values = np.zeros(31)
    values[[0, 3, 11]] = 2.0, 0.5, -0.4
    energies = design @ values + generator.normal(0, 0.01, 40)
    pytest.importorskip("sklearn")
    result = fit(design, energies, "ard")
    assert set(np.flatnonzero(np.abs(result.coefficients[1:]) > 0.1) + 1) == {3, 11}
    assert result.nested < 0.03


def test_fits_that_are_not_determined(known):
    _, data = known
    with pytest.raises(BadInput, match="do not determine"):
        api.fit(LatticeData(data.parent, data.labelled[:5]), [5.0, 2.5])
    with pytest.raises(BadInput, match="only"):
        api.fit(LatticeData(data.parent, [*data.labelled[:4]] * 5), [5.0, 2.5])
    with pytest.raises(BadInput, match="choose from"):
        api.fit(data, [5.0], method="magic")
    with pytest.raises(BadInput, match="beyond"):
        api.fit(data, [5.0], beyond=3.0)


def test_arrangements_that_left_their_sites_are_not_used(known):
    _, data = known
    wrong = [Labelled(data.labelled[9].arrangement, 1e3, moved=0.9), Labelled(data.labelled[8].arrangement, 1e3, strain=0.2)]
    found = api.fit(LatticeData(data.parent, [*data.labelled, *wrong]), [5.0, 2.5], dipoles=True)
    assert found.facts["left_out"] == 2
    assert found.facts["rmse"] < 1e-8


def test_files_keep_everything(known, tmp_path):
    model, data = known
    write_data(tmp_path / "labels.json", data)
    again = read_data(tmp_path / "labels.json")
    assert np.allclose(again.energies(), data.energies(), atol=0)
    assert again.mesh == (12, 12, 1)
    assert again.parent.allowed == data.parent.allowed
    write_expansion(tmp_path / "model.json", model)
    arrangements = [entry.arrangement for entry in data.labelled]
    assert np.allclose(read_expansion(tmp_path / "model.json").predict(arrangements), model.predict(arrangements), atol=1e-12)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"kind": "nucleate lattice", "version": 99}', '{"kind": "nucleate lattice", "version": 1}']
)
def test_damaged_files(text, tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"labels\.json"):
        read_data(path)
    with pytest.raises(BadInput, match=r"labels\.json"):
        read_expansion(path)


def test_hull_of_three_species():
    fractions = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0, 0.5]])
    energies = np.array([1.0, 2.0, 3.0, 1.3, 1.95, 2.1])
    hull = lower_hull(fractions, energies)
    assert hull.mixing == pytest.approx([0, 0, 0, -0.2, -0.05, 0.1])
    # Below the point in the middle lie two thirds of the compound of the first two species.
    assert hull.above == pytest.approx([0, 0, 0, 0, -0.05 + 0.2 * 2 / 3, 0.1])


def test_hull_of_two_species_equals_that_of_the_linear_programme():
    generator = np.random.default_rng(4)
    x = np.concatenate([[0.0, 1.0], generator.integers(1, 12, 40) / 12])
    energies = np.concatenate([[0.0, 0.0], generator.normal(0, 1, 40)])
    two = lower_hull(np.column_stack([x, 1 - x]), energies)
    three = lower_hull(np.column_stack([np.append(x, 0.0), np.append(1 - x, 0.0), np.append(0 * x, 1.0)]), np.append(energies, 0.0))
    assert two.above == pytest.approx(three.above[:-1], abs=1e-8)


def test_hull_without_an_end():
    with pytest.raises(BadInput, match="missing"):
        lower_hull(np.array([[1.0, 0.0], [0.5, 0.5]]), np.zeros(2))
