"""Columns of a preselection: what is cut on together with the score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from darksieve.config import PreselectionConfig
from darksieve.errors import InputError
from darksieve.evaluation.gates import CutVariable
from darksieve.workflow.comparing import finite_variable
from darksieve.workflow.table import CandidateTable

_ROWS_OF_A_RANK, _SAME_ORDER = 20_000, 0.99


def cut_variables(
    preselection: Mapping[str, PreselectionConfig], table: CandidateTable, observable: NDArray[np.float64]
) -> dict[str, CutVariable]:
    """The preselection's columns of the candidates, and between which ends their edges lie.

    Args:
        preselection: Column -> what the config says of its cut.
        table: Candidates of one channel.
        observable: What is scanned, shape (n,).

    Raises:
        InputError: If a column is not finite, or is in the order of what is scanned.
    """
    out = {}
    background = table.is_background
    for name, given in preselection.items():
        place = f"working_points.preselection.{name}"
        values = finite_variable(table, name, place)
        refuse_the_mass(values[background], observable[background], name, place)
        out[name] = CutVariable(values, given.keep, given.low, given.high)
    return out


def refuse_the_mass(values: NDArray, observable: NDArray, name: str, place: str) -> None:
    """Refuse a column in the order of what is scanned: a cut on it would cut the spectrum off."""
    some = slice(None, None, max(len(values) // _ROWS_OF_A_RANK, 1))
    if len(values) < 3 or np.ptp(values[some]) == 0:
        return
    rank = float(spearmanr(values[some], observable[some]).statistic)
    if abs(rank) > _SAME_ORDER:
        raise InputError(
            f"{place}: {name!r} has the order of the scanned observable (rank correlation {rank:.3f} in the"
            " background): a cut on it cuts the spectrum; name another column"
        )
