"""Settings of the search loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from nucleate.fingerprints.power_spectrum import TOLERANCE


class SearchSettings(BaseModel):
    """How the pool is searched and the reference's calls are spent."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    pool: int = Field(400, ge=4, le=100_000, description="Candidates relaxed on the committee in each round; costs no reference call.")
    keep: int = Field(
        60, ge=0, le=100_000, description="Distinct minima carried from round to round, half the pool at most; the rest is fresh."
    )
    train_units: list[Annotated[int, Field(ge=1, le=500)]] = Field(
        default_factory=list,
        max_length=32,
        description="Formula units of smaller cells that only teach the committee, apart from the cells searched; empty: none.",
    )
    train_pool: int = Field(100, ge=1, le=100_000, description="Smaller cells relaxed on the committee in each round, besides the pool.")
    train_slots: int = Field(
        2, ge=0, le=10_000, description="Of each batch, labels for the lowest unknown end points among the smaller cells."
    )
    first_batch: int = Field(20, ge=2, le=10_000, description="Labels before the first training, as different as possible.")
    batch: int = Field(8, ge=1, le=10_000, description="Labels a round spent on the pool's end points.")
    score: Literal["published", "lcb"] = Field(
        "published",
        description="What ranks the pool: published: E/atom - w max|F|; lcb: E/atom - kappa sigma. Lowest first.",
    )
    score_weight: float = Field(0.5, ge=0, le=1e4, description="w of the published score, Å; or kappa of the bound.")
    symmetric_slots: int = Field(
        2,
        ge=0,
        le=10_000,
        description="Of each batch, labels for the lowest among highly symmetric end points (early models under-bind them).",
    )
    diverse_slots: int = Field(
        2,
        ge=0,
        le=10_000,
        description="Of each batch, labels for the end points least like anything labelled, among the lower half of the pool.",
    )
    uncertain_slots: int = Field(1, ge=0, le=10_000, description="Of each batch, labels where relaxations stopped on uncertainty.")
    sigma_stop: float | None = Field(
        1.0, gt=0, le=1e4, description="Pool relaxations stop where the calibrated uncertainty exceeds this, eV/atom."
    )
    cluster_tolerance: float = Field(
        TOLERANCE, gt=0, le=1e3, description="End points with pooled fingerprints closer than this are one cluster."
    )
    leads: int = Field(3, ge=1, le=1_000, description="Lowest labelled minima followed to convergence on the reference in each round.")
    lead_steps: int = Field(3, ge=1, le=10_000, description="Reference calls spent on one lead in a row.")
    lead_fmax: float = Field(0.6, gt=0, le=1e4, description="A labelled end point with larger reference forces (eV/Å) only teaches ...")
    lead_smax: float = Field(
        15.0, gt=0, le=1e5, description="... or with larger stress plus pressure (GPa); others may be followed as leads."
    )
    window: float = Field(0.15, gt=0, le=1e4, description="Leads estimated this far above the best polymorph are dropped, eV/atom.")
    fmax: float = Field(0.02, gt=0, le=1e3, description="A polymorph is confirmed when its reference forces are below this, eV/Å ...")
    smax: float = Field(0.1, gt=0, le=1e4, description="... and its reference stress plus pressure below this, GPa.")
    top: int = Field(5, ge=1, le=10_000, description="Polymorphs wanted: the stop rule watches them, the report shows them.")
    resolution: float = Field(
        3.0,
        gt=0,
        le=1e5,
        description="Energies closer than this (meV/atom) are the same to the stop rule, and are reported as not resolved.",
    )
    quiet_rounds: int = Field(
        2, ge=1, le=100_000, description="Rounds in a row the top clusters must stay unchanged before the search stops."
    )
    max_rounds: int = Field(40, ge=1, le=100_000, description="Rounds after which the search stops in any case.")
    budget: int = Field(400, ge=1, le=10_000_000, description="Hard limit of reference calls, failures included.")
    proof: bool = Field(
        True,
        description="Relax the winner once more on the reference alone, from its first labelled geometry.",
    )
    proof_steps: int = Field(60, ge=1, le=100_000, description="Limit of that relaxation, reference calls.")
