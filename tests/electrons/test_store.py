"""Snapshots on disk: what is read back fits together, or is named."""

import numpy as np
import pytest
import zarr
from ase import Atoms

from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.data.store import read_snapshot, write_snapshot
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput


@pytest.fixture
def path(tmp_path):
    atoms = Atoms("AlO", [[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True)
    ions = {"Al": Ion("Al", 3.0, 0.3), "O": Ion("O", 6.0, 0.2)}
    ldos = np.random.default_rng(0).random((3, 4, 5, 6)).astype(np.float32)
    density = np.ones((3, 4, 5))
    write_snapshot(
        tmp_path / "s.zarr",
        Snapshot(
            atoms,
            np.arange(6.0),
            ldos,
            density,
            0.5,
            300.0,
            1.0,
            {"band": -3.0},
            ions,
            {"engine": "gpaw"},
            {"iterations": 7, "pulay_stress": -0.01},
            forces=np.full((2, 3), 0.5),
            stress=np.eye(3),
        ),
    )
    return tmp_path / "s.zarr"


def test_a_snapshot_comes_back(path):
    found = read_snapshot(path)
    assert found.ldos.shape == (3, 4, 5, 6)
    assert found.ions["O"] == Ion("O", 6.0, 0.2)
    assert found.terms == {"band": -3.0}
    assert np.array_equal(found.forces, np.full((2, 3), 0.5))
    assert np.array_equal(found.stress, np.eye(3))
    assert read_snapshot(path, ldos=False).ldos.shape == (3, 4, 5, 0)


def test_a_stress_at_a_fixed_number_of_plane_waves_is_not_read(path):
    group = zarr.open_group(path, mode="r+")
    group.attrs["details"] = {"iterations": 7}
    found = read_snapshot(path)
    assert found.stress is None
    assert np.array_equal(found.forces, np.full((2, 3), 0.5))


def set_array(name, values):
    def change(group):
        del group[name]
        if values is not None:
            group.create_array(name, data=np.asarray(values))

    return change


def set_attribute(**changes):
    def change(group):
        for name, value in changes.items():
            if value is None:
                del group.attrs[name]
            else:
                group.attrs[name] = value

    return change


def huge(group):
    del group["ldos"], group["density"], group["energies"]
    group.create_array("energies", data=np.arange(6.0))
    group.create_array("ldos", shape=(10**5, 10**5, 10**5, 6), chunks=(1, 10**3, 10**3, 6), dtype="f4")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (set_array("energies", None), "energies"),
        (set_array("energies", np.arange(5.0)), "energies"),
        (set_array("energies", np.zeros(6)), "increase"),
        (set_array("numbers", [[13, 8]]), "match"),
        (set_array("numbers", [13.0, 8.0]), "numbers"),
        (set_array("numbers", [13, 14]), "ion"),
        (set_array("positions", np.zeros((3, 3))), "positions"),
        (set_array("positions", np.full((2, 3), np.nan)), "finite"),
        (set_array("cell", np.zeros((3, 3))), "volume"),
        (set_array("density", np.ones((3, 4, 6))), "density"),
        (set_array("forces", np.ones((3, 3))), "forces"),
        (set_array("stress", np.ones(6)), "stress"),
        (huge, "exceeds"),
        (set_attribute(version=None), "version"),
        (set_attribute(version=99), "newer"),
        (set_attribute(sigma="wide"), "sigma"),
        (set_attribute(temperature=-1), "temperature"),
        (set_attribute(ions=[{"symbol": "Al"}]), "ions"),
        (set_attribute(terms={"band": "low"}), "terms"),
        (set_attribute(engine=[]), "engine"),
    ],
)
def test_what_does_not_fit_is_named(path, change, word):
    change(zarr.open_group(path, mode="r+"))
    with pytest.raises(BadInput, match=word) as refused:
        read_snapshot(path)
    assert len(str(refused.value).replace(str(path), "")) < 200
