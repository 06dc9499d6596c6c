"""Sections of a config about hyperparameters."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from darksieve.config.fields import Section


class SpaceConfig(Section):
    """Values of one option in a tuning: a range from ``low`` to ``high``, or ``choices``."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: Annotated[list[Any], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> SpaceConfig:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("give either choices, or low and high")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"low is {self.low}, high is {self.high}: the first must be the smaller one")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0, not at {self.low}")
        return self


class TuningConfig(Section):
    """What ``darksieve tune`` varies: options of one classifier (the last by default), in so many trials."""

    classifier: str | None = None
    trials: Annotated[int, Field(ge=1)] = 20
    space: dict[str, SpaceConfig] = Field(default_factory=dict)
    max_rows: Annotated[int, Field(ge=1000)] | None = 100_000
