"""Events that several processes map are the events that were written, to the bit, and one copy of them."""

import pickle

import numpy as np
import pytest

from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.datasets.mapped_columns import on_disk
from darksieve.datasets.shared_events import SharedEvents

SAMPLES = (SampleInfo("alp", Role.SIGNAL, period="run1"), SampleInfo("qed", Role.BACKGROUND))


def events_of(n):
    rng = np.random.default_rng(4)
    return Events(
        columns={
            "M_gg": rng.normal(size=n).astype(np.float32),
            "KSFWVariables(hso00)": rng.normal(size=n),
            "flag": rng.random(n) > 0.5,
        },
        samples=SAMPLES,
        sample_index=rng.integers(0, 2, n).astype(np.int16),
        weight=rng.random(n),
        mass=np.full(n, np.nan),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        candidate=np.arange(n, dtype=np.int32),
    )


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_mapped_events_are_those_that_were_written(tmp_path, n):
    events = events_of(n)
    sent = pickle.dumps(SharedEvents.write(events, tmp_path))
    mapped = pickle.loads(sent).map()
    assert mapped.digest() == events.digest()
    assert mapped.samples == SAMPLES
    assert list(mapped.columns) == list(events.columns)
    assert {name: v.dtype for name, v in mapped.columns.items()} == {
        name: v.dtype for name, v in events.columns.items()
    }


def test_what_is_sent_does_not_grow_with_the_events_and_nothing_is_copied(tmp_path):
    for n in (10, 10_000):
        (tmp_path / str(n)).mkdir()
    few, many = (SharedEvents.write(events_of(n), tmp_path / str(n)) for n in (10, 10_000))
    assert len(pickle.dumps(many)) < len(pickle.dumps(few)) + 20
    mapped = many.map()
    assert on_disk(mapped)
    assert not mapped.weight.flags.writeable
    assert mapped.weight.base is not None


def test_a_map_outlives_the_name_of_its_file(tmp_path):
    events = events_of(100)
    mapped = SharedEvents.write(events, tmp_path).map()
    for path in tmp_path.iterdir():
        path.unlink()
    assert mapped.digest() == events.digest()
