"""Hubbard U: which elements have one, what each engine is given, and the hash of the settings."""

import numpy as np
import pytest
from ase.build import bulk
from pydantic import ValidationError

from nucleate.errors import BadInput, MissingDependency
from nucleate.reference import ReferenceSettings, make_reference
from nucleate.reference.base import content_hash
from nucleate.reference.engine_inputs import EspressoInput, VaspInput
from nucleate.reference.hubbard import espresso_card, gpaw_setups, shell_of
from nucleate.reference.kpoints import k_grid


@pytest.mark.parametrize(
    ("symbol", "shell"),
    [("Sc", "3d"), ("Mn", "3d"), ("Zn", "3d"), ("Y", "4d"), ("Hg", "5d"), ("Hf", "5d"), ("La", "4f"), ("Lu", "4f"), ("U", "5f")]
    + [(symbol, None) for symbol in ("O", "Si", "Na", "Ga", "Ca", "Xe")],
)
def test_shells(symbol, shell):
    assert shell_of(symbol) == shell


@pytest.mark.parametrize("values", [{"O": 4.0}, {"Mn": 4.0, "Si": 1.0}])
def test_an_element_without_the_shell_is_refused(values):
    with pytest.raises(ValidationError, match="no d or f shell for U; allowed are the transition metals"):
        ReferenceSettings(hubbard_u=values)


@pytest.mark.parametrize("value", [0.0, -1.0, 20.5, float("nan")])
def test_values_out_of_range_are_refused(value):
    with pytest.raises(ValidationError):
        ReferenceSettings(hubbard_u={"Mn": value})


@pytest.mark.parametrize("engine", ["cp2k", "ase", "chgnet"])
def test_engines_without_u_are_refused(engine):
    with pytest.raises(BadInput, match=f"hubbard_u has no effect on engine '{engine}'"):
        make_reference(ReferenceSettings(engine=engine, hubbard_u={"Mn": 4.0}, calculator=None))


def reference(**given):
    pytest.importorskip("gpaw")
    try:
        return make_reference(ReferenceSettings(**given))
    except MissingDependency as error:
        pytest.skip(str(error))


def test_u_is_part_of_the_hash_only_where_it_is_given():
    plain, with_u, other = reference(), reference(hubbard_u={"Mn": 4.0}), reference(hubbard_u={"Mn": 3.9})
    assert "hubbard_u" not in plain.settings()
    assert with_u.settings() == {**plain.settings(), "hubbard_u": {"Mn": 4.0}}
    atoms = bulk("MnO", "rocksalt", a=4.44)
    assert len({content_hash(atoms, each.settings()) for each in (plain, with_u, other)}) == 3


def test_gpaw_is_given_the_shell_and_nothing_without_u():
    atoms = bulk("MnO", "rocksalt", a=4.44)
    assert reference(hubbard_u={"Mn": 4.0}).options(atoms, None)["setups"] == {"Mn": ":d,4.0,1"}
    assert "setups" not in reference().options(atoms, None)
    assert gpaw_setups({"Ce": 5, "Ni": 6.5}) == {"Ce": ":f,5,1", "Ni": ":d,6.5,1"}
    with pytest.raises(BadInput, match="both choose PAW data sets"):
        reference(hubbard_u={"Mn": 4.0}, parameters={"setups": "sg15"})


def test_gpaw_reads_what_it_is_given():
    hubbard = pytest.importorskip("gpaw.hubbard")
    kind, u = hubbard.parse_hubbard_string(gpaw_setups({"Mn": 4.0})["Mn"])
    assert kind == "paw"
    assert (u.l, u.scale) == ([2], [True])
    assert u.U[0] * 27.211386 == pytest.approx(4.0, abs=1e-4)


@pytest.fixture
def espresso(tmp_path):
    """Settings of a pw.x that prints a version."""
    for name in ("Mn.upf", "O.upf"):
        (tmp_path / name).write_text("<UPF>")

    def make(version="7.2", **given):
        program = tmp_path / "pw.x"
        program.write_text(f"#!/bin/sh\necho '     Program PWSCF v.{version} starts'\n")
        program.chmod(0o755)
        files = {"Mn": "Mn.upf", "O": "O.upf"}
        return ReferenceSettings(engine="espresso", command=str(program), pseudo_dir=str(tmp_path), pseudopotentials=files, **given)

    return make


def test_espresso_names_every_kind_of_atom(espresso, tmp_path):
    atoms = bulk("MnO", "rocksalt", a=4.44).repeat((1, 1, 2))
    atoms.set_initial_magnetic_moments([5.0, 0.0, -5.0, 0.0])
    given = espresso(hubbard_u={"Mn": 4.0}, parameters={"additional_cards": "SOLVENTS"})
    EspressoInput(given).calculator(atoms, tmp_path / "run", k_grid(atoms, 0.6, primitive=False)).write_inputfiles(atoms, ["energy"])
    lines = (tmp_path / "run" / "espresso.pwi").read_text().splitlines()
    kinds = [line.split()[0] for line in lines[lines.index("ATOMIC_SPECIES") + 1 :][:3]]
    start = lines.index("HUBBARD (ortho-atomic)")
    assert lines[start + 1 :] == [f"U {kind}-3d 4.0" for kind in kinds if kind.startswith("Mn")]
    assert len(lines[start + 1 :]) == 2
    assert "SOLVENTS" in lines
    assert make_reference(given).settings()["hubbard_u"] == {"Mn": 4.0}


def test_espresso_without_the_element_has_no_card(espresso):
    assert espresso_card(bulk("Si"), {"Mn": 4.0}) == []
    with pytest.raises(BadInput, match=r"pw\.x 7\.1 or later, but this one is 7\.0"):
        EspressoInput(espresso("7.0", hubbard_u={"Mn": 4.0}))
    assert EspressoInput(espresso("7.0")).settings()["version"] == "7.0"


def test_vasp_tags(tmp_path, monkeypatch):
    for name in ("Mn", "O"):
        file = tmp_path / "potpaw_PBE" / name / "POTCAR"
        file.parent.mkdir(parents=True)
        file.write_text(f"  PAW_PBE {name}\n  7.0\n")
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path))
    given = ReferenceSettings(engine="vasp", command="true", pseudo_dir=str(tmp_path), hubbard_u={"Mn": 4.0})
    atoms = bulk("MnO", "rocksalt", a=4.44)
    calculator = VaspInput(given).calculator(atoms, tmp_path / "run", k_grid(atoms, 0.6))
    (tmp_path / "run").mkdir(exist_ok=True)
    calculator.initialize(atoms)
    calculator.write_incar(atoms, directory=str(tmp_path / "run"))
    tags = dict(line.split(" = ") for line in (tmp_path / "run" / "INCAR").read_text().splitlines() if " = " in line)
    tags = {key.strip(): value.split() for key, value in tags.items()}
    assert tags["LDAU"] == [".TRUE."]
    assert tags["LDAUTYPE"] == ["2"]
    symbols = [symbol for symbol, _ in calculator.symbol_count]
    assert dict(zip(symbols, tags["LDAUL"], strict=True)) == {"Mn": "2", "O": "-1"}
    assert dict(zip(symbols, tags["LDAUU"], strict=True)) == {"Mn": "4.000", "O": "0.000"}
    assert tags["LMAXMIX"] == ["4"]


def test_moments_on_a_calculator_without_spin_are_refused():
    given = {"engine": "ase", "calculator": "ase.calculators.morse:MorsePotential"}
    assert make_reference(ReferenceSettings(**given)).name == "ase:ase.calculators.morse:MorsePotential"
    with pytest.raises(BadInput, match="MorsePotential' has no magnetic moments; remove them"):
        make_reference(ReferenceSettings(**given, magnetic_moments={"Ni": 1.0}))


@pytest.mark.parametrize("xc", ["vdW-DF", "vdw-df2", "BEEF-vdW"])
def test_functionals_without_stress_are_refused_by_name(xc):
    with pytest.raises(BadInput, match=f"no stress for the nonlocal functional '{xc}'"):
        reference(xc=xc)


def test_pbesol_is_calculated_on_the_data_sets_of_pbe():
    """The stress is the derivative of the energy, within the error of the small cutoff."""
    engine = reference(xc="PBEsol", preset="fast", k_spacing=0.6)
    assert engine.settings()["paw"] == "PBE"
    assert "paw" not in reference().settings()
    one, middle, other = (bulk("Si", a=a) for a in (5.43, 5.45, 5.47))
    energies = [engine.label(atoms).energy for atoms in (one, other)]
    slope = (energies[1] - energies[0]) / (other.get_volume() - one.get_volume())
    assert np.mean(engine.label(middle).stress[:3]) == pytest.approx(slope, abs=0.002)
