"""Names of the families of potentials and their settings, without the potentials themselves, which need torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from nucleate.errors import BadInput, quoted
from nucleate.persist.toml import validated
from nucleate.potentials.networks.settings import A2ASettings, MolCNNSettings, PaiNNSettings, SchNetSettings
from nucleate.potentials.settings import ModelSettings, SoapKrrSettings

SETTINGS: dict[str, type[BaseModel]] = {
    "manybody": ModelSettings,
    "a2a": A2ASettings,
    "molcnn": MolCNNSettings,
    "schnet": SchNetSettings,
    "painn": PaiNNSettings,
    "soap-krr": SoapKrrSettings,
}


def family_settings(name: str, options: dict[str, Any]) -> BaseModel:
    """Return the validated settings of a family.

    Raises:
        BadInput: the family or an option is unknown, or a value is invalid.
    """
    if name not in SETTINGS:
        raise BadInput(f"unknown model '{quoted(name)}'; choose one of {', '.join(SETTINGS)}")
    return validated(SETTINGS[name], options, f"settings of {name}")
