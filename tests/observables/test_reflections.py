"""Reflections and lines agree with pymatgen's, and do not depend on the choice of the cell."""

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from pymatgen.analysis.diffraction.neutron import NDCalculator
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.io.ase import AseAtomsAdaptor

from nucleate.errors import BadInput
from nucleate.observables.powder import PowderLines, powder_data, similarity
from nucleate.observables.radiation import Radiation, radiation
from nucleate.observables.reflections import allowed_strains, reflections


def our_peaks(atoms, source, symmetry):
    lines = PowderLines(reflections(atoms, source, 1.9999 / source.wavelength, symmetry=symmetry), source)
    position, area, _ = lines.place(np.linalg.norm(lines.vectors, axis=1))
    return position, area


@pytest.mark.parametrize("symmetry", [True, False])
@pytest.mark.parametrize(
    ("calculator", "source"), [(XRDCalculator("MoKa"), radiation("MoKa")), (NDCalculator(1.5406), radiation("1.5406", neutron=True))]
)
def test_peaks_of_pymatgen(polymorphs, calculator, source, symmetry):
    for atoms in polymorphs.values():
        theirs = calculator.get_pattern(AseAtomsAdaptor.get_structure(atoms), two_theta_range=(5, 80), scaled=False)
        position, area = our_peaks(atoms, source, symmetry)
        # Weak reflections are left out, and lines closer than the distance of merging are one peak in either code.
        ours = np.array([area[np.abs(position - x) < 0.03].sum() for x in theirs.x])
        alone = np.array([np.abs(np.delete(theirs.x, k) - x).min() > 0.06 for k, x in enumerate(theirs.x)])
        alone &= np.array(theirs.y) > 0.01 * max(theirs.y)
        ratio = ours[alone] / np.array(theirs.y)[alone]
        assert alone.sum() > 3
        assert ratio == pytest.approx(np.full(alone.sum(), ratio.mean()), rel=2e-3)


def test_merged_reflections_have_the_whole_intensity(polymorphs):
    source = radiation("CuKa")
    whole = reflections(polymorphs["anatase"], source, 1.0, symmetry=False)
    merged = reflections(polymorphs["anatase"], source, 1.0)
    assert len(merged) < len(whole) / 4
    assert merged.strengths.sum() == pytest.approx(whole.strengths.sum(), rel=1e-3)


def test_supercells_and_other_cells_are_the_same_crystal(polymorphs, measure):
    x, y = measure(polymorphs["rutile"])
    data = powder_data(x, y, radiation("CuKa"))
    cells = [np.eye(3), np.diag([2, 1, 1]), [[1, 1, 0], [0, 1, 0], [0, 0, 1]]]
    turned = polymorphs["rutile"].copy()
    turned.rotate(50, (1, 2, 3), rotate_cell=True)
    structures = [make_supercell(polymorphs["rutile"], cell) for cell in cells] + [turned]
    assert similarity(structures, data) == pytest.approx(np.full(4, 1.0), abs=2e-3)
    assert np.ptp(similarity(structures, data)) < 1e-6


@pytest.mark.parametrize(("name", "components"), [("rutile", 2), ("rocksalt", 1)])
def test_strains_that_keep_the_symmetry(polymorphs, name, components):
    basis = reflections(polymorphs[name], radiation("CuKa"), 0.5).strains
    assert len(basis) == components
    assert np.einsum("aij,bij->ab", basis, basis) == pytest.approx(np.eye(components), abs=1e-12)
    assert len(allowed_strains(np.eye(3), np.eye(3, dtype=int)[None])) == 6


def test_form_factors_at_zero_angle():
    assert Radiation(1.0).amplitudes(26, np.zeros(1))[0] == pytest.approx(26)
    assert Radiation(1.0, True).amplitudes(1, np.zeros(1))[0] == pytest.approx(-3.739)
    assert Radiation(1.0, True, deuterated=True).amplitudes(1, np.zeros(1))[0] == pytest.approx(6.668, abs=1e-3)
    assert Radiation(1.0, True, deuterated=True).amplitudes(6, np.zeros(1)) == Radiation(1.0, True).amplitudes(6, np.zeros(1))
    with pytest.raises(BadInput, match="Po"):
        Radiation(1.0, True).amplitudes(84, np.zeros(1))


def test_form_factors_end_where_their_fit_does():
    """Beyond s = 2/Å the expression would rise to the number of electrons again."""
    inside, outside = Radiation(0.2).amplitudes(26, np.array([4.0, 16.0]))
    assert inside == outside < 10
    x = np.arange(5.0, 70.0, 0.01)
    y = np.exp(-(((x - 30.2) / 0.05) ** 2))
    with pytest.raises(BadInput, match=r"= 2\.87 1/Å; .* 2 theta = 47\.1"):
        powder_data(x, y, Radiation(0.2))
    assert powder_data(x, y, Radiation(0.2, neutron=True)).counts.max() > 0
    # Data that were cut as the message says are accepted.
    assert powder_data(x[x <= 47.1], y[x <= 47.1], Radiation(0.2)).counts.max() > 0


@pytest.mark.parametrize(
    ("text", "neutron", "said"),
    [("CuKz", False, "CuKa"), ("-1.5", False, "between"), ("nan", False, "between"), ("CuKa", True, "neutrons")],
)
def test_wavelengths_that_are_none(text, neutron, said):
    with pytest.raises(BadInput, match=said):
        radiation(text, neutron)


def test_too_many_reflections():
    with pytest.raises(BadInput, match="at most 100000"):
        reflections(bulk("Cu", cubic=True), radiation("0.05"), 30.0)
