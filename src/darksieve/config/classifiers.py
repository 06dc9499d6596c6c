"""Sections of a config about classifiers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from darksieve.config.fields import Fraction, NonNegative, Section


class DecorrelationConfig(Section):
    """What is done about the variables in ``decorrelate``; see ``darksieve.training.decorrelation``."""

    method: Literal["planing", "penalty", "dropping", "none"] = "planing"
    strength: NonNegative = 3.0
    threshold: Fraction = 0.1


class ClassifierConfig(Section):
    """A classifier and how it is trained; ``options`` are the model's own.

    Several are applied in order. ``samples``, ``select`` and the gates of the earlier ones (which a share
    ``lets_through`` of the signal passes) say what one learns from; ``channels`` what it scores.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    model: Literal["bdt", "photon_network"]
    features: Annotated[list[str], Field(min_length=1)] | None = None
    matching: Literal["background_to_signal", "signal_to_background", "flat", "none"] = "background_to_signal"
    decorrelate: list[str] = Field(default_factory=list)
    decorrelation: DecorrelationConfig = DecorrelationConfig()
    calibrate: Literal["none", "isotonic", "sigmoid"] = "none"
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    max_rows: Annotated[int, Field(ge=1000)] | None = None
    samples: Annotated[list[str], Field(min_length=2)] | None = None
    select: str | None = None
    channels: Annotated[list[str], Field(min_length=1)] | None = None
    lets_through: Fraction = 0.95
    options: dict[str, Any] = Field(default_factory=dict)
