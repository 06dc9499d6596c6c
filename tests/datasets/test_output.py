"""Rows written to TTree, RNTuple and Parquet are the rows that are read back."""

import json

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Events, Role, SampleInfo, concatenate
from darksieve.datasets.folds import fold_of, hash_event_key, in_choose_part
from darksieve.datasets.lists import Lists
from darksieve.datasets.output import RowWriter, format_of, write_events
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
from darksieve.datasets.tree_info import Format
from darksieve.errors import InputError

KINDS = {"ttree": ".root", "rntuple": ".root", "parquet": ".parquet"}
each_kind = pytest.mark.parametrize("kind", KINDS)
CLASSES = {"ttree": "TTree", "rntuple": "ROOT::RNTuple"}


def make_events(n, role, seed):
    rng = np.random.default_rng(seed)
    key = {
        "__experiment__": np.full(n, 55, np.int32),
        "__run__": np.full(n, seed, np.int32),
        "__event__": np.arange(n, dtype=np.uint32) // 2,
    }
    columns = {
        "M_gg": rng.uniform(0.2, 4.7, n),
        "KSFWVariables(hso00)": rng.normal(size=n).astype(np.float32),
        "passes": rng.random(n) > 0.5,
        "nTracks": rng.integers(0, 12, n).astype(np.int8),
    }
    return Events(
        columns=key | columns,
        samples=(SampleInfo(f"{role.value} sample", role),),
        sample_index=np.zeros(n, dtype=np.int16),
        weight=rng.exponential(size=n) if role is Role.BACKGROUND else np.full(n, 1e-3),
        mass=np.full(n, 1.5 if role is Role.SIGNAL else np.nan),
        key=hash_event_key(key),
        candidate=np.arange(n, dtype=np.int32) % 2,
    )


BACKGROUND, SIGNAL = make_events(501, Role.BACKGROUND, 1), make_events(300, Role.SIGNAL, 2)


def read_back(path, kind):
    """Columns of a file by uproot and pyarrow themselves."""
    if kind == "parquet":
        table = pq.read_table(path)
        return {name: table[name].to_numpy() for name in table.column_names}, pq.read_metadata(path).metadata
    with uproot.open(path) as file:
        assert file.classnames(cycle=False)["ntuple"] == CLASSES[kind]
        arrays = file["ntuple"].arrays()
        return {n: ak.to_numpy(arrays[n]) for n in arrays.fields}, {b"darksieve": str(file["darksieve"])}


@each_kind
def test_every_column_weight_and_role_comes_back(kind, tmp_path):
    path = tmp_path / f"events{KINDS[kind]}"
    n_rows = write_events(
        (part for part in (BACKGROUND, SIGNAL)),
        path,
        format=kind,
        n_folds=3,
        added=lambda events: {"trees_score": (events["M_gg"] / 5).astype(np.float32)},
    )
    assert n_rows == 801
    columns, about = read_back(path, kind)
    whole = concatenate([BACKGROUND, SIGNAL])
    hso = "KSFWVariables(hso00)" if kind == "parquet" else "KSFWVariables__bohso00__bc"
    wanted = {name: whole[name] for name in whole.columns if not name.startswith("KSFW")} | {
        hso: whole["KSFWVariables(hso00)"],
        "__candidate__": whole.candidate,
        "event_key": whole.key,
        "sample": whole.sample_index,
        "label": whole.label,
        "weight": whole.weight,
        "mass": whole.mass,
        "chooses": in_choose_part(whole.key),
        "fold": fold_of(whole.key, 3),
        "trees_score": (whole["M_gg"] / 5).astype(np.float32),
    }
    assert set(columns) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(columns[name], values, err_msg=name)
        assert np.dtype(columns[name].dtype).newbyteorder("=") == values.dtype, name
    samples = [
        {"name": f"{role} sample", "role": role, "process": f"{role} sample", "period": None}
        for role in ("background", "signal")
    ]
    assert json.loads(about[b"darksieve"]) == {"format": "darksieve-rows/1", "samples": samples}
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


@each_kind
def test_what_is_written_is_read_as_a_sample_with_the_same_weights_and_keys(kind, tmp_path):
    path = tmp_path / f"events{KINDS[kind]}"
    write_events(BACKGROUND, path, format=kind)
    sample = Sample("background sample", Role.BACKGROUND, (path,), luminosity_fb=711.0, weight="weight")
    recipe = ReadRecipe(
        ("M_gg", "KSFWVariables(hso00)", "passes", "nTracks"), luminosity_fb=711.0, chunk_rows=100
    )
    again = SampleReader(sample, recipe).read()
    np.testing.assert_array_equal(again.key, BACKGROUND.key)
    np.testing.assert_array_equal(again.candidate, BACKGROUND.candidate)
    np.testing.assert_allclose(again.weight, BACKGROUND.weight, rtol=1e-15)
    for name in recipe.columns:
        np.testing.assert_array_equal(again[name], BACKGROUND[name])


@each_kind
def test_lists_come_back_and_share_their_counter(kind, tmp_path):
    path = tmp_path / f"lists{KINDS[kind]}"
    counts = np.array([2, 0, 3], dtype=np.int32)
    energies = Lists.from_counts(np.arange(5, dtype=np.float32), counts)
    columns = {"nPhoton": counts, "E": energies, "hits": energies.astype(np.int16), "x": np.arange(3.0)}
    with RowWriter(path, format=kind, counters={"E": "nPhoton", "hits": "nPhoton"}) as writer:
        for _ in range(2):
            writer.write(columns)
    assert writer.n_rows == 6
    if kind == "parquet":
        table = pq.read_table(path)
        found = {name: table[name].to_pylist() for name in table.column_names}
    else:
        arrays = uproot.open(path)["ntuple"].arrays()
        found = {name: arrays[name].to_list() for name in arrays.fields}
    lists = [[0, 1], [], [2, 3, 4]] * 2
    assert found == {"nPhoton": [2, 0, 3] * 2, "E": lists, "hits": lists, "x": [0.0, 1.0, 2.0] * 2}


def test_a_counter_of_its_own_does_not_take_the_name_of_a_branch(tmp_path):
    lists = Lists.from_counts(np.arange(3.0), np.array([1, 2]))
    with RowWriter(tmp_path / "a.root") as writer:
        writer.write({"E": lists, "nE": np.array([7, 8])})
    arrays = uproot.open(tmp_path / "a.root")["ntuple"].arrays()
    assert arrays["E"].to_list() == [[0.0], [1.0, 2.0]]
    assert arrays["nE"].to_list() == [7, 8]
    assert arrays["nE_"].to_list() == [1, 2]


@each_kind
def test_a_stream_that_breaks_leaves_no_file(kind, tmp_path):
    def parts():
        yield BACKGROUND
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write_events(parts(), tmp_path / f"a{KINDS[kind]}", format=kind)
    assert list(tmp_path.iterdir()) == []


@each_kind
def test_rows_may_be_none_but_columns_may_not(kind, tmp_path):
    none = BACKGROUND.select(np.arange(0))
    path = tmp_path / f"a{KINDS[kind]}"
    assert write_events([none, BACKGROUND, none], path, format=kind) == len(BACKGROUND)
    assert len(read_back(path, kind)[0]["M_gg"]) == len(BACKGROUND)
    assert write_events(none, tmp_path / f"none{KINDS[kind]}", format=kind) == 0
    with pytest.raises(InputError, match="no rows, and no columns"):
        write_events([], tmp_path / f"b{KINDS[kind]}", format=kind)
    assert not (tmp_path / f"b{KINDS[kind]}").exists()


def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "a.parquet"
    write_events(SIGNAL, path)
    with pytest.raises(InputError, match="is there already"):
        write_events(BACKGROUND, path)
    assert pq.read_metadata(path).num_rows == len(SIGNAL)
    write_events(BACKGROUND, path, overwrite=True)
    assert pq.read_metadata(path).num_rows == len(BACKGROUND)


def test_columns_may_not_change_on_the_way(tmp_path):
    def write(*parts):
        with RowWriter(tmp_path / "a.root") as writer:
            for part in parts:
                writer.write(part)

    with pytest.raises(ValueError, match="'x'"):
        write({"x": np.zeros(2)}, {"x": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match=r"\[2, 3\] rows"):
        write({"x": np.zeros(2), "y": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="'weight'"):
        write_events(SIGNAL.with_columns(weight=SIGNAL.weight), tmp_path / "a.root")


def test_the_suffix_says_the_format():
    assert format_of("a.root") is Format.TTREE
    assert format_of("a.root", "rntuple") is Format.RNTUPLE
    assert format_of("a.parquet") is Format.PARQUET
    with pytest.raises(InputError, match=r"a file of format parquet is named \.parquet"):
        format_of("a.root", "parquet")
    with pytest.raises(InputError, match=r"named \.root"):
        format_of("a.parquet", "ttree")
    with pytest.raises(InputError, match="did you mean 'rntuple'"):
        format_of("a.root", "rntupel")
    with pytest.raises(InputError, match=r"not to '\.h5'"):
        format_of("a.h5")
