"""Batches of rows from feature blocks, shuffled within a buffer: never more than it in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from darksieve.models.feature_blocks import FeatureBlocks

BUFFER_ROWS = 262_144
SEGMENT_ROWS = 1_024  # one page of a float32 column on disk


def block_batches(
    blocks: FeatureBlocks,
    batch_size: int,
    rng: np.random.Generator | None,
    *,
    buffer_rows: int = BUFFER_ROWS,
    segment_rows: int = SEGMENT_ROWS,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp]]]:
    """Features of a batch, shape (n, n_features), and which rows of the blocks they are, shape (n,).

    Shuffled, short segments from all over the rows are drawn in random order into the buffer, whose rows are
    then mixed: signal and background meet in it wherever they lie. Every row comes once.

    Args:
        blocks: Features of the rows.
        batch_size: Rows of a batch; the last one may have fewer.
        rng: Of the order; None to keep the rows' own.
        buffer_rows: Rows in memory at a time.
        segment_rows: Rows that stay together until they are in the buffer.
    """
    n_rows, n_features = blocks.shape
    starts = np.arange(0, n_rows, segment_rows)
    if rng is not None:
        starts = rng.permutation(starts)
    n_segments = max(1, max(buffer_rows, batch_size) // segment_rows)
    left, left_rows = np.empty((0, n_features), np.float32), np.empty(0, np.intp)
    for first in range(0, len(starts), n_segments):
        drawn = np.sort(starts[first : first + n_segments])  # a disk is read from front to back
        rows = (drawn[:, None] + np.arange(segment_rows)).ravel()
        rows = rows[rows < n_rows]
        buffer = np.empty((len(left) + len(rows), n_features), np.float32)
        buffer[: len(left)] = left
        buffer[len(left) :] = blocks.take(rows)
        rows = np.concatenate([left_rows, rows])
        order = np.arange(len(rows)) if rng is None else rng.permutation(len(rows))
        last = first + n_segments >= len(starts)
        n_given = len(rows) if last else len(rows) - len(rows) % batch_size
        for start in range(0, n_given, batch_size):
            some = order[start : min(start + batch_size, n_given)]
            yield buffer[some], rows[some]
        left, left_rows = buffer[order[n_given:]], rows[order[n_given:]]
