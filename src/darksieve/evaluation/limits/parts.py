"""What every part of a document is: frozen, of finite numbers, without unknown keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from darksieve.errors import nearest
from darksieve.evaluation.limits.faults import fault

Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Reals = tuple[Real, ...]
NonNegatives = tuple[NonNegative, ...]
Interval = tuple[Real, Real]


class Part(BaseModel):
    """Base of every part: frozen, finite numbers only, unknown keys refused with the nearest name."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls._known_keys():
                    raise fault(f"unknown key{nearest(str(key), cls._visible_keys())}", str(key))
        return data

    _keys: ClassVar[dict[type, tuple[frozenset[str], tuple[str, ...]]]] = {}

    @classmethod
    def _known_keys(cls) -> frozenset[str]:
        if cls not in Part._keys:
            visible = tuple(field.alias or name for name, field in cls.model_fields.items())
            Part._keys[cls] = (frozenset(visible) | frozenset(cls.model_fields), visible)
        return Part._keys[cls][0]

    @classmethod
    def _visible_keys(cls) -> tuple[str, ...]:
        cls._known_keys()
        return Part._keys[cls][1]


def check_edges(edges: Sequence[float], *place: str | int) -> None:
    """Raise a fault unless the edges of a histogram increase."""
    if len(edges) < 2:
        raise fault(f"{len(edges)} edges; a histogram needs at least two", *place)
    steps = np.diff(np.asarray(edges, dtype=np.float64))
    if not np.all(steps > 0):
        i = int(np.argmin(steps > 0))
        raise fault(f"edges must increase, but {edges[i]!r} is followed by {edges[i + 1]!r}", *place, i + 1)


def check_histogram(edges: Sequence[float], values: Sequence[float], name: str) -> None:
    """Raise a fault unless the edges increase and each bin has its value."""
    check_edges(edges, "edges")
    if len(values) != len(edges) - 1:
        raise fault(
            f"{len(values)} values for {len(edges)} edges; give one value per bin, {len(edges) - 1}", name
        )


def check_interval(interval: Sequence[float], *place: str | int) -> None:
    """Raise a fault if an interval is empty."""
    if not interval[0] < interval[1]:
        raise fault(f"[{interval[0]}, {interval[1]}] is empty; give [low, high] with low < high", *place)
