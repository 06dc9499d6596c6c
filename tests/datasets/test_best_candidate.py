"""The best candidate of each event."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darksieve.datasets.best_candidate import BestCandidate, Multiplicity
from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.errors import InputError

SAMPLES = (SampleInfo("a", Role.SIGNAL), SampleInfo("b", Role.BACKGROUND))
ROW = st.tuples(
    st.integers(0, 1),  # sample
    st.integers(0, 4),  # event
    st.integers(0, 5),  # candidate
    st.sampled_from([0.0, 0.25, 0.5, np.nan]),
    st.booleans(),  # selected
)


def events_of(rows):
    sample, key, candidate, value, _ = (np.array(column) for column in zip(*rows, strict=True))
    return Events(
        columns={"chiProb": value.astype(float), "true": (candidate == 0).astype(float)},
        samples=SAMPLES,
        sample_index=sample,
        weight=np.ones(len(rows)),
        mass=np.ones(len(rows)),
        key=key,
        candidate=candidate,
    )


ROWS = st.lists(ROW, min_size=1, max_size=30, unique_by=lambda row: row[:3])


@given(ROWS, st.sampled_from(["highest", "lowest"]))
def test_best_is_what_a_loop_over_the_events_finds(rows, keep):
    selected = np.array([row[4] for row in rows])
    best = BestCandidate("chiProb", keep).choose(events_of(rows), selected)
    sign = -1 if keep == "highest" else 1
    expected = np.zeros(len(rows), dtype=bool)
    for event in {row[:2] for row in rows}:
        own = [i for i, row in enumerate(rows) if row[:2] == event and row[4]]
        if own:
            worth = {i: np.inf if np.isnan(rows[i][3]) else sign * rows[i][3] for i in own}
            expected[min(own, key=lambda i: (worth[i], rows[i][2]))] = True
    np.testing.assert_array_equal(best, expected)


@given(ROWS, st.randoms())
def test_order_of_the_rows_changes_nothing(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)

    def chosen(some):
        best = BestCandidate("chiProb").choose(events_of(some), np.ones(len(some), dtype=bool))
        return {row[:3] for row, is_best in zip(some, best, strict=True) if is_best}

    assert chosen(rows) == chosen(shuffled)


def test_multiplicity_counts_events_candidates_and_truth():
    rows = [
        (0, 1, 0, 0.9, True),
        (0, 1, 1, 0.1, True),
        (0, 2, 0, 0.2, True),
        (0, 2, 1, 0.3, True),
        (0, 3, 1, 1, True),
    ]
    events = events_of(rows)
    everything = np.ones(5, dtype=bool)
    kept = BestCandidate("chiProb").choose(events, everything)
    counted = Multiplicity.of(events, everything, kept, "true").to_json()
    assert (counted["n_candidates"], counted["n_events"], counted["n_events_with_several"]) == (5, 3, 2)
    assert (counted["most"], counted["n_kept"]) == (2, 3)
    assert counted["candidates_per_event"] == pytest.approx(5 / 3)
    # event 1 keeps its true candidate, event 2 another, event 3 has none
    assert counted["best_is_true"] == pytest.approx(1 / 2)


def test_no_candidate_at_all_is_counted_without_a_division():
    none = np.zeros(1, dtype=bool)
    counted = Multiplicity.of(events_of([(0, 1, 0, 0.5, False)]), none, none, "true").to_json()
    assert counted["n_events"] == 0
    assert counted["candidates_per_event"] is None
    assert counted["best_is_true"] is None


def test_only_highest_and_lowest_are_kept():
    with pytest.raises(InputError, match=r"candidates\.best\.keep is 'first'"):
        BestCandidate("chiProb", "first")
