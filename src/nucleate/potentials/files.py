"""Model files: weights in safetensors, the rest as JSON in its header. Nothing is unpickled."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from nucleate.errors import BadInput
from nucleate.potentials.prior import CorrectedPotential, PriorPotential, prior_digest
from nucleate.potentials.registry import Learned, family_of, family_settings, make_model
from nucleate.potentials.soap_krr import SoapKrr, SoapKrrSettings
from nucleate.storage import write_whole

VERSION = 2
"""Of the files; committees of version 1 have tanh between their layers."""
FORMAT = "nucleate-potential"
FIRST_FORMAT = "nucleate-manybody"
"""Of files that name no family."""


def save_committee(path: Path | str, model: Learned, sigma_factor: float = 1.0, prior: str | None = None) -> None:
    """Write a potential of any family, the calibration of its spread and the name of the prior it corrects, if there is one.

    The old file stays whole until the new one is.
    """
    path = Path(path)
    header = {
        "format": FORMAT,
        "family": family_of(model),
        "version": str(VERSION),
        "species": json.dumps(model.species),
        "settings": model.settings.model_dump_json(),
        "sigma_factor": repr(float(sigma_factor)),
    }
    if prior is not None:
        header |= {"prior": prior, "prior_digest": prior_digest(prior)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_whole(path, save(tensors, metadata=header))


def load_potential(path: Path | str) -> tuple[Learned | CorrectedPotential, float]:
    """A potential of any family and the calibration factor of its spread.

    Raises:
        BadInput: no such file, not a model, truncated, or from a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such model file")
    try:
        with safe_open(path, framework="pt") as archive:
            header = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path}: not a whole model file ({error})") from error
    if header.get("format") not in (FORMAT, FIRST_FORMAT):
        raise BadInput(f"{path}: not a potential written by nucleate")
    version = header.get("version", "none")
    if version.isdigit() and int(version) > VERSION:
        raise BadInput(f"{path}: written by a newer nucleate (model version {version}); update nucleate")
    try:
        family, options = header.get("family", "manybody"), json.loads(header["settings"])
        if int(version) == 1 and family == "manybody":
            options["activation"] = "tanh"
        settings = family_settings(family, options)
        model: Learned
        if isinstance(settings, SoapKrrSettings):
            model = SoapKrr(tuple(json.loads(header["species"])), settings, len(tensors["alpha"]))
        else:
            model = make_model(family, tuple(json.loads(header["species"])), settings, 0, tensors["energy_scale"].dtype)
        model.load_state_dict(tensors)
        factor = float(header["sigma_factor"])
    except (KeyError, ValueError, TypeError, RuntimeError, BadInput) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path}: its header does not fit its weights ({type(error).__name__}: {reason})") from error
    if "prior" not in header:
        return model, factor
    prior = PriorPotential(header["prior"])
    if prior_digest(prior.name) != header.get("prior_digest", ""):
        raise BadInput(f"{path}: {prior.name} is not the file this correction was learned on; put that one back, or train again")
    return CorrectedPotential(prior, model), factor
