"""Molecules from files and SMILES."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, MissingDependency, quoted
from nucleate.molecules.molecule import Molecule, bonds_of, same_pairs

SEED = 1
"""Random seed of the conformer that is built from a SMILES, so that the same text always gives the same geometry."""


def read_molecule(source: str | Path | Atoms) -> Molecule:
    """Return the molecule of a file, of a SMILES or of ASE atoms.

    Args:
        source: file of an isolated molecule in a format that ASE reads, a SMILES such as `NC(=O)N`, or atoms.

    Raises:
        BadInput: the file does not exist or contains several molecules or a periodic cell, or the SMILES is wrong.
        MissingDependency: a SMILES is given and RDKit is not installed.
    """
    if isinstance(source, Atoms):
        return Molecule.from_atoms(source, source.get_chemical_formula())
    path = Path(source)
    # A long SMILES is not a valid file name.
    if len(str(source)) < 250 and path.is_file():
        return Molecule.from_atoms(_read(path), str(source))
    text = str(source)
    # File names have an ending or a folder; a SMILES has neither, since its slashes and dots are parts of bonds.
    if path.suffix.lower() in (".xyz", ".extxyz", ".mol", ".sdf", ".pdb", ".cif", ".vasp", ".json", ".gen", ".com", ".in"):
        raise BadInput(f"{quoted(text)}: no such file")
    return from_smiles(text)


def _read(path: Path) -> Atoms:
    from ase.io import read

    try:
        images = read(path, index=":")
    except Exception as error:  # the readers of ASE raise exceptions of any type
        raise BadInput(f"{path}: cannot be read as a molecule ({type(error).__name__}: {quoted(str(error), 100)})") from error
    if len(images) != 1:
        raise BadInput(f"{path}: contains {len(images)} structures; give a file with one molecule")
    (image,) = images
    assert isinstance(image, Atoms)
    return image


def from_smiles(text: str) -> Molecule:
    """Return the molecule of a SMILES, with a geometry of RDKit's distance geometry and MMFF94 force field.

    S. Riniker and G. A. Landrum, J. Chem. Inf. Model. 55, 2562 (2015), doi 10.1021/acs.jcim.5b00654; P. Tosco, N. Stiefl and G. Landrum,
    J. Cheminform. 6, 37 (2014), doi 10.1186/s13321-014-0037-3.

    Raises:
        BadInput: it is not a SMILES of one molecule, or no geometry could be built.
        MissingDependency: RDKit is not installed.
    """
    try:
        # RDKit's modules are made of compiled parts, whose functions type checkers do not see.
        Chem: Any = import_module("rdkit.Chem")
        AllChem: Any = import_module("rdkit.Chem.AllChem")
        log: Any = import_module("rdkit.RDLogger")
    except ImportError as error:
        raise MissingDependency(
            f"'{quoted(text)}' is not a file, and molecules from SMILES need RDKit; run: pip install 'nucleate[molecules]'"
        ) from error
    log.DisableLog("rdApp.*")
    parsed = Chem.MolFromSmiles(text)
    if parsed is None or parsed.GetNumAtoms() == 0:
        raise BadInput(f"'{quoted(text)}' is neither a file nor a SMILES; give a file such as urea.xyz or a SMILES such as NC(=O)N")
    if any(atom.GetAtomicNum() == 0 for atom in parsed.GetAtoms()):
        raise BadInput(f"'{quoted(text)}' contains a placeholder for an atom; name all elements")
    if Chem.GetFormalCharge(parsed) != 0:
        raise BadInput(f"'{quoted(text)}' is an ion; references calculate neutral molecules, so crystals of ions are searched by formula")
    full = Chem.AddHs(parsed)
    if len(Chem.GetMolFrags(full)) > 1:
        raise BadInput(f"'{quoted(text)}' describes several molecules; give each with a --molecule of its own")
    if full.GetNumAtoms() > 1 and AllChem.EmbedMolecule(full, randomSeed=SEED) != 0:
        raise BadInput(f"'{quoted(text)}': no geometry could be built; give a file with coordinates")
    if full.GetNumAtoms() == 1:
        return Molecule.from_atoms(Atoms(full.GetAtomWithIdx(0).GetSymbol()), text)
    if AllChem.MMFFHasAllMoleculeParams(full):
        AllChem.MMFFOptimizeMolecule(full, maxIters=2000)
    else:
        AllChem.UFFOptimizeMolecule(full, maxIters=2000)
    atoms = Atoms([atom.GetSymbol() for atom in full.GetAtoms()], positions=full.GetConformer().GetPositions())
    bonds = np.array([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in full.GetBonds()])
    if not same_pairs(bonds_of(atoms), bonds):
        raise BadInput(f"'{quoted(text)}': its bonds are not those by distance, by which molecules are recognised in crystals")
    return Molecule.from_atoms(atoms, text, bonds)
