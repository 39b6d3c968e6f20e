"""Settings of the search loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from nucleate.fingerprints.matching import TOLERANCE

UNSTATED_TOPS = (1, 5)
"""Values of `top` in the folders of searches in which it has no effect: its default, and that of versions before 0.3."""


class SearchSettings(BaseModel):
    """Settings of the pool, the selection and the stop rule."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    pool: int = Field(
        400, ge=4, le=100_000, description="Number of candidates relaxed on the committee in each round; needs no reference calls."
    )
    keep: int = Field(
        60,
        ge=0,
        le=100_000,
        description="Number of distinct minima kept from round to round, at most half the pool; new candidates fill the rest.",
    )
    train_units: list[Annotated[int, Field(ge=1, le=500)]] = Field(
        default_factory=list,
        max_length=32,
        description="Formula units of smaller cells that are labelled to train the committee but are not searched; empty: none.",
    )
    train_pool: int = Field(100, ge=1, le=100_000, description="Number of these smaller cells relaxed on the committee in each round.")
    train_slots: int = Field(2, ge=0, le=10_000, description="Labels in each batch for the lowest unlabelled minima of the smaller cells.")
    first_batch: int = Field(
        8, ge=2, le=10_000, description="Number of labels before the first training, chosen to be as different as possible."
    )
    first_symmetric: int = Field(
        4,
        ge=0,
        le=10_000,
        description="Largest number of these labels for the most symmetric candidates; the others are for any candidates.",
    )
    batch: int = Field(4, ge=1, le=10_000, description="Number of labels in each round for relaxed candidates of the pool.")
    score: Literal["published", "lcb"] = Field(
        "published",
        description="Score that ranks the pool, lowest first: published, E/atom - w max|F|; or lcb, E/atom - kappa sigma.",
    )
    score_weight: float = Field(0.5, ge=0, le=1e4, description="Weight in the score: w in Å (published) or kappa (lcb).")
    symmetric_slots: int = Field(
        2,
        ge=0,
        le=10_000,
        description="Labels in each batch for the lowest of the most symmetric tenth of the minima, which early models bind too weakly.",
    )
    diverse_slots: int = Field(
        1,
        ge=0,
        le=10_000,
        description="Labels in each batch for the minima least similar to any labelled structure, from the lower half of the pool.",
    )
    uncertain_slots: int = Field(
        0, ge=0, le=10_000, description="Labels in each batch for structures whose relaxation stopped because of the uncertainty."
    )
    sigma_stop: float | None = Field(
        1.0, gt=0, le=1e4, description="Calibrated uncertainty at which a relaxation on the committee stops, eV/atom."
    )
    cluster_tolerance: float = Field(
        TOLERANCE,
        gt=0,
        le=1e3,
        description="Distance of fingerprints below which two minima belong to one cluster; above 0.005 the structures must also match.",
    )
    leads: int = Field(
        3, ge=1, le=1_000, description="Number of leads, the lowest labelled minima, converged on the reference in each round."
    )
    lead_steps: int = Field(1, ge=1, le=10_000, description="Number of consecutive reference calls for one lead.")
    lead_fmax: float = Field(
        0.6,
        gt=0,
        le=1e4,
        description="Largest reference force at which a labelled minimum becomes a lead, eV/Å; others are only training data.",
    )
    lead_smax: float = Field(
        15.0, gt=0, le=1e5, description="Largest component of stress plus pressure at which a labelled minimum becomes a lead, GPa."
    )
    window: float = Field(0.15, gt=0, le=1e4, description="Energy above the best polymorph at which a lead is dropped, eV/atom.")
    fmax: float = Field(0.02, gt=0, le=1e3, description="Largest reference force at which a polymorph is confirmed, eV/Å.")
    smax: float = Field(0.1, gt=0, le=1e4, description="Largest component of stress plus pressure at which a polymorph is confirmed, GPa.")
    top: int = Field(1, ge=1, le=10_000, description="Number of lowest polymorphs that must stay the same before the search stops.")
    resolution: float = Field(
        3.0,
        gt=0,
        le=1e5,
        description="Energy difference (meV/atom) below which the stop rule treats two polymorphs as equal and the report as not resolved.",
    )
    quiet_rounds: int = Field(
        4,
        ge=1,
        le=100_000,
        description="Number of consecutive rounds without a change among the lowest polymorphs after which the search stops.",
    )
    clear_window: float = Field(
        50.0,
        ge=0,
        le=1e5,
        description="Energy (meV/atom) above these polymorphs. A round in which random candidates end at the lowest of them, and the "
        "committee has no minimum without a label below this energy, counts twice; 0: never.",
    )
    max_rounds: int = Field(100, ge=1, le=100_000, description="Largest number of rounds.")
    budget: int = Field(400, ge=1, le=10_000_000, description="Largest number of reference calls, including failed ones.")
    check: bool = Field(
        True,
        description="Displace the lowest polymorphs along their softest modes on the reference before the search ends (2 to 9 calls each).",
    )
    magnetic: bool = Field(
        True,
        description="With magnetic moments, calculate the symmetric orders of the three lowest polymorphs within 50 meV/atom.",
    )
    accurate: bool = Field(
        True,
        description="Calculate the five lowest polymorphs within 30 meV/atom once more with the preset accurate, to decide their order.",
    )
    proof: bool = Field(
        True,
        description="Whether to relax the best polymorph once more entirely on the reference, from its first labelled geometry.",
    )
    proof_steps: int = Field(60, ge=1, le=100_000, description="Largest number of reference calls for that relaxation.")
