import numpy as np
import pyarrow.parquet as pq
import pytest

from darksieve.errors import InputError
from darksieve.models.scores import Scores


def make_scores(n=7, **changes):
    rng = np.random.default_rng(1)
    fields = {
        "key": rng.integers(0, 2**63, n).astype(np.uint64) * 2,
        "candidate": np.arange(n) % 3,
        "sample": np.array(["qed", "alp", "data"])[np.arange(n) % 3],
        "label": np.array([0, 1, np.nan])[np.arange(n) % 3],
        "weight": rng.random(n),
        "mass": np.where(np.arange(n) % 3 == 1, 2.0, np.nan),
        "observable": rng.random(n) * 10,
        "fold": np.arange(n) % 5,
        "part": np.array(["choose", "quote"])[np.arange(n) % 2],
        "score": rng.random(n),
        "event_columns": {"__event__": np.arange(n, dtype=np.int64)},
    }
    return Scores(**(fields | changes))


def columns(scores):
    fields = dict(vars(scores))
    return dict(fields.pop("event_columns")) | fields


def assert_same(a, b):
    for (name, x), y in zip(columns(a).items(), columns(b).values(), strict=True):
        assert x.dtype.kind == y.dtype.kind, name
        np.testing.assert_array_equal(x, y, err_msg=name)


def test_loaded_scores_equal_the_saved(tmp_path):
    scores = make_scores()
    scores.save(tmp_path / "scores" / "photons.parquet")
    assert_same(Scores.load(tmp_path / "scores" / "photons.parquet"), scores)
    assert [p.name for p in (tmp_path / "scores").iterdir()] == ["photons.parquet"]


def test_no_scores_can_be_saved_and_loaded(tmp_path):
    none = make_scores().select(np.zeros(7, dtype=bool))
    none.save(tmp_path / "none.parquet")
    assert len(Scores.load(tmp_path / "none.parquet")) == 0


def test_the_file_has_the_documented_columns(tmp_path):
    make_scores().save(tmp_path / "s.parquet")
    documented = "event_key __candidate__ sample label weight mass observable fold role score __event__"
    assert set(documented.split()) <= set(pq.read_table(tmp_path / "s.parquet").column_names)


def test_plain_string_columns_of_other_writers_are_read(tmp_path):
    make_scores().save(tmp_path / "s.parquet")
    table = pq.read_table(tmp_path / "s.parquet")
    for name in ("sample", "role"):
        at = table.column_names.index(name)
        table = table.set_column(at, name, table[name].cast("string"))
    pq.write_table(table.drop_columns(["is_data"]), tmp_path / "plain.parquet")
    assert_same(Scores.load(tmp_path / "plain.parquet"), make_scores())


def test_selection_keeps_rows_together():
    scores = make_scores()
    some = scores.select(scores.is_signal)
    assert set(some.sample) == {"alp"}
    np.testing.assert_array_equal(some.key, scores.key[scores.label == 1])
    np.testing.assert_array_equal(some.event_columns["__event__"], np.flatnonzero(scores.label == 1))


def test_wrong_pairings_of_signal_are_not_data():
    scores = make_scores(is_data=np.zeros(7, dtype=bool))
    assert np.isnan(scores.label).any()
    assert not scores.is_data.any()


def test_arrays_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        make_scores().score[0] = 1


def test_bad_shapes_and_parts_are_refused():
    with pytest.raises(ValueError, match="score"):
        make_scores(score=np.zeros(3))
    with pytest.raises(ValueError, match="train"):
        make_scores(part=np.full(7, "train"))


def test_a_file_that_is_not_scores_is_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Scores.load(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("not parquet at all")
    with pytest.raises(InputError, match="not a Parquet file"):
        Scores.load(tmp_path / "text.parquet")
    make_scores().save(tmp_path / "s.parquet")
    pq.write_table(pq.read_table(tmp_path / "s.parquet").drop_columns(["score"]), tmp_path / "less.parquet")
    with pytest.raises(InputError, match="score"):
        Scores.load(tmp_path / "less.parquet")
