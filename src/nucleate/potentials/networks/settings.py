"""Settings of the networks. This module imports no torch, so that settings are read without it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1, le=8192)]
Width = Annotated[float, Field(gt=0, le=1e6)]
Activation = Literal["tanh", "silu", "celu", "relu", "softplus", "gaussian"]


class NetworkSettings(BaseModel):
    """Settings that all families of networks share."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    members: int = Field(1, ge=1, le=32, description="Number of committee members, trained together on resampled labels.")
    wall_fraction: float = Field(
        0.8, gt=0, le=1.2, description="Distance at which the repulsive pair wall begins, as a fraction of the sum of covalent radii."
    )
    wall_strength: float = Field(4.0, ge=0, le=1e6, description="Factor of the screened nuclear repulsion in the wall; 0: no wall.")


class A2ASettings(NetworkSettings):
    """Settings of Behler-Parrinello networks; by default the modified functions with 32 radial and 8 x 8 angular bins."""

    cutoff: float = Field(4.6, gt=1.0, le=12.0, description="Cutoff radius of the radial functions, Å.")
    angular_cutoff: float = Field(3.1, gt=1.0, le=12.0, description="Cutoff radius of the angular functions, Å.")
    functions: Literal["modified", "original"] = Field(
        "modified", description="Symmetry functions: modified as in ANI, or original as in Behler and Parrinello."
    )
    radial_start: float = Field(0.5, ge=0, le=20, description="First radial centre, Å.")
    radial_bins: int = Field(32, ge=1, le=256, description="Number of radial centres, evenly spaced up to the cutoff.")
    radial_eta: float = Field(16.0, gt=0, le=1e6, description="Exponent of the radial Gaussians, 1/Å^2.")
    radial_centres: list[float] = Field(
        default_factory=list, max_length=256, description="Explicit radial centres, Å, in place of radial_bins."
    )
    angular_start: float = Field(0.5, ge=0, le=20, description="First centre of the mean distance, Å.")
    angular_bins: int = Field(8, ge=1, le=64, description="Number of centres of the mean distance, evenly spaced (modified).")
    angle_bins: int = Field(8, ge=1, le=64, description="Number of angles, evenly spaced (modified).")
    angular_eta: float = Field(8.0, gt=0, le=1e6, description="Exponent of the Gaussians of the mean distance, 1/Å^2 (modified).")
    zeta: float = Field(32.0, ge=1, le=1e4, description="Exponent of the angular term (modified).")
    original_etas: list[Width] = Field(
        default_factory=lambda: [0.01, 0.05, 0.1, 0.2],
        max_length=64,
        description="Exponents eta of the angular functions (original), 1/Å^2.",
    )
    original_zetas: list[Width] = Field(
        default_factory=lambda: [1.0, 2.0, 4.0, 16.0], max_length=64, description="Exponents zeta of the angular functions (original)."
    )
    learnable: bool = Field(False, description="Whether centres and widths of the functions are trained.")
    hidden: list[Positive] = Field(
        default_factory=lambda: [128, 128, 32], max_length=32, description="Widths of the hidden layers of every species."
    )
    hidden_of: dict[str, Annotated[list[Positive], Field(max_length=32)]] = Field(
        default_factory=dict, description="Widths of the hidden layers of single species, such as H = [64, 32]."
    )
    activation: Activation = Field("celu", description="Activation function of the hidden layers.")
    output: Activation | None = Field(None, description="Activation of the last layer; unset: none. gaussian: exp(-(sum G W + B)^2).")


class MolCNNSettings(NetworkSettings):
    """Settings of the molecular convolution network."""

    cutoff: float = Field(4.0, gt=1.0, le=12.0, description="Cutoff radius of bonds, Å.")
    bonds: int = Field(4, ge=1, le=64, description="Number of bond channels, N_bond.")
    angles: int = Field(4, ge=0, le=64, description="Number of angle channels, N_angle; 0: only bonds.")
    neighbours: Literal["smooth", "nearest"] = Field(
        "smooth", description="Neighbours: smooth, all within a smooth cutoff; nearest, the nearest ones (discontinuous energy)."
    )
    nearest: int = Field(6, ge=1, le=64, description="Number of neighbours with neighbours = nearest.")
    bond_start: float = Field(0.8, gt=0, le=20, description="Centre of the first bond mask, Å; the others are spaced up to the cutoff.")
    bond_width: float = Field(0.5, gt=0, le=20, description="Initial width of the bond masks, Å; it is trained.")
    angle_width: float = Field(0.5, gt=0, le=10, description="Initial width of the angle masks, radians; it is trained.")
    pool: Literal["sum", "max"] = Field("sum", description="Pooling over the angles of an atom: the sum, or the maximum of each channel.")


class PaiNNSettings(NetworkSettings):
    """Settings of PaiNN."""

    cutoff: float = Field(5.0, gt=1.0, le=12.0, description="Cutoff radius of one interaction, Å.")
    features: int = Field(64, ge=2, le=512, description="Number of scalar features of an atom, and of vector features.")
    interactions: int = Field(2, ge=1, le=12, description="Number of message and update blocks.")
    radial: int = Field(20, ge=2, le=256, description="Number of sine functions of the distance.")


class SchNetSettings(NetworkSettings):
    """Settings of SchNet."""

    cutoff: float = Field(5.0, gt=1.0, le=12.0, description="Cutoff radius of one interaction, Å.")
    features: int = Field(64, ge=2, le=512, description="Number of features of an atom.")
    interactions: int = Field(3, ge=1, le=12, description="Number of interaction blocks.")
    radial: int = Field(32, ge=2, le=256, description="Number of Gaussians of the distance.")
