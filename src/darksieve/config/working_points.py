"""Sections of a config about where to cut."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from darksieve.config.fields import Positive, Section


class PreselectionConfig(Section):
    """A cut on a column, by mass, that is chosen together with those on the score.

    What is above or below the edge is kept. The edge lies between ``low`` and ``high``; without an end on its
    open side there may be no cut.
    """

    keep: Literal["above", "below"] = "above"
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> PreselectionConfig:
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}: low has to lie below high")
        return self


class WorkingPointsConfig(Section):
    """Where to cut, or how to split the score into categories that are fitted together.

    ``together`` chooses channels for the limit of all of them in one fit, where they share a parameter, else
    each for its own limit; ``preselection`` names columns that are cut on before the score, with all cuts
    chosen together;
    ``rectangular`` names variables whose best cuts are compared with the classifier, and
    ``background_uncertainty`` is by how much the background moves to see how far choice and limit follow.
    """

    objective: str = "expected_limit"
    kind: Literal["categories", "threshold"] = "categories"
    n_categories: Annotated[int, Field(ge=1, le=10)] = 4
    together: bool = True
    folds: Annotated[int, Field(ge=2, le=10)] = 2
    min_effective_events: Positive = 400.0
    background_uncertainty: Annotated[float, Field(ge=0, lt=1)] = 0.1
    rectangular: Annotated[list[str], Field(max_length=6)] = Field(default_factory=list)
    preselection: Annotated[dict[str, PreselectionConfig], Field(max_length=6)] = Field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns that are kept beside the scores."""
        return tuple(dict.fromkeys([*self.rectangular, *self.preselection]))
