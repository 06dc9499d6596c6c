"""Scores are added to files of every format; nothing of a file is lost, nothing that is there replaced."""

from dataclasses import replace

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.datasets.folds import fold_of, hash_event_key
from darksieve.errors import InputError
from darksieve.inference import apply_bundle
from darksieve.training.folds_training import train_bundle

N = 3000
READING = {
    "beams": "belle2",
    "event_key": ["__experiment__", "__run__", "__event__"],
    "observable": "M",
    "select": None,
    "pairings": None,
}


def columns_of(n, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n).astype(np.int32)
    return {
        "__experiment__": np.full(n, 1, np.int32),
        "__run__": np.full(n, seed, np.int32),
        "__event__": np.arange(n, dtype=np.uint32),
        "KSFW__boa__bc": rng.normal(size=n).astype(np.float32),
        "y": rng.normal(size=n),
        "M": rng.uniform(1, 3, n),
        "nPhoton": counts,
        "photonE": ak.unflatten(rng.exponential(size=counts.sum()).astype(np.float32), counts),
        "photonHits": ak.unflatten(rng.integers(1, 9, counts.sum()).astype(np.int16), counts),
    }


def events_of(columns, role=Role.DATA):
    n = len(columns["y"])
    flat = {name: columns[name] for name in ("y", "M")} | {"KSFW(a)": columns["KSFW__boa__bc"]}
    return Events(
        columns=flat,
        samples=(SampleInfo(role.value, role),),
        sample_index=np.zeros(n, dtype=np.int16),
        weight=np.ones(n),
        mass=np.full(n, np.nan),
        key=hash_event_key({name: columns[name] for name in READING["event_key"]}),
        candidate=np.zeros(n, dtype=np.int32),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from darksieve.datasets.events import concatenate

    folder = tmp_path_factory.mktemp("inference")
    signal, background = (
        events_of(columns_of(N, 1), Role.SIGNAL),
        events_of(columns_of(N, 2), Role.BACKGROUND),
    )
    signal = signal.with_columns(y=signal["y"] + 1)
    bundle, _, _ = train_bundle(
        concatenate([signal, background]),
        model="bdt",
        features=("KSFW(a)", "y"),
        n_folds=2,
        mass_column=None,
        options={"n_trees": 20, "max_depth": 3, "patience": 0},
        name="trees",
    )
    replace(bundle, reading=READING).save(folder / "trees")
    columns = columns_of(N, 3)
    lists = {name: values.type.content for name, values in columns.items() if isinstance(values, ak.Array)}
    flat = {name: values.dtype for name, values in columns.items() if name not in lists}
    with uproot.recreate(folder / "tree.root") as file:
        file.mktree(
            "ntuple",
            {k: v for k, v in flat.items() if k != "nPhoton"} | lists,
            counter_name=lambda _: "nPhoton",
        )
        file["ntuple"].extend({name: values for name, values in columns.items() if name != "nPhoton"})
    with uproot.recreate(folder / "rntuple.root") as file:
        file.mkrntuple("ntuple", flat | lists).extend(columns)
    arrays = {n: ak.to_arrow(v, extensionarray=False) if n in lists else v for n, v in columns.items()}
    pq.write_table(pa.table(arrays), folder / "table.parquet")
    return folder, bundle, columns


def read(path):
    if path.suffix == ".parquet":
        table = ak.from_parquet(path)
        return table, "Parquet"
    with uproot.open(path) as file:
        return file["ntuple"].arrays(), file.classnames(cycle=False)["ntuple"]


@pytest.mark.parametrize("source", ["tree.root", "rntuple.root", "table.parquet"])
@pytest.mark.parametrize(
    ("target", "kind", "written"),
    [
        ("out.root", "ttree", "TTree"),
        ("out.root", "rntuple", "ROOT::RNTuple"),
        ("out.parquet", None, "Parquet"),
    ],
)
def test_every_format_is_scored_into_every_format_with_its_lists(
    folder, tmp_path, source, target, kind, written
):
    folder, bundle, columns = folder
    (path,) = apply_bundle(folder / "trees", [folder / source], tmp_path / target, format=kind)
    arrays, found = read(path)
    assert found == written
    events = events_of(columns)
    # a TTree has a counter for each branch of lists, where the source names none
    counters = {"nphotonE", "nphotonHits"} if kind == "ttree" and source != "tree.root" else set()
    assert set(arrays.fields) == {*columns, *counters, "trees_score", "trees_fold"}
    np.testing.assert_array_equal(ak.to_numpy(arrays["trees_score"]), bundle.score(events))
    np.testing.assert_array_equal(ak.to_numpy(arrays["trees_fold"]), fold_of(events.key, 2))
    for name, values in columns.items():
        assert ak.all(arrays[name] == values), name
        assert ak.type(ak.flatten(arrays[name], axis=None)) == ak.type(ak.flatten(values, axis=None)), name


@pytest.mark.parametrize(
    ("source", "written"),
    [("tree.root", "TTree"), ("rntuple.root", "ROOT::RNTuple"), ("table.parquet", "Parquet")],
)
def test_a_file_keeps_its_format_in_a_folder(folder, tmp_path, source, written):
    (path,) = apply_bundle(folder[0] / "trees", [folder[0] / source], tmp_path / "out")
    assert path == tmp_path / "out" / source
    assert read(path)[1] == written


def test_a_folder_of_another_format_has_its_suffix(folder, tmp_path):
    sources = [folder[0] / "tree.root", folder[0] / "rntuple.root"]
    paths = apply_bundle(folder[0] / "trees", sources, tmp_path / "out", format="parquet")
    assert [path.name for path in paths] == ["tree.parquet", "rntuple.parquet"]


def test_a_file_that_is_there_is_not_replaced_silently(folder, tmp_path):
    folder, *_ = folder
    target = tmp_path / "out.root"
    target.write_text("precious")
    with pytest.raises(
        InputError, match="is there already; remove it, give another name, or say --overwrite"
    ):
        apply_bundle(folder / "trees", [folder / "tree.root"], target)
    assert target.read_text() == "precious"
    apply_bundle(folder / "trees", [folder / "tree.root"], target, overwrite=True)
    assert read(target)[1] == "TTree"
    with pytest.raises(InputError, match="is an input"):
        apply_bundle(folder / "trees", [target], target, overwrite=True)
    with pytest.raises(InputError, match="it was scored before"):
        apply_bundle(folder / "trees", [target], tmp_path / "again.root")


def test_a_suffix_of_another_format_is_refused(folder, tmp_path):
    folder, *_ = folder
    with pytest.raises(InputError, match="need a folder"):
        apply_bundle(
            folder / "trees", [folder / "tree.root", folder / "rntuple.root"], tmp_path / "a.parquet"
        )
    with pytest.raises(InputError, match=r"named \.parquet"):
        apply_bundle(folder / "trees", [folder / "tree.root"], tmp_path / "a.root", format="parquet")
