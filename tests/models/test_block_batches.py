"""Batches of rows from blocks: every row once, in an order of the seed, from a bounded buffer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.models.block_batches import block_batches
from darksieve.models.feature_blocks import FeatureBlocks


def blocks_of(n, first=0):
    total = first + 2 * n
    events = Events(
        columns={"row": np.arange(total, dtype=np.float32), "twice": 2 * np.arange(total, dtype=np.float32)},
        samples=(SampleInfo("x", Role.BACKGROUND),),
        sample_index=np.zeros(total, np.int16),
        weight=np.ones(total),
        mass=np.full(total, np.nan),
        key=np.arange(total, dtype=np.uint64),
        candidate=np.zeros(total, np.int32),
    )
    return FeatureBlocks(events, ("row", "twice"), first + 2 * np.arange(n))


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 700),
    batch=st.integers(1, 300),
    buffer=st.integers(1, 400),
    segment=st.integers(1, 100),
    seed=st.none() | st.integers(0, 5),
)
def test_every_row_comes_once_with_its_features_in_whole_batches(n, batch, buffer, segment, seed):
    blocks = blocks_of(n, first=3)
    rng = None if seed is None else np.random.default_rng(seed)
    batches = list(block_batches(blocks, batch, rng, buffer_rows=buffer, segment_rows=segment))
    assert [len(rows) for _, rows in batches] == [batch] * (n // batch) + ([n % batch] if n % batch else [])
    rows = np.concatenate([rows for _, rows in batches])
    np.testing.assert_array_equal(np.sort(rows), np.arange(n))
    if seed is None:
        np.testing.assert_array_equal(rows, np.arange(n))
    X = np.concatenate([X for X, _ in batches])
    np.testing.assert_array_equal(X, np.stack([3 + 2 * rows, 2 * (3 + 2 * rows)], axis=1))


@pytest.mark.parametrize("n", [5_000, 50_000])
def test_no_more_rows_than_the_buffer_are_read_at_once(monkeypatch, n):
    asked = []
    real = FeatureBlocks.take
    monkeypatch.setattr(FeatureBlocks, "take", lambda self, rows: asked.append(rows) or real(self, rows))
    rng = np.random.default_rng(1)
    for _ in block_batches(blocks_of(n), 100, rng, buffer_rows=1000, segment_rows=50):
        pass
    assert max(map(len, asked)) <= 1000
    assert all((np.diff(rows) > 0).all() for rows in asked)  # a disk is read from front to back
    # segments from all over: the first buffer spans the rows, but for chance (20 of them, uniform)
    assert asked[0][0] < n / 2 < asked[0][-1]
