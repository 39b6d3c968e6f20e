"""Quantum ESPRESSO, CP2K and VASP: what is written, what their words become, and real runs of the first two where they are installed."""

import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from nucleate.errors import BadInput, MissingDependency, ReferenceFailed
from nucleate.reference import Label, ReferenceSettings, make_reference
from nucleate.reference.dispatch import ask
from nucleate.reference.engine_inputs import Cp2kInput, EspressoInput, VaspInput
from nucleate.reference.kpoints import k_grid

DEBIAN = Path("/usr/share/espresso/pseudo/Si.pbe-rrkj.UPF")


@pytest.fixture
def espresso(tmp_path):
    """Settings of a pw.x that is a shell script of the given lines."""
    (tmp_path / "Si.upf").write_text("<UPF>")

    def make(script="true", **given):
        program = tmp_path / "pw.x"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return ReferenceSettings(
            engine="espresso", command=str(program), pseudo_dir=str(tmp_path), pseudopotentials={"Si": "Si.upf"}, **given
        )

    return make


def test_espresso_input_says_what_the_settings_say(espresso, tmp_path):
    given = espresso(cutoff=400, k_spacing=0.58, smearing=0.1, parameters={"input_data": {"electrons": {"mixing_beta": 0.3}}})
    silicon = bulk("Si", a=5.43, cubic=True)
    grid = k_grid(silicon, 0.58, primitive=False)
    EspressoInput(given).calculator(silicon, tmp_path / "run", grid).write_inputfiles(silicon, ["energy"])
    lines = (tmp_path / "run" / "espresso.pwi").read_text().splitlines()
    values = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines if "=" in line)}
    assert float(values["ecutwfc"]) == pytest.approx(400 / 13.605693, rel=1e-6)
    assert float(values["degauss"]) == pytest.approx(0.1 / 13.605693, rel=1e-6)
    assert values["smearing"] == "'fermi-dirac'"
    assert (values["tstress"], values["tprnfor"]) == (".true.", ".true.")
    assert float(values["mixing_beta"]) == 0.3
    assert float(values["conv_thr"]) == pytest.approx(8e-8)
    assert lines[next(i for i, line in enumerate(lines) if line.startswith("K_POINTS")) + 1].split() == ["2"] * 3 + ["1"] * 3


@pytest.mark.parametrize("parameters", [{"mixing_beta": 0.3}, {"input_data": {"ELECTRONS": {"mixing_beta": 0.3}}}])
def test_names_of_pw_x_reach_their_section(espresso, tmp_path, parameters):
    silicon = bulk("Si", a=5.43)
    given = EspressoInput(espresso(parameters={**parameters, "starting_charge(1)": 0.5}))
    given.calculator(silicon, tmp_path / "run", k_grid(silicon, 0.58)).write_inputfiles(silicon, ["energy"])
    text = (tmp_path / "run" / "espresso.pwi").read_text()
    system, electrons = (text.split(f"&{name}")[1].split("\n/")[0] for name in ("SYSTEM", "ELECTRONS"))
    assert re.search(r"starting_charge\(1\) += 0.5", system)
    assert re.search(r"mixing_beta += 0.3", electrons)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"electrons": {"conv_thr": 1e-9}}, r"write \[reference\.parameters\.input_data\.electrons\]"),
        ({"conv_threshold": 1e-9}, "has the parameter 'conv_threshold'"),
        ({"input_data": {"electron": {"conv_thr": 1e-9}}}, "no section 'electron'; its sections are control, system, electrons"),
        ({"input_data": {"conv_thr": 1e-9}}, "one table per section"),
        ({"kspacing": 0.3}, "set reference.k_spacing"),
    ],
)
def test_names_that_ase_would_drop_are_refused(espresso, parameters, said):
    with pytest.raises(BadInput, match=said):
        EspressoInput(espresso(parameters=parameters))


def test_espresso_magnetic_moments_ask_for_spin(espresso, tmp_path):
    silicon = bulk("Si", a=5.43)
    silicon.set_initial_magnetic_moments([1.0, -1.0])
    EspressoInput(espresso()).calculator(silicon, tmp_path / "run", k_grid(silicon, 0.58)).write_inputfiles(silicon, ["energy"])
    text = (tmp_path / "run" / "espresso.pwi").read_text()
    assert "nspin" in text
    assert "starting_magnetization" in text


def test_espresso_energy_is_taken_to_zero_smearing(espresso):
    written = "     smearing contrib. (-TS)   =      -0.20000000 Ry\n"
    # F = E - TS is printed, E(0) = F + TS / 2.
    assert EspressoInput(espresso()).correct(-100.0, written) == pytest.approx(-100.0 + 0.1 * 13.605693, abs=1e-5)
    assert EspressoInput(espresso()).correct(-100.0, "") == -100.0


def test_cp2k_energy_is_taken_to_zero_smearing():
    written = "  Electronic entropic energy:                                  -0.02000000000000\n"
    given = ReferenceSettings(engine="cp2k", command="true")
    assert Cp2kInput(given).correct(-100.0, written) == pytest.approx(-100.0 + 0.01 * 27.2113862, abs=1e-6)
    assert Cp2kInput(given).correct(-100.0, "") == -100.0


def test_paw_files_count(tmp_path):
    file = tmp_path / "potpaw_PBE" / "Si" / "POTCAR"
    file.parent.mkdir(parents=True)
    file.write_text("PAW_PBE Si")
    given = ReferenceSettings(engine="vasp", command="true", pseudo_dir=str(tmp_path))
    before = make_reference(given).settings()
    file.write_text("PAW_PBE Si_sv_GW")
    assert make_reference(given).settings() != before


def test_pseudopotentials_count_by_content(espresso, tmp_path):
    first = make_reference(espresso()).settings()
    (tmp_path / "Si.upf").write_text("<UPF> another")
    assert make_reference(espresso()).settings() != first


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("echo '     convergence NOT achieved after   2 iterations: stopping'; exit 2", "unconverged", "after 2 iterations"),
        ("f=%%%%%%%%%%%%%%%%%%%%%%%%; echo $f; echo ' Error in routine cdiaghg'; echo $f; exit 1", "failed", "routine cdiaghg"),
        ("echo 'out of memory' >&2; exit 137", "failed", "out of memory"),
        ("exit 1", "failed", "exit status 1"),
        ("true", "failed", "espresso"),
    ],
)
def test_espresso_failures_speak_in_its_own_words(espresso, script, kind, words):
    with pytest.raises(ReferenceFailed, match=words) as caught:
        make_reference(espresso(script)).label(bulk("Si", a=5.43))
    assert caught.value.kind == kind
    assert "\n" not in str(caught.value)


def test_time_limit_ends_the_program_too(espresso, tmp_path):
    script = f"[ -f espresso.pwi ] || exit 0; echo $$ > {tmp_path}/pid; exec sleep 60"
    started = time.monotonic()
    answer, _ = ask(make_reference(espresso(script)), bulk("Si", a=5.43), timeout=1.0)
    assert time.monotonic() - started < 15
    assert isinstance(answer, ReferenceFailed)
    assert answer.kind == "timeout"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_missing_pseudopotentials_are_said(espresso, tmp_path):
    with pytest.raises(BadInput, match="pseudopotential of C;"):
        make_reference(espresso()).label(bulk("SiC", "zincblende", 4.36))
    given = espresso().model_copy(update={"pseudopotentials": {"Si": "gone.upf"}})
    with pytest.raises(BadInput, match=r"gone\.upf"):
        make_reference(given)


def test_program_that_is_not_there(espresso):
    given = espresso().model_copy(update={"command": "mpirun-of-nowhere -np 2 pw.x"})
    with pytest.raises(MissingDependency, match="mpirun-of-nowhere"):
        make_reference(given)


def test_vasp_input_says_what_the_settings_say(tmp_path):
    (tmp_path / "potpaw_PBE" / "Si").mkdir(parents=True)
    (tmp_path / "potpaw_PBE" / "Si" / "POTCAR").write_text("PAW_PBE Si\n 4.0\nEnd of Dataset\n")
    given = ReferenceSettings(
        engine="vasp", command="true", pseudo_dir=str(tmp_path), cutoff=320, k_spacing=0.58, parameters={"algo": "Fast"}
    )
    silicon = bulk("Si", a=5.43, cubic=True)
    folder = tmp_path / "run"
    folder.mkdir()
    VaspInput(given).calculator(silicon, folder, k_grid(silicon, 0.58, primitive=False)).write_input(silicon)
    incar = dict(line.split("=") for line in (folder / "INCAR").read_text().splitlines() if "=" in line)
    incar = {key.strip(): value.strip() for key, value in incar.items()}
    assert float(incar["ENCUT"]) == 320
    assert (incar["ISMEAR"], incar["ISIF"], incar["NSW"], incar["ALGO"]) == ("-1", "2", "0", "Fast")
    kpoints = (folder / "KPOINTS").read_text().splitlines()
    assert kpoints[2].lower().startswith("m")
    assert kpoints[3].split()[:3] == ["2", "2", "2"]
    # The face-centred cell does not bear a shifted grid.
    primitive = bulk("Si", a=5.43)
    VaspInput(given).calculator(primitive, folder, k_grid(primitive, 0.5)).write_input(primitive)
    assert (folder / "KPOINTS").read_text().splitlines()[2].lower().startswith("g")


# Without smearing: energies are extrapolated to it, and forces are those of the free energy.
def derivatives(reference, atoms):
    """Force of the first atom along x and mean stress, by central differences of the energy."""
    moved, strained = [], []
    for step in (0.01, -0.01):
        shifted, larger = atoms.copy(), atoms.copy()
        shifted.positions[0, 0] += step
        larger.set_cell(atoms.cell.array * (1 + step), scale_atoms=True)
        moved.append(reference.label(shifted).energy)
        strained.append(reference.label(larger).energy)
    return -(moved[0] - moved[1]) / 0.02, (strained[0] - strained[1]) / 0.02 / 3 / atoms.get_volume()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pw.x") is None or not DEBIAN.is_file(), reason="needs quantum-espresso and quantum-espresso-data")
def test_real_espresso_run():
    given = ReferenceSettings(
        engine="espresso", pseudo_dir=str(DEBIAN.parent), pseudopotentials={"Si": DEBIAN.name}, cutoff=400, k_spacing=0.6, smearing=0.0
    )
    reference = make_reference(given)
    assert reference.settings()["version"]
    perfect = reference.label(bulk("Si", a=5.43))
    assert isinstance(perfect, Label)
    assert np.abs(perfect.forces).max() < 1e-3
    moved = bulk("Si", a=5.43)
    moved.positions[0] += 0.05
    label = reference.label(moved)
    assert label.iterations > 3
    assert label.core_seconds > 0
    np.testing.assert_allclose(label.forces.sum(axis=0), 0, atol=1e-3)
    force, stress = derivatives(reference, moved)
    assert label.forces[0, 0] == pytest.approx(force, abs=0.01)
    # The number of plane waves changes with the cell at fixed cutoff.
    assert label.stress[:3].mean() == pytest.approx(stress, abs=0.003)
    with pytest.raises(ReferenceFailed, match="NOT achieved") as caught:
        make_reference(given.model_copy(update={"max_iterations": 2})).label(moved)
    assert caught.value.kind == "unconverged"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cp2k.psmp") is None, reason="needs cp2k and cp2k-data")
def test_real_cp2k_run():
    parameters = {"basis_set": "DZVP-MOLOPT-SR-GTH", "pseudo_potential": "auto"}
    reference = make_reference(ReferenceSettings(engine="cp2k", command="cp2k.psmp -s", parameters=parameters, k_spacing=0.6, smearing=0.0))
    assert reference.settings()["version"]
    moved = bulk("Si", a=5.43)
    moved.positions[0] += 0.05
    label = reference.label(moved)
    np.testing.assert_allclose(label.forces.sum(axis=0), 0, atol=1e-3)
    force, stress = derivatives(reference, moved)
    assert label.forces[0, 0] == pytest.approx(force, abs=0.01)
    assert label.stress[:3].mean() == pytest.approx(stress, abs=0.002)
