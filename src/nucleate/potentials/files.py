"""Model files: weights in safetensors, settings as JSON in the header; nothing is unpickled."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from safetensors.torch import save

from nucleate.errors import BadInput, quoted
from nucleate.persist.files import write_whole
from nucleate.persist.tensors import TensorFile, Whole, check_version, read_tensor_file
from nucleate.persist.text import from_json, stated
from nucleate.potentials.base import check_species
from nucleate.potentials.bonded import BondedPotential, MoleculeField
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.families import family_settings
from nucleate.potentials.prior import PriorPotential, check_prior, prior_digest
from nucleate.potentials.registry import CLASSES, Learned

VERSION = 4
"""Newest version of model files. Committees of version 1 use tanh as activation; a file of version 3 also contains a base, one of version 4
also force fields of molecules."""
BASE = "base."
"""Prefix of the tensors of the committee that the model corrects."""
FORMAT = "nucleate-potential"
FIRST_FORMAT = "nucleate-manybody"
"""Format of older files, which do not name a family."""


class _Header(BaseModel):
    """Metadata of a model file; all values are text, which may contain JSON or numbers."""

    model_config = ConfigDict(extra="forbid")

    format: str
    family: str = "manybody"
    version: int
    species: str = Field(max_length=2000)
    settings: str = Field(max_length=10**6)
    sigma_factor: float = Field(gt=0, allow_inf_nan=False)
    prior: str | None = Field(None, max_length=4096)
    prior_digest: str = Field("", max_length=200)
    base_family: str | None = None
    base_species: str = Field("", max_length=2000)
    base_settings: str = Field("", max_length=10**6)
    molecules: str | None = Field(None, max_length=10**8)


def _ascending(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """Return the numbers; raise `ValueError` unless they are ascending and unique."""
    if list(numbers) != sorted(set(numbers)):
        raise ValueError("atomic numbers must be ascending and unique")
    return numbers


class _Species(BaseModel):
    """Species of a model file."""

    species: Annotated[tuple[Annotated[Whole, Field(ge=1, le=118)], ...], Field(min_length=1), AfterValidator(_ascending)]


def save_committee(
    path: Path | str,
    model: Learned,
    sigma_factor: float = 1.0,
    prior: str | None = None,
    base: Learned | None = None,
    molecules: BondedPotential | None = None,
) -> None:
    """Write a potential of any family to a model file, atomically.

    Args:
        path: path of the file.
        model: the potential; for a corrected potential its correction.
        sigma_factor: calibration factor of the standard deviation.
        prior: name of the prior that the model corrects, if there is one.
        base: committee that the model corrects, if there is one; it is part of the file.
        molecules: force field of molecules that the model corrects, if there is one; it is part of the file.

    Raises:
        StorageFailed: the file could not be written.
    """
    path = Path(path)
    header = {
        "format": FORMAT,
        "family": model.family,
        "version": "4" if molecules is not None else "3" if base is not None else "2",
        "species": json.dumps(model.species),
        "settings": model.settings.model_dump_json(),
        "sigma_factor": repr(float(sigma_factor)),
    }
    if prior is not None:
        header |= {"prior": prior, "prior_digest": prior_digest(prior)}
    if molecules is not None:
        header["molecules"] = json.dumps([field.as_dict() for field in molecules.fields])
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if base is not None:
        header |= {"base_family": base.family, "base_species": json.dumps(base.species), "base_settings": base.settings.model_dump_json()}
        tensors |= {BASE + name: value.detach().cpu().contiguous() for name, value in base.state_dict().items()}
    write_whole(path, save(tensors, metadata=header))


def load_potential(path: Path | str) -> tuple[Learned | CorrectedPotential, float]:
    """Load a potential of any family and the calibration factor of its standard deviation.

    Raises:
        BadInput: the file does not exist, is not a model file, is truncated or damaged, or was written by a newer version.
    """
    path = Path(path)
    file = read_tensor_file(path, "model file")
    if file.metadata.get("format") not in (FORMAT, FIRST_FORMAT):
        raise BadInput(f"{path}: is not a potential written by nucleate; give a model file of a search or a training")
    version = file.metadata.get("version", "")
    check_version(int(version) if re.fullmatch(r"[0-9]{1,6}", version) else None, VERSION, path)
    header = stated(_Header, file.metadata, f"{path}: header")
    if header.base_family is None:
        model, base = _model(file, header.family, header.species, header.settings, header.version), None
    else:
        own = {name: tensor for name, tensor in file.tensors.items() if not name.startswith(BASE)}
        other = {name.removeprefix(BASE): tensor for name, tensor in file.tensors.items() if name.startswith(BASE)}
        model = _model(replace(file, tensors=own), header.family, header.species, header.settings, header.version)
        base = _model(replace(file, tensors=other), header.base_family, header.base_species, header.base_settings, header.version)
        check_species(base.species, model.species)
    factor = header.sigma_factor
    molecules = None if header.molecules is None else _molecules(header.molecules, path)
    if base is not None:
        return CorrectedPotential(base, model, molecules), factor
    if header.prior is None:
        return model if molecules is None else CorrectedPotential(None, model, molecules), factor
    check_prior(header.prior)
    # Compared before the file is opened, because a MACE file is unpickled.
    if prior_digest(header.prior) != header.prior_digest:
        raise BadInput(f"{path}: the file of the prior '{quoted(header.prior)}' has changed since training; restore it, or train again")
    return CorrectedPotential(PriorPotential(header.prior), model, molecules), factor


def _molecules(text: str, path: Path) -> BondedPotential:
    """Return the force field of the molecules of a file."""
    data = from_json(text, f"{path}: header, molecules")
    try:
        return BondedPotential([MoleculeField.from_dict(item) for item in data])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInput(f"{path}: header: the force field of the molecules is damaged: {quoted(str(error), 120)}") from None


def _model(file: TensorFile, family: str, species_text: str, settings_text: str, version: int) -> Learned:
    """Return the model of the tensors and header entries of a file."""
    path = file.path
    species = stated(_Species, {"species": from_json(species_text, f"{path}: header, species")}, f"{path}: header").species
    options = from_json(settings_text, f"{path}: header, settings")
    if not isinstance(options, dict):
        raise BadInput(f"{path}: header: settings must be a table of keys and values; the file is damaged")
    if version == 1 and family == "manybody":
        options["activation"] = "tanh"
    try:
        settings = family_settings(family, options)
    except BadInput as error:
        raise BadInput(f"{path}: header: {quoted(str(error), 120)}") from None
    kind = CLASSES[family]
    model: Learned = file.fill(lambda: kind.for_tensors(species, settings, file.tensors, str(path)), learned=kind.chosen_tensors)
    model.check_tensors(str(path))
    return model
