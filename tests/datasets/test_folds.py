"""Folds and parts."""

import numpy as np
import pytest
from scipy import stats

from darksieve.datasets.folds import fold_of, hash_event_key, in_choose_part, part_of, purpose_of
from darksieve.errors import InputError

N_EVENTS = 60_000
P_MIN = 1e-6  # chance of a false alarm per test


def sequential_key(n=N_EVENTS, run=7):
    """Consecutive event numbers of one run: the least random keys that a file can have."""
    return hash_event_key(
        {
            "__experiment__": np.full(n, 12, dtype=np.int32),
            "__run__": np.full(n, run, dtype=np.int32),
            "__event__": np.arange(n, dtype=np.uint32),
            "__production__": np.zeros(n, dtype=np.int32),
        }
    )


@pytest.mark.parametrize("n_folds", [2, 3, 5, 10, 127])
def test_folds_are_equally_full(n_folds):
    counts = np.bincount(fold_of(sequential_key(), n_folds), minlength=n_folds)
    assert len(counts) == n_folds
    assert stats.chisquare(counts).pvalue > P_MIN


def test_parts_are_halves():
    n_choose = int(in_choose_part(sequential_key()).sum())
    assert stats.binomtest(n_choose, N_EVENTS, 0.5).pvalue > P_MIN


def independent(first, second):
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)
    return stats.chi2_contingency(table).pvalue > P_MIN


def test_fold_and_part_are_independent():
    key = sequential_key()
    assert independent(fold_of(key, 5), in_choose_part(key).astype(int))


def test_salts_give_independent_folds():
    key = sequential_key()
    assert independent(fold_of(key, 5, salt=0), fold_of(key, 5, salt=1))
    assert independent(in_choose_part(key, salt=0).astype(int), in_choose_part(key, salt=1).astype(int))


def test_neighbouring_events_have_independent_folds():
    folds = fold_of(sequential_key(), 4)
    assert independent(folds[:-1], folds[1:])


def test_fold_counts_are_independent_of_each_other():
    key = sequential_key()
    assert independent(fold_of(key, 3), fold_of(key, 4, salt=2))


def test_every_bit_of_the_key_is_fair():
    key = sequential_key()
    counts = np.array([((key >> np.uint64(bit)) & np.uint64(1)).sum() for bit in range(64)])
    z = (counts - N_EVENTS / 2) / np.sqrt(N_EVENTS / 4)
    assert np.abs(z).max() < stats.norm.isf(P_MIN / 128)


def test_different_events_have_different_keys():
    runs = [sequential_key(run=run) for run in range(4)]
    assert len(np.unique(np.concatenate(runs))) == 4 * N_EVENTS


def test_each_column_counts_and_their_order_does_not():
    a, b = np.arange(50), np.arange(50)[::-1].copy()
    key = hash_event_key({"__run__": a, "__event__": b})
    np.testing.assert_array_equal(key, hash_event_key({"__event__": b, "__run__": a}))
    assert not np.any(key == hash_event_key({"__run__": b, "__event__": a}))
    assert not np.any(key == hash_event_key({"__event__": b}))


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.float64])
def test_key_does_not_depend_on_the_type_of_the_branch(dtype):
    values = np.array([0, 1, 5, 2**31 - 1])
    np.testing.assert_array_equal(
        hash_event_key({"__event__": values.astype(dtype)}), hash_event_key({"__event__": values})
    )


def test_key_is_the_same_on_every_machine_and_in_every_version():
    # Frozen on 64-bit little-endian Linux: bundles and scores that were written earlier rely on it.
    key = hash_event_key(
        {"__experiment__": np.array([1003]), "__run__": np.array([0]), "__event__": np.array([42])}
    )
    assert key[0] == 10158000710210631610
    assert fold_of(key, 5)[0] == 0
    assert part_of(key)[0] == "quote"


@pytest.mark.parametrize("bad", [np.nan, 1.5, np.inf, 1e300])
def test_key_that_is_no_whole_number_is_refused(bad):
    with pytest.raises(InputError, match=r"__event__.*row 1"):
        hash_event_key({"__event__": np.array([1.0, bad])})


def test_text_and_nothing_are_refused_as_key():
    with pytest.raises(InputError, match="whole numbers"):
        hash_event_key({"__event__": np.array(["a"])})
    with pytest.raises(InputError, match="no event key"):
        hash_event_key({})


@pytest.mark.parametrize("n_folds", [0, -1, 128])
def test_impossible_number_of_folds_is_refused(n_folds):
    with pytest.raises(ValueError, match="n_folds"):
        fold_of(sequential_key(10), n_folds)


def test_part_names_match_the_mask():
    key = sequential_key(1000)
    np.testing.assert_array_equal(part_of(key) == "choose", in_choose_part(key))
    assert set(part_of(key)) == {"choose", "quote"}


def test_purposes_have_the_fractions_that_were_asked_for():
    purpose = purpose_of(sequential_key(), training=0.7, validation=0.1)
    for name, fraction in (("training", 0.7), ("validation", 0.1), ("test", 0.2)):
        assert stats.binomtest(int((purpose == name).sum()), N_EVENTS, fraction).pvalue > P_MIN
    assert set(purpose_of(sequential_key(100), training=1.0, validation=0.0)) == {"training"}
    assert set(purpose_of(sequential_key(100), training=0.0, validation=0.0)) == {"test"}


def test_purposes_are_independent_of_folds_and_parts_and_of_each_other_by_salt():
    key = sequential_key()
    number = np.unique(purpose_of(key), return_inverse=True)[1]
    assert independent(number, fold_of(key, 5))
    assert independent(number, in_choose_part(key).astype(int))
    assert independent(number, np.unique(purpose_of(key, salt=1), return_inverse=True)[1])


def test_more_training_takes_events_from_validation_and_test_only():
    key = sequential_key()
    fewer, more = purpose_of(key, training=0.5), purpose_of(key, training=0.6)
    assert (more[fewer == "training"] == "training").all()
    assert (fewer[more == "test"] == "test").all()


@pytest.mark.parametrize(("training", "validation"), [(-0.1, 0.2), (0.9, 0.2), (0.5, np.nan)])
def test_fractions_that_cannot_be_are_refused(training, validation):
    with pytest.raises(InputError, match="not negative and at most 1 together"):
        purpose_of(sequential_key(10), training=training, validation=validation)
