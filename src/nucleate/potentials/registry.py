"""Registry of the families of potentials."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel

from nucleate.errors import BadInput, quoted
from nucleate.persist.toml import validated
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.networks.a2a import A2A, A2ASettings
from nucleate.potentials.networks.molcnn import MolCNN, MolCNNSettings
from nucleate.potentials.networks.network import NetworkPotential
from nucleate.potentials.networks.painn import PaiNN, PaiNNSettings
from nucleate.potentials.networks.schnet import SchNet, SchNetSettings
from nucleate.potentials.settings import ModelSettings
from nucleate.potentials.soap_krr import SoapKrr, SoapKrrSettings

Trainable = ManyBodyCommittee | NetworkPotential
"""Families that are trained by gradient descent."""
Learned = Trainable | SoapKrr
"""All families, including the one that is fitted in closed form."""

FAMILIES: dict[str, tuple[type[Trainable], type[BaseModel]]] = {
    "manybody": (ManyBodyCommittee, ModelSettings),
    "a2a": (A2A, A2ASettings),
    "molcnn": (MolCNN, MolCNNSettings),
    "schnet": (SchNet, SchNetSettings),
    "painn": (PaiNN, PaiNNSettings),
}


SETTINGS: dict[str, type[BaseModel]] = {**{name: settings for name, (_, settings) in FAMILIES.items()}, "soap-krr": SoapKrrSettings}
CLASSES: dict[str, type[Learned]] = {**{name: kind for name, (kind, _) in FAMILIES.items()}, "soap-krr": SoapKrr}


def family_settings(name: str, options: dict[str, Any]) -> BaseModel:
    """Return the validated settings of a family.

    Raises:
        BadInput: the family or an option is unknown, or a value is invalid.
    """
    if name not in SETTINGS:
        raise BadInput(f"unknown model '{quoted(name)}'; choose one of {', '.join(SETTINGS)}")
    return validated(SETTINGS[name], options, f"settings of {name}")


def make_model(name: str, species: tuple[int, ...], settings: BaseModel, seed: int, dtype: torch.dtype) -> Trainable:
    """Return a model with random weights."""
    return FAMILIES[name][0].in_dtype(species, settings, seed, dtype)  # type: ignore[arg-type]
