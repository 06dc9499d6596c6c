"""Schema of the columns that a model needs."""

import numpy as np
import pytest

from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.datasets.files import describe
from darksieve.datasets.schema import Schema
from darksieve.errors import InputError


@pytest.fixture
def events():
    return Events(
        columns={
            "R2": np.zeros(2, dtype=np.float32),
            "nTracks": np.zeros(2, dtype=np.int32),
            "name": np.array(["a", "b"]),
        },
        samples=(SampleInfo("x", Role.DATA),),
        sample_index=np.zeros(2),
        weight=np.ones(2),
        mass=np.full(2, np.nan),
        key=np.arange(2, dtype=np.uint64),
        candidate=np.zeros(2),
    )


def test_schema_survives_json(events):
    schema = Schema.of(events, ["nTracks", "R2"])
    assert schema.to_json() == {"nTracks": "int32", "R2": "float32"}
    assert Schema(schema.to_json()) == schema


def test_schema_accepts_its_own_events_and_names_what_others_lack(events):
    Schema.of(events, ["R2", "nTracks"]).check_events(events, "bundle k")
    with pytest.raises(InputError, match="no column 'R3', which bundle k needs; did you mean 'R2'"):
        Schema({"R3": "float32"}).check_events(events, "bundle k")
    with pytest.raises(InputError, match="column 'name' of the events holds no single numbers"):
        Schema({"name": "float32"}).check_events(events, "bundle k")


def test_schema_is_held_against_a_file(write_tree, ntuple_columns):
    tree = describe(write_tree("a.root", ntuple_columns(5)))
    Schema({"KSFWVariables(hso00)": "float32", "Mbc": "float32"}).check_tree(tree, "bundle k")
    with pytest.raises(InputError, match=r"a\.root:ntuple has no branch 'Mbd', which bundle k needs"):
        Schema({"Mbd": "float32"}).check_tree(tree, "bundle k")
