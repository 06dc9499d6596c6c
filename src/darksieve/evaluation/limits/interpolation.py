"""Between the variations at ±1 of a HistFactory model: codes by name, and the coefficients of code 4."""

from __future__ import annotations

import math

import numpy as np

from darksieve.errors import InputError

INTERPOLATION_CODES = {
    "normsys": {"code0": 0, "code1": 1, "code2": 2, "code4": 4},
    "histosys": {"code0": 0, "code2": 2, "code4p": 4},
}
DEFAULT_INTERPOLATION = {"normsys": "code4", "histosys": "code4p"}


def parse_interpolation(text: str | None) -> dict[str, str]:
    """Interpolation codes from ``normsys=code1,histosys=code0``; pyhf's defaults for what is not named.

    Raises:
        InputError: If a modifier or code is unknown.
    """
    codes = dict(DEFAULT_INTERPOLATION)
    for item in (text or "").split(","):
        if not item.strip():
            continue
        modifier, _, code = (part.strip() for part in item.partition("="))
        if modifier not in codes:
            raise InputError(f"interpolation {item!r}: no such modifier; choose from {', '.join(codes)}")
        if code not in INTERPOLATION_CODES[modifier]:
            raise InputError(
                f"interpolation {item!r}: {modifier} takes {', '.join(INTERPOLATION_CODES[modifier])}"
            )
        codes[modifier] = code
    return codes


def code4_coefficients(low: float, high: float) -> list[float]:
    # the sextic 1 + Σ a_i α^i that joins high^α and low^−α at ±1 with two derivatives
    powers = np.arange(1, 7)
    plus, minus = np.ones(6), (-1.0) ** powers
    matrix = np.array(
        [
            plus, minus, powers, powers * (-1.0) ** (powers - 1), powers * (powers - 1),
            powers * (powers - 1) * (-1.0) ** powers,
        ]
    )  # fmt: skip
    up, down = math.log(high), -math.log(low)
    values = [high - 1, low - 1, up * high, down * low, up**2 * high, down**2 * low]
    return [float(value) for value in np.linalg.solve(matrix, values)]
