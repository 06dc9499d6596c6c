"""Rank correlations of features among each other and with the variables that a search scans or fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from darksieve.datasets.events import Events


@dataclass(frozen=True, eq=False)
class RankCorrelations:
    """Spearman's coefficients of one class.

    Attributes:
        names: Columns, shape (n,).
        values: Symmetric with ones on the diagonal; NaN with a constant column, shape (n, n).
        n_rows: Rows that they are from; their error is 1/√n_rows.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    n_rows: int

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, None for NaN."""
        rows = [[round(float(v), 5) if np.isfinite(v) else None for v in row] for row in self.values]
        return {"names": list(self.names), "values": rows, "n_rows": self.n_rows}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> RankCorrelations:
        """What ``to_json`` gave."""
        rows = [[np.nan if v is None else v for v in row] for row in document["values"]]
        return cls(tuple(document["names"]), np.array(rows, np.float64), document["n_rows"])


def rank_correlations(events: Events, names: Sequence[str]) -> RankCorrelations:
    """Of all pairs of columns; missing values rank in the middle, where they pull towards no correlation.

    Args:
        events: Rows of one class; weights are not used.
        names: Columns.
    """
    ranks = np.empty((len(names), len(events)))
    for row, name in zip(ranks, names, strict=True):
        values = np.asarray(events[name], np.float64)
        finite = np.isfinite(values)
        row[:] = 0.0
        if finite.any():
            row[finite] = rankdata(values[finite]) - (finite.sum() + 1) / 2
    with np.errstate(all="ignore"):
        norm = np.sqrt(np.sum(ranks**2, axis=1))
        values = ranks @ ranks.T / np.outer(norm, norm)
    values[np.diag_indices(len(names))] = np.where(norm > 0, 1.0, np.nan)
    return RankCorrelations(tuple(names), values, len(events))
