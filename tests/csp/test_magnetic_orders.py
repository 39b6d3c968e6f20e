"""Symmetric collinear orders: how many, their names, and their independence from the description of the crystal."""

import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal

from nucleate.csp.magnetic.moments import final_moments, start_of
from nucleate.csp.magnetic.orders import MOST_SITES, magnetic_orders
from nucleate.reference.base import Label
from tests.csp.heisenberg import Heisenberg

PEROVSKITE = crystal(["La", "Fe", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221, cellpar=[3.9] * 3 + [90] * 3)
RUTILE = crystal(["Mn", "F"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.87, 4.87, 3.31, 90, 90, 90])
ESKOLAITE = crystal(
    ["Cr", "O"], [(0, 0, 0.3475), (0.3058, 0, 0.25)], spacegroup=167, cellpar=[4.96, 4.96, 13.6, 90, 90, 120], primitive_cell=True
)


def names(atoms, **moments):
    return [order.name for order in magnetic_orders(atoms, moments)]


@pytest.mark.parametrize(
    ("atoms", "element", "expected"),
    [
        (bulk("Fe", "fcc", a=3.6), "Fe", ["FM", "AFM type II", "AFM type I"]),
        (bulk("NiO", "rocksalt", a=4.2), "Ni", ["FM", "AFM type II", "AFM type I"]),
        (bulk("Fe", "bcc", a=2.87), "Fe", ["FM", "AFM q=(1/2 1/2 0)", "AFM q=(1 0 0)"]),
        (bulk("Fe", "sc", a=2.5), "Fe", ["FM", "AFM q=(1/2 0 0)", "AFM q=(1/2 1/2 0)", "AFM q=(1/2 1/2 1/2)"]),
        # A, C and G of a perovskite are layers, chains and the checkerboard.
        (PEROVSKITE, "Fe", ["FM", "AFM q=(1/2 0 0)", "AFM q=(1/2 1/2 0)", "AFM q=(1/2 1/2 1/2)"]),
    ],
)
def test_orders_of_one_magnetic_atom(atoms, element, expected):
    found = magnetic_orders(atoms, {element: 2.0})
    assert sorted(order.name for order in found) == sorted(expected)
    assert found[0].name == "FM"
    for order in found[1:]:
        assert order.atoms.get_initial_magnetic_moments().sum() == pytest.approx(0)
        assert len(order.atoms) == 2 * len(found[0].atoms)
        assert order.atoms.get_volume() == pytest.approx(2 * found[0].atoms.get_volume())
        assert set(np.abs(order.atoms.get_initial_magnetic_moments()).tolist()) <= {0.0, 2.0}


def test_orders_of_the_primitive_cell():
    assert names(RUTILE, Mn=5.0)[:2] == ["FM", "AFM q=(0 0 0)"]
    # Four atoms on the threefold axis have three patterns: + + - -, + - + - and + - - +.
    assert [name for name in names(ESKOLAITE, Cr=3.0) if "q=(0 0 0)" in name] == [f"AFM q=(0 0 0) {letter}" for letter in "abc"]


def test_hcp_has_the_layers_of_alternating_sign():
    found = {order.name: order for order in magnetic_orders(bulk("Co", "hcp", a=2.5, c=4.1), {"Co": 2.0})}
    assert len(found["AFM q=(0 0 0)"].atoms) == 2
    assert found["AFM q=(0 0 0)"].atoms.get_initial_magnetic_moments().tolist() == [2.0, -2.0]
    assert len(found["AFM q=(0 0 1/2)"].atoms) == 4
    assert {name.split(" ", 1)[1][:11] for name in found if name != "FM"} == {
        "q=(0 0 0)", "q=(0 0 1/2)", "q=(1/2 0 0)", "q=(1/2 0 1/",
    }  # fmt: skip


def test_type_two_of_rocksalt_alternates_along_the_diagonal():
    two = next(order.atoms for order in magnetic_orders(bulk("MnO", "rocksalt", a=4.44), {"Mn": 5.0}) if order.name == "AFM type II")
    manganese = two[two.numbers == 25]
    moments = manganese.get_initial_magnetic_moments()
    # Second neighbours, bridged by oxygen, are antiparallel; six first neighbours are parallel and six antiparallel.
    from ase.neighborlist import neighbor_list

    i, j, r = neighbor_list("ijd", manganese, 4.5)
    signs = np.sign(moments[i] * moments[j])
    assert (signs[r > 4.0] == -1).all()
    assert signs[r < 4.0].sum() == 0


@pytest.mark.parametrize("exchange", [((2.55, 0.01), (3.6, 0.02)), ((2.55, 0.03),)])
def test_energies_do_not_depend_on_the_description(exchange):
    toy = Heisenberg(exchange)
    rng = np.random.default_rng(3)
    primitive, cubic = bulk("Cu", a=3.6), bulk("Cu", a=3.6, cubic=True)
    skewed = primitive.copy()
    skewed.set_cell(np.array([[1, 0, 0], [1, 1, 0], [2, -1, 1]]) @ primitive.cell.array, scale_atoms=False)
    turned = cubic.repeat((2, 1, 1))
    turned.rotate(37, rng.normal(size=3), rotate_cell=True)
    results = []
    for atoms in (primitive, cubic, skewed, turned):
        found = magnetic_orders(atoms, {"Cu": 2.0})
        results.append({order.name: toy.label(order.atoms).energy / len(order.atoms) for order in found})
    for other in results[1:]:
        assert other == pytest.approx(results[0], abs=1e-9)
    values = results[0]
    assert len({round(value, 6) for value in values.values()}) == 3
    # 12 first and 6 second neighbours: (12, 6), (-4, 6) and (0, -6) of them, less antiparallel ones.
    assert values["AFM type I"] < values["FM"]
    assert min(values, key=values.get) == ("AFM type II" if len(exchange) == 2 else "AFM type I")


def test_what_has_no_orders():
    assert magnetic_orders(bulk("Si"), {"Fe": 2.0}) == []
    assert magnetic_orders(bulk("Si"), {"Si": 0.0}) == []
    many = bulk("Fe", "sc", a=2.5).repeat((1, 1, MOST_SITES + 1))
    many.positions += np.random.default_rng(1).uniform(-0.3, 0.3, many.positions.shape)
    assert names(many, Fe=2.0) == ["FM"]


def test_moments_of_both_signs_are_ferrimagnetic():
    assert names(bulk("FeO", "rocksalt", a=4.3), Fe=4.0, O=-0.5)[0] == "FiM"


def label(moments, total=None):
    details = {"moments": moments} | ({} if total is None else {"total_moment": total})
    return Label(0.0, np.zeros((len(moments), 3)), np.zeros(6), details=details)


def test_in_which_order_a_calculation_ended():
    start = np.array([5.0, -5.0, 0.0, 0.0])
    assert final_moments(label([4.5, -4.5, 0.1, -0.1], 0.0), start, "AFM type II") == ("AFM type II", 4.5, 0.0)
    # All spins reversed are the same order.
    assert final_moments(label([-4.5, 4.5, 0.0, 0.0]), start, "AFM type II").order == "AFM type II"
    assert final_moments(label([4.0, 4.4, 0.1, 0.1], 8.8), start, "AFM type II") == ("FM", pytest.approx(4.2), 2.2)
    assert final_moments(label([0.1, -0.1, 0.0, 0.0]), start, "AFM type II").order == "NM"
    assert final_moments(label([2.0, 2.0]), *start_of(["Fe", "Fe"], {"Fe": 2.5})) == ("FM", 2.0, 2.0)
    assert final_moments(label([2.0, -2.0]), *start_of(["Fe", "Fe"], {"Fe": 2.5})).order == "other"
    assert final_moments(Label(0.0, np.zeros((2, 3)), np.zeros(6)), np.array([1.0, 1.0]), "FM") is None
