"""Files to read: small ROOT trees as an analyst would bring them."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot


@pytest.fixture
def write_tree(tmp_path):
    """A function that writes columns to a TTree of a new file, and says where."""

    def write(name, columns, tree="ntuple"):
        columns = {key: np.asarray(values) for key, values in columns.items()}
        path = tmp_path / name
        with uproot.recreate(path) as file:
            made = file.mktree(tree, {key: values.dtype for key, values in columns.items()})
            if columns and len(next(iter(columns.values()))):
                made.extend(columns)
        return path

    return write


def _write_parquet(path, columns, rows_of_a_group):
    table = pa.table({key: pa.array(list(v) if v.dtype == object else v) for key, v in columns.items()})
    pq.write_table(table, path, row_group_size=rows_of_a_group, write_page_checksum=True)


def _as_awkward(lists):
    return ak.unflatten(np.concatenate(list(lists)), [len(one) for one in lists])


def _write_root(path, columns, rows_of_a_basket, kind):
    columns = {key: _as_awkward(v) if v.dtype == object else v for key, v in columns.items()}
    n = len(next(iter(columns.values())))
    with uproot.recreate(path) as file:
        made = None
        for start in range(0, n, rows_of_a_basket):
            part = {key: values[start : start + rows_of_a_basket] for key, values in columns.items()}
            if made is None and kind == "rntuple":
                made = file.mkrntuple("ntuple", part)
                continue
            if made is None:
                types = {
                    key: v.dtype if isinstance(v, np.ndarray) else f"var * {ak.to_numpy(ak.flatten(v)).dtype}"
                    for key, v in columns.items()
                }
                made = file.mktree("ntuple", types)
            made.extend(part)


@pytest.fixture(params=["ttree", "rntuple", "parquet"])
def write_any(request, tmp_path):
    """A function that writes columns, lists of numbers among them, to a file of each format in turn."""

    def write(name, columns, rows_at_once=40):
        columns = {key: np.asarray(values) for key, values in columns.items()}
        path = tmp_path / f"{name}.{'parquet' if request.param == 'parquet' else 'root'}"
        if request.param == "parquet":
            _write_parquet(path, columns, rows_at_once)
        else:
            _write_root(path, columns, rows_at_once, request.param)
        return path

    write.format = request.param
    return write


@pytest.fixture
def ntuple_columns():
    """A function that makes the columns of a plain ntuple of candidates."""

    def make(n=100, seed=1, run=1):
        rng = np.random.default_rng(seed)
        return {
            "__experiment__": np.full(n, 7, dtype=np.int32),
            "__run__": np.full(n, run, dtype=np.int32),
            "__event__": np.arange(n, dtype=np.uint32),
            "__candidate__": np.zeros(n, dtype=np.int32),
            "Mbc": rng.normal(5.27, 0.02, n).astype(np.float32),
            "deltaE": rng.normal(0, 0.1, n),
            "nTracks": rng.integers(0, 12, n).astype(np.int32),
            "isSignal": rng.integers(0, 2, n).astype(np.float64),
            "flag": rng.random(n) < 0.5,
            "KSFWVariables__bohso00__bc": rng.random(n).astype(np.float32),
            "genM_a": rng.uniform(0.2, 4.7, n),
        }

    return make
