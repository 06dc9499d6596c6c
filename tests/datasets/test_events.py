"""Events: immutable columns."""

import copy
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from darksieve.datasets.events import Events, Role, SampleInfo, concatenate
from darksieve.errors import InputError

SAMPLES = (SampleInfo("alp", Role.SIGNAL), SampleInfo("qed", Role.BACKGROUND), SampleInfo("data", Role.DATA))


def make(n=6, **changes):
    rng = np.random.default_rng(n)
    fields = {
        "columns": {"M_gg": rng.random(n), "R2": rng.random(n).astype(np.float32), "KSFW(a b)": np.arange(n)},
        "samples": SAMPLES,
        "sample_index": np.arange(n) % 3,
        "weight": rng.random(n),
        "mass": np.where(np.arange(n) % 3 == 0, 2.0, np.nan),
        "key": np.arange(n, dtype=np.uint64),
        "candidate": np.zeros(n, dtype=np.int32),
    }
    return Events(**(fields | changes))


def test_events_cannot_be_changed_and_do_not_change_their_inputs():
    mine = np.arange(6.0)
    events = make(columns={"x": mine})
    with pytest.raises(ValueError, match="read-only"):
        events["x"][0] = 1
    with pytest.raises(TypeError):
        events.columns["y"] = mine
    mine[0] = 7
    assert events["x"][0] == 0


def test_a_view_of_an_array_that_can_be_written_is_copied():
    mine = np.arange(6.0)
    view = mine[:]
    view.flags.writeable = False
    events = make(columns={"x": view})
    mine[0] = 7
    assert events["x"][0] == 0


def test_frozen_columns_are_not_copied_again():
    events = make()
    assert events.with_columns(new=np.zeros(6))["M_gg"] is events["M_gg"]


def test_roles_and_labels():
    events = make()
    np.testing.assert_array_equal(events.label, [1, 0, np.nan] * 2)
    np.testing.assert_array_equal(events.process[:3], ["alp", "qed", "data"])
    paired = events.with_columns(is_true_pair=np.array([True, False, False, False, False, False]))
    np.testing.assert_array_equal(paired.label, [1, 0, np.nan, np.nan, 0, np.nan])


def test_save_and_load_give_the_same_events(tmp_path):
    events = make()
    events.save(tmp_path / "e.parquet")
    again = Events.load(tmp_path / "e.parquet")
    assert again.digest() == events.digest()
    assert again.samples == events.samples
    assert list(again.columns) == list(events.columns)
    assert [v.dtype for v in again.columns.values()] == [v.dtype for v in events.columns.values()]
    assert [path.name for path in tmp_path.iterdir()] == ["e.parquet"]


def test_events_can_be_sent_to_another_process():
    events = make()
    assert copy.deepcopy(events).digest() == events.digest()
    assert ForkingPickler.dumps(events)


def test_bools_and_no_rows_survive_saving(tmp_path):
    events = make().with_columns(flag=np.array([True, False] * 3)).select(np.zeros(0, dtype=int))
    events.save(tmp_path / "e.parquet")
    again = Events.load(tmp_path / "e.parquet")
    assert len(again) == 0
    assert again["flag"].dtype == bool


def test_loading_what_is_no_file_of_events_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        Events.load(tmp_path / "absent.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match="not a Parquet file of events"):
        Events.load(tmp_path / "bad.parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="not a file of events"):
        Events.load(tmp_path / "other.parquet")


def test_reserved_column_names_are_refused_when_saving(tmp_path):
    with pytest.raises(ValueError, match="@weight"):
        make().with_columns(**{"@weight": np.zeros(6)}).save(tmp_path / "e.parquet")


def test_digest_sees_every_part():
    events = make()
    others = [
        events.with_weight(events.weight * 2),
        events.with_columns(M_gg=events["M_gg"] + 1),
        events.select(np.arange(6)[::-1]),
    ]
    assert len({e.digest() for e in [events, *others]}) == 4
    assert make().digest() == events.digest()


def test_concatenation_keeps_rows_and_merges_samples():
    events = make()
    parts = [events.from_sample("qed"), events.from_sample("alp")]
    both = concatenate(parts)
    assert len(both) == 4
    np.testing.assert_array_equal(both.process, ["qed", "qed", "alp", "alp"])
    with pytest.raises(ValueError, match="two roles"):
        concatenate([events, make(samples=(SampleInfo("alp", Role.DATA), *SAMPLES[1:]))])
    with pytest.raises(ValueError, match="columns differ"):
        concatenate([events, events.with_columns(more=np.zeros(6))])


def test_wrong_lengths_and_wrong_indices_are_refused():
    with pytest.raises(ValueError, match="other lengths"):
        make(weight=np.zeros(5))
    with pytest.raises(ValueError, match="sample_index"):
        make(sample_index=np.full(6, 3))
    with pytest.raises(KeyError, match="no column 'R3'"):
        make()["R3"]


def test_matrix_is_single_precision_in_the_order_asked():
    events = make()
    matrix = events.matrix(["R2", "M_gg"])
    assert matrix.shape == (6, 2)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix[:, 0], events["R2"])
