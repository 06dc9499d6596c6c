"""Numbers of a generator that are not calculated: each with its unit and its source."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any


def stated(value: float, unit: str, source: str) -> float:
    """A field of a dataclass whose default is a number from elsewhere."""
    number: float = field(default=value, metadata={"unit": unit, "source": source})
    return number


def unit_and_source(rates: Any) -> dict[str, dict[str, float | str]]:
    """Value, unit and source of every number of a dataclass, by its name; a replaced number says so."""
    return {
        item.name: {
            "value": getattr(rates, item.name),
            "unit": item.metadata["unit"],
            "source": item.metadata["source"]
            if getattr(rates, item.name) == item.default
            else f"settings (default {item.default})",
        }
        for item in fields(rates)
    }
