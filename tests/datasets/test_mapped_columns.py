"""Events whose columns lie on disk are the events in memory, to the bit."""

import errno

import numpy as np
import pytest

from darksieve.datasets import mapped_columns
from darksieve.datasets.events import Events, Role, SampleInfo, concatenate
from darksieve.datasets.mapped_columns import keep_on_disk, on_disk, release, select_rows

SIGNAL, BACKGROUND = SampleInfo("alp", Role.SIGNAL), SampleInfo("qed", Role.BACKGROUND)


def part(n, sample, seed, dtype=np.float32, extra=()):
    rng = np.random.default_rng(seed)
    columns = {name: rng.normal(size=n).astype(dtype) for name in ("M_gg", "R2", *extra)}
    return Events(
        columns=columns | {"flag": rng.random(n) > 0.5},
        samples=(sample,),
        sample_index=np.zeros(n, dtype=np.int16),
        weight=rng.random(n),
        mass=np.full(n, 1.0 if sample.role is Role.SIGNAL else np.nan),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        candidate=np.arange(n, dtype=np.int32),
    )


def test_rows_on_disk_equal_those_in_memory_and_are_read_only(tmp_path):
    parts = [part(700, BACKGROUND, 1), part(300, SIGNAL, 2), part(200, BACKGROUND, 3)]
    kept, whole = keep_on_disk(iter(parts), tmp_path), concatenate(parts)
    assert on_disk(kept)
    assert not on_disk(whole)
    assert kept.digest() == whole.digest()
    assert kept.samples == whole.samples
    np.testing.assert_array_equal(kept.label, whole.label)
    with pytest.raises(ValueError, match="read-only"):
        kept["R2"][0] = 1.0
    again = kept.with_weight(kept.weight * 2)  # other fields stay the maps that they are
    assert on_disk(again)
    assert not on_disk(kept.select(np.arange(5)))


def test_nothing_is_left_in_the_folder(tmp_path):
    kept = keep_on_disk([part(10, SIGNAL, 1)], tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(kept) == 10


def test_released_pages_are_read_again(tmp_path):
    events = part(5000, SIGNAL, 1)
    kept = keep_on_disk([events], tmp_path)
    release(kept["R2"], events["R2"])
    np.testing.assert_array_equal(kept["R2"], events["R2"])


def test_a_wider_type_of_a_later_part_widens_the_column(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped_columns, "_ROWS_AT_ONCE", 7)
    parts = [part(20, BACKGROUND, 1), part(30, SIGNAL, 2, np.float64), part(10, BACKGROUND, 3)]
    kept = keep_on_disk(parts, tmp_path)
    assert kept["R2"].dtype == np.float64
    assert kept.digest() == concatenate(parts).digest()


def test_a_column_that_one_part_lacks_is_dropped(tmp_path):
    parts = [part(5, BACKGROUND, 1, extra=["x"]), part(5, SIGNAL, 2, extra=["y"])]
    assert set(keep_on_disk(parts, tmp_path).columns) == {"M_gg", "R2", "flag"}


def test_events_without_rows_have_columns_without_rows(tmp_path):
    kept = keep_on_disk([part(0, SIGNAL, 1)], tmp_path)
    assert len(kept) == 0
    assert kept["R2"].dtype == np.float32
    with pytest.raises(ValueError, match="no events"):
        keep_on_disk([], tmp_path)


def test_one_name_with_two_roles_is_refused(tmp_path):
    with pytest.raises(ValueError, match="two roles"):
        keep_on_disk([part(5, SIGNAL, 1), part(5, SampleInfo("alp", Role.BACKGROUND), 2)], tmp_path)


def test_a_full_disk_is_told_with_its_folder(tmp_path, monkeypatch):
    class Full:
        def __init__(self, **_):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mapped_columns.tempfile, "TemporaryFile", Full)
    with pytest.raises(OSError, match=f"No space left on device: columns cannot be kept in {tmp_path}"):
        keep_on_disk([part(5, SIGNAL, 1)], tmp_path)


def test_the_digest_of_some_rows_is_that_of_the_selected_events():
    events = concatenate([part(50, BACKGROUND, 1), part(50, SIGNAL, 2)])
    rows = events.is_signal
    assert events.digest(rows) == events.select(rows).digest()


def test_selected_rows_stay_where_the_events_are(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped_columns, "_ROWS_AT_ONCE", 7)
    events = concatenate([part(50, BACKGROUND, 1), part(50, SIGNAL, 2)])
    kept = keep_on_disk([events], tmp_path)
    for rows in (events["flag"], np.zeros(100, dtype=bool)):
        chosen = select_rows(kept, rows, tmp_path)
        assert on_disk(chosen) == bool(rows.any())
        assert chosen.digest() == select_rows(events, rows, tmp_path).digest() == events.digest(rows)
