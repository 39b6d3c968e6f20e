"""Registry of the families of potentials."""

from __future__ import annotations

import torch
from pydantic import BaseModel

from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.networks.a2a import A2A
from nucleate.potentials.networks.molcnn import MolCNN
from nucleate.potentials.networks.network import NetworkPotential
from nucleate.potentials.networks.painn import PaiNN
from nucleate.potentials.networks.schnet import SchNet
from nucleate.potentials.soap_krr import SoapKrr

Trainable = ManyBodyCommittee | NetworkPotential
"""Families that are trained by gradient descent."""
Learned = Trainable | SoapKrr
"""All families, including the one that is fitted in closed form."""

TRAINABLE: dict[str, type[Trainable]] = {"manybody": ManyBodyCommittee, "a2a": A2A, "molcnn": MolCNN, "schnet": SchNet, "painn": PaiNN}
CLASSES: dict[str, type[Learned]] = {**TRAINABLE, "soap-krr": SoapKrr}


def make_model(name: str, species: tuple[int, ...], settings: BaseModel, seed: int, dtype: torch.dtype) -> Trainable:
    """Return a model with random weights."""
    return TRAINABLE[name].in_dtype(species, settings, seed, dtype)  # type: ignore[arg-type]
