"""Rows that are there twice, found with a few bytes for each."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from darksieve.datasets.duplicates import DuplicateSearch, marks_of


def _searched(key, candidate, sizes=()):
    search = DuplicateSearch()
    marks = marks_of(np.asarray(key, np.uint64), np.asarray(candidate, np.int32))
    for part in np.split(marks, np.cumsum(sizes)):
        search.add(part)
    return search.repeated()


def test_duplicates_are_rows_of_the_same_event_and_candidate():
    key, candidate = [5, 5, 6, 5, 6, 5], [0, 1, 0, 0, 0, 0]
    repeated, n_repeats = _searched(key, candidate)
    assert n_repeats == 3
    np.testing.assert_array_equal(
        repeated, np.sort(marks_of(np.array([5, 6], np.uint64), np.zeros(2, np.int32)))
    )
    assert _searched([5, 5, 6], [0, 1, 0])[1] == 0


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=60),
    st.lists(st.integers(0, 9), max_size=8),
)
def test_search_counts_every_repeat_whatever_the_chunks(rows, sizes):
    key = [one for one, _ in rows]
    candidate = [one for _, one in rows]
    repeated, n_repeats = _searched(key, candidate, sizes)
    assert n_repeats == len(rows) - len(set(rows))
    assert len(repeated) == sum(rows.count(row) > 1 for row in set(rows))


def test_memory_of_the_search_is_at_most_ten_bytes_per_row():
    search = DuplicateSearch()
    n_rows, rng = 0, np.random.default_rng(1)
    for n in rng.integers(1, 80_000, 100):  # about 4 million, twice what the search begins with
        search.add(rng.integers(0, 2**63, n).astype(np.uint64))
        n_rows += n
    assert search._marks.nbytes <= 10 * n_rows
