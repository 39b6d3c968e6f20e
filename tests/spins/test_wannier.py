"""The chain through Quantum ESPRESSO, Wannier90 and TB2J: what can be tested without them, and the chain itself where they are."""

import re
import shutil

import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.units import Ry
from qe_tools.parsers import PwInputFile

from nucleate.errors import BadInput, MissingDependency
from nucleate.spins.dft.espresso_tb2j import (
    WannierSettings,
    band_count,
    mesh_points,
    pw_text,
    wannier_count,
    wannier_couplings,
    win_text,
    without_degeneracies,
)
from nucleate.spins.order.curie import leading_order

IRON = WannierSettings(moments={"Fe": 2.2}, pseudopotentials={"Fe": "Fe.pbe-nd-rrkjus.UPF"})


def test_degeneracies_are_divided_out():
    """H(k) = sum_R exp(2 pi i k R) H(R) / degeneracy: the same matrix whether a reader divides or not."""
    rng = np.random.default_rng(0)
    points, size = 17, 2
    degeneracies = rng.integers(1, 5, points)
    h = rng.normal(size=(points, size, size, 2))
    lines = [" written", f"{size:12d}", f"{points:12d}"]
    lines += ["".join(f"{d:5d}" for d in degeneracies[k : k + 15]) for k in range(0, points, 15)]
    for p in range(points):
        for j in range(size):
            for i in range(size):
                lines.append(f"{p - 8:5d}{0:5d}{0:5d}{i + 1:5d}{j + 1:5d}{h[p, i, j, 0]:12.6f}{h[p, i, j, 1]:12.6f}")
    out = without_degeneracies("\n".join(lines) + "\n").splitlines()
    assert " ".join(out[3:5]).split() == ["1"] * points
    values = np.array([[float(x) for x in line.split()] for line in out[5:]])
    found = values[:, 5].reshape(points, size, size).transpose(0, 2, 1)
    assert found == pytest.approx(np.round(h[..., 0], 6) / degeneracies[:, None, None], abs=1e-9)
    with pytest.raises(ValueError, match="truncated"):
        without_degeneracies("\n".join(lines[:-1]))


def test_inputs_say_what_was_asked():
    atoms = bulk("Fe", "bcc", a=2.866)
    assert wannier_count(atoms, IRON) == 9
    assert band_count(atoms, IRON) == 16
    text = pw_text(atoms, IRON, "nscf")
    assert re.search(r"nbnd\s*= 16\n", text)
    assert re.search(r"nspin\s*= 2\n", text)
    count, *rows = text.split("K_POINTS crystal\n")[1].split("\n\n")[0].splitlines()
    points = np.array([[float(x) for x in row.split()] for row in rows])
    assert int(count) == len(points) == 8**3
    # The full mesh of Wannier90, each point once, with weights that add up to one.
    assert len({tuple(row) for row in np.rint(8 * points[:, :3]).astype(int)}) == 8**3
    assert points[:, :3] * 8 == pytest.approx(np.rint(8 * points[:, :3]), abs=1e-9)
    assert points[:, 3].sum() == pytest.approx(1, abs=1e-9)
    assert mesh_points((2, 3, 4)).shape == (24, 3)
    win = win_text(atoms, IRON, "down", 12.5)
    assert "spin = down" in win
    assert "dis_froz_max = 15.5" in win
    with pytest.raises(BadInput, match="give s, p, d or f"):
        wannier_count(atoms, IRON.model_copy(update={"projections": {"Fe": "sp3"}}))


@pytest.mark.parametrize("calculation", ["scf", "nscf"])
def test_the_input_of_pw_reads_back(calculation):
    atoms = bulk("NiO", "rocksalt", a=4.2)
    atoms.rattle(0.05, seed=1)
    # Neither is part of the input.
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_initial_magnetic_moments([-2.0, 0.3])
    given = WannierSettings(
        moments={"Ni": 1.7}, pseudopotentials={"Ni": "Ni.UPF", "O": "O.UPF"}, mesh=(2, 3, 4), scf_mesh=(5, 6, 7), core_bands=4
    )
    text = pw_text(atoms, given, calculation)
    found = PwInputFile(text)
    assert found.cell_parameters["cell"] == pytest.approx(atoms.cell.array)
    assert found.atomic_positions["names"] == ["Ni", "O"]
    assert found.atomic_positions["positions"] == pytest.approx(atoms.get_scaled_positions(wrap=False))
    assert not np.any([fixed for row in found.atomic_positions["fixed_coords"] for fixed in row])
    assert (found.atomic_species["names"], found.atomic_species["pseudo_file_names"]) == (["Ni", "O"], ["Ni.UPF", "O.UPF"])
    system = found.namelists["SYSTEM"]
    assert [system[f"starting_magnetization({k})"] for k in (1, 2)] == [0.5, 0.0]
    assert (system["nspin"], system["occupations"], system["smearing"]) == (2, "smearing", "mv")
    assert [system[key] * Ry for key in ("ecutwfc", "ecutrho", "degauss")] == pytest.approx([540, 4300, 0.14], rel=1e-6)
    assert found.namelists["CONTROL"]["prefix"] == "crystal"
    if calculation == "scf":
        assert found.k_points["points"] == [5, 6, 7]
        assert "nbnd" not in system
    else:
        assert np.array(found.k_points["points"]) == pytest.approx(mesh_points((2, 3, 4)))
        assert system["nbnd"] == band_count(atoms, given) + 4
        assert system["nosym"] is system["noinv"] is True


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="no magnetic atom"):
        wannier_couplings(bulk("Si"), IRON, tmp_path)
    with pytest.raises(BadInput, match="pseudopotential of Fe not found"):
        wannier_couplings(bulk("Fe"), IRON.model_copy(update={"pseudo_dir": str(tmp_path)}), tmp_path)
    (tmp_path / "Fe.pbe-nd-rrkjus.UPF").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match=r"pw\.x is not installed; run: apt-get install quantum-espresso"):
        wannier_couplings(bulk("Fe"), IRON.model_copy(update={"pseudo_dir": str(tmp_path)}), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_iron_is_a_ferromagnet(tmp_path):
    missing = [p for p in ("pw.x", "pw2wannier90.x", "wannier90.x", "wann2J.py") if shutil.which(p) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    small = IRON.model_copy(update={"mesh": (4, 4, 4), "scf_mesh": (6, 6, 6), "green_mesh": (9, 9, 9)})
    found = wannier_couplings(bulk("Fe", "bcc", a=2.866), small, tmp_path)
    assert found.total_moment == pytest.approx(2.2, abs=0.15)
    assert leading_order(found.couplings).wave_vector == pytest.approx([0, 0, 0], abs=1e-3)
    # Their size is not asserted: on so coarse a mesh, and with Wannier functions that differ between spins, it is wrong by factors.
    near = found.couplings.distances < 2.9
    assert (found.couplings.isotropic[near] > 0).all()
    steps = []
    again = wannier_couplings(bulk("Fe", "bcc", a=2.866), small, tmp_path, steps.append)
    assert not steps
    assert again.couplings.isotropic == pytest.approx(found.couplings.isotropic)
