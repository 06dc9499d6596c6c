"""The entry of a figure, as ``benchmarks.figures`` gathers them."""

from __future__ import annotations

from typing import Any


def entry(
    area: str,
    command: str,
    name: str,
    value: float,
    bar: str,
    peer: str,
    ratio: float | None,
    passed: bool,
) -> dict[str, Any]:
    """One figure.

    Args:
        area: What it is of.
        command: How to measure it again.
        name: What was measured, with its unit.
        value: The figure.
        bar: What it shall be.
        peer: What it was measured beside.
        ratio: To the peer, or None.
        passed: Whether it is as it shall be.
    """
    return {
        "area": area,
        "name": name,
        "value": float(f"{value:.4g}"),
        "bar": bar,
        "peer": peer,
        "ratio": None if ratio is None else round(ratio, 3),
        "command": command,
        "passed": bool(passed),
    }
