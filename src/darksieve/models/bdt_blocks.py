"""Trees from blocks: xgboost's quantised matrix of rows that are never all in memory as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from darksieve.models.feature_blocks import FeatureBlocks

EXTERNAL_ABOVE = 20_000_000
"""Rows above which the quantised matrix, too, is kept on disk: 60 instead of 110 MB per million rows."""


class BlockIterator(xgboost.DataIter):
    """Feeds xgboost the chosen rows of feature blocks, in their order.

    Args:
        blocks: The features.
        chosen: Which of their rows, shape (n,).
        labels: 0 or 1 of each row, shape (n,).
        weights: Shape (n,).
        names: Of the features; None for none.
        cache_prefix: Start of the names of xgboost's files, where its matrix is on disk.
    """

    def __init__(
        self,
        blocks: FeatureBlocks,
        chosen: NDArray[np.bool_],
        labels: NDArray,
        weights: NDArray[np.float32],
        names: Sequence[str] | None,
        cache_prefix: str | None = None,
    ) -> None:
        self.blocks = blocks
        self.chosen = chosen
        self.labels = labels
        self.weights = weights
        self.names = None if names is None else list(names)
        self._parts = [part for part in blocks.parts() if chosen[part].any()]
        self._next = 0
        super().__init__(cache_prefix=cache_prefix)

    def reset(self) -> None:
        """Begin again."""
        self._next = 0

    def next(self, input_data: Callable[..., None]) -> bool:
        """Hand over the next block; False at the end."""
        if self._next == len(self._parts):
            return False
        part = self._parts[self._next]
        self._next += 1
        chosen = self.chosen[part]
        input_data(
            data=self.blocks.block(part)[chosen],
            label=self.labels[part][chosen],
            weight=self.weights[part][chosen],
            feature_names=self.names,
        )
        return True


def matrices(
    blocks: FeatureBlocks,
    labels: NDArray,
    weights: NDArray[np.float32],
    validation: NDArray[np.bool_],
    *,
    names: Sequence[str] | None,
    max_bins: int,
    n_threads: int,
    folder: Path | None,
) -> tuple[Any, Any]:
    """Quantised matrices of the rows of the fit and of the validation, which has the fit's bins.

    Args:
        folder: Where the matrices are kept; None for memory.

    Returns:
        Both; None for the validation where it has no rows.
    """
    kind = xgboost.QuantileDMatrix if folder is None else xgboost.ExtMemQuantileDMatrix

    def quantised(chosen: NDArray[np.bool_], what: str, reference: Any = None) -> Any:
        prefix = None if folder is None else str(folder / what)
        rows = BlockIterator(blocks, chosen, labels, weights, names, prefix)
        return kind(rows, max_bin=max_bins, nthread=n_threads, ref=reference)

    train = quantised(~validation, "fit")
    return train, quantised(validation, "validation", train) if validation.any() else None
