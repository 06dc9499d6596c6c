"""The entry of a figure, as ``benchmarks.figures`` gathers them."""

from __future__ import annotations

from typing import Any


def entry(
    area: str,
    command: str,
    name: str,
    value: float,
    bar: str | float | None = None,
    peer: str | float | None = None,
    ratio: float | None = None,
    passed: bool | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One figure.

    Args:
        area: What it is of.
        command: How to measure it again.
        name: What was measured, with its unit.
        value: The figure.
        bar: What it shall be; None where it is for information only.
        peer: What it was measured beside.
        ratio: To the peer, or None.
        passed: Whether it is as it shall be; None without a bar.
        more: What else is to be known of it, by name.
    """
    return {
        "area": area,
        "name": name,
        "value": float(f"{value:.6g}"),
        "bar": bar,
        "peer": peer,
        "ratio": None if ratio is None else float(f"{ratio:.6g}"),
        "command": command,
        "passed": None if passed is None else bool(passed),
    } | more
