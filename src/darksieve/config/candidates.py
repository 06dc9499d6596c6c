"""Sections of a config about what is read: periods, candidates, and which of an event's is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from darksieve.config.fields import CustomBeams, Positive, Section


class PeriodConfig(Section):
    """A data-taking period: its share of the luminosity, and its beams."""

    luminosity_fb: Positive
    beams: Literal["belle", "belle2"] | CustomBeams


class PairingsConfig(Section):
    """Candidates from pairs of photons: branches ``<photon>_<component>``, momenta in the laboratory.

    With four photons an event may lack the third and the fourth, whose momenta are NaN then.
    """

    photons: Annotated[list[str], Field(min_length=2, max_length=4)]
    momentum: Annotated[list[str], Field(min_length=4, max_length=4)] = Field(
        default_factory=lambda: ["px", "py", "pz", "E"]
    )
    observable: str = "M_gg"
    true_pair: str | None = None
    kinematic_fit: bool = False


class BestConfig(Section):
    """Of an event's candidates in one channel, after all selections, only the best is kept.

    ``truth``: branch of signal samples that is 1 for a true candidate, from which it is counted how often the
    best is the true one; with pairings that is known without it.
    """

    by: str
    keep: Literal["highest", "lowest"] = "highest"
    per: Literal["event"] = "event"
    truth: str | None = None


class CandidatesConfig(Section):
    """What is a candidate, on every sample.

    ``columns``: name -> expression over branches and over columns before it. ``missing``: pattern over
    branches -> values that mean "missing".
    """

    select: str | None = None
    pairings: PairingsConfig | None = None
    columns: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(
        default_factory=dict
    )
    missing: dict[str, Annotated[list[float], Field(min_length=1)]] = Field(default_factory=dict)
    best: BestConfig | None = None
