"""Files to read: small ROOT trees as an analyst would bring them."""

import numpy as np
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
