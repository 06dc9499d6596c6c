"""The section of a config about the networks' interpolation in mass."""

from __future__ import annotations

from pydantic import model_validator

from darksieve.config.fields import Positive, Section


class InterpolationConfig(Section):
    """Closure of the networks' interpolation in mass, a page of the report; absent: not measured.

    A network is trained on candidates within ``reach`` (GeV) of masses ``spacing`` (GeV) apart, and compared
    there, midway and beyond with the exact likelihood ratio, where it is known, or the search's own network.
    """

    spacing: Positive = 1.0
    reach: Positive = 0.08

    @model_validator(mode="after")
    def _gaps_between(self) -> InterpolationConfig:
        if not self.reach < self.spacing / 4:
            raise ValueError(
                f"reach is {self.reach:g} GeV; it must be below a quarter of spacing, {self.spacing:g} GeV,"
                " so that masses are left out"
            )
        return self
