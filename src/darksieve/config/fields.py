"""What the sections of a config are made of."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from darksieve.couplings import b_decay

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]  # of files and figures, too
Fraction = Annotated[float, Field(gt=0, le=1)]


def _increasing(interval: tuple[float, float]) -> tuple[float, float]:
    if not all(map(math.isfinite, interval)):
        raise ValueError(f"the interval {list(interval)} has no end: give two finite numbers")
    if not interval[0] < interval[1]:
        raise ValueError(f"the interval {list(interval)} is empty: the first number must be the smaller one")
    return interval


Interval = Annotated[tuple[float, float], AfterValidator(_increasing)]


def _known_hadron(name: str) -> str:
    b_decay(name)
    return name


Hadron = Annotated[str, AfterValidator(_known_hadron)]
FinalState = Literal["mumu", "pipi", "KK"]


class Section(BaseModel):
    """A part of the config: immutable, and no key is accepted and ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CustomBeams(Section):
    """Beam energies in GeV and the full crossing angle in mrad."""

    electron_gev: Positive
    positron_gev: Positive
    crossing_mrad: NonNegative
