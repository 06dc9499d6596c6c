"""Samples larger than memory, through the chain: candidates on disk, models from blocks, same documents."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot
from sklearn.metrics import roc_auc_score

from darksieve.config_loading import load_config
from darksieve.errors import InputError
from darksieve.models.bundle import Bundle
from darksieve.models.photon_network import PhotonNetwork
from darksieve.workflow import fitting
from darksieve.workflow.candidates_file import write_candidates
from darksieve.workflow.chain import run_chain
from darksieve.workflow.tuning import tune_classifier

N_BACKGROUND, N_SIGNAL = 6000, 4000
CONFIG = """
search: invented
luminosity_fb: 10
samples:
  background: {role: background, files: ["background*.root"], luminosity_fb: 5}
  signal: {role: signal, files: ["signal.root"], mass: genM, n_generated: 8000,
           mass_range: [1.0, 3.0]}
candidates: {select: "x > -4"}
channels: {all: {select: "y < 4"}}
classifiers:
  - {name: trees, model: bdt, features: [x, y, z], folds: 2,
     options: {n_trees: 40, max_depth: 3, learning_rate: 0.3, patience: 0}}
scan: {observable: M, range: [1.0, 3.0], masses: [2.0]}
tracking: {enabled: false}
cache: {enabled: false}
"""


def write(path, n, shift, run, rng):
    columns = {
        "__experiment__": np.full(n, 1, np.int32),
        "__run__": np.full(n, run, np.int32),
        "__event__": np.arange(n, dtype=np.uint32),
        "__candidate__": np.zeros(n, np.int32),
        **{name: rng.normal(shift, 1, n).astype(np.float32) for name in "xyz"},
        "M": rng.uniform(1, 3, n),
    }
    columns["genM"] = columns["M"]
    with uproot.recreate(path) as file:
        file.mktree("ntuple", {name: values.dtype for name, values in columns.items()})
        file["ntuple"].extend(columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(1)
    write(folder / "background1.root", N_BACKGROUND // 2, 0.0, 1, rng)
    write(folder / "background2.root", N_BACKGROUND // 2, 0.0, 2, rng)
    write(folder / "signal.root", N_SIGNAL, 0.5, 3, rng)
    (folder / "search.yaml").write_text(CONFIG)
    return folder


def trained(folder, name, *overrides):
    config = load_config(str(folder / "search.yaml"), overrides)
    run_chain(config, folder / name, "train")
    scores = pq.read_table(folder / name / "scores" / "trees.parquet").to_pandas()
    metrics = json.loads((folder / name / "metrics.json").read_text())
    return scores, metrics["classifiers"]["trees"], Bundle.load(folder / name / "bundles" / "trees")


def test_a_search_of_more_candidates_than_memory_may_hold_gives_the_same_documents(folder, monkeypatch):
    was_on_disk = []

    def watched(events):
        was_on_disk.append(real(events))
        return was_on_disk[-1]

    real = fitting.on_disk
    monkeypatch.setattr(fitting, "on_disk", watched)
    scores, metrics, bundle = trained(folder, "on_disk", "memory.max_candidates=1000")
    assert was_on_disk == [True]
    whole, of_whole, in_memory = trained(folder, "in_memory")
    assert was_on_disk == [True, False]
    for column in set(scores.columns) - {"score"}:
        np.testing.assert_array_equal(scores[column], whole[column])
    assert metrics["auc"] == pytest.approx(of_whole["auc"], abs=3e-3)  # paired scatter of 10 000 rows
    assert bundle.features == in_memory.features
    assert bundle.reading == in_memory.reading
    flows = [json.loads((folder / name / "cut_flow.json").read_text()) for name in ("on_disk", "in_memory")]
    assert flows[0] == flows[1]
    left = [path.name for path in (folder / "on_disk").iterdir() if path.name.startswith((".", "tmp"))]
    assert left in ([], [".lock"])


def network_config(folder, **options):
    trees = """{name: trees, model: bdt, features: [x, y, z], folds: 2,
     options: {n_trees: 40, max_depth: 3, learning_rate: 0.3, patience: 0}}"""
    network = {"name": "network", "model": "photon_network", "features": ["M", "x", "y", "z"], "folds": 2}
    chosen = {"mass_feature": "M", "epochs": 4, "batch_size": 500, "hidden": [16]} | options
    assert trees in CONFIG
    path = folder / "network.yaml"
    path.write_text(CONFIG.replace(trees, json.dumps(network | {"options": chosen})))
    return str(path)


def test_a_network_is_fitted_from_blocks_where_candidates_are_on_disk(folder, monkeypatch):
    fitted = []
    for name in ("fit", "fit_blocks"):
        real = getattr(PhotonNetwork, name)
        monkeypatch.setattr(
            PhotonNetwork, name, lambda *a, real=real, name=name, **k: fitted.append(name) or real(*a, **k)
        )
    tables = {}
    for name, overrides in {
        "network_on_disk": ("memory.max_candidates=1000",),
        "network_in_memory": (),
        "network_of_few": ("memory.max_candidates=3000", "classifiers.0.max_rows=1000"),
    }.items():
        fitted.clear()
        run_chain(load_config(network_config(folder), overrides), folder / name, "train")
        assert set(fitted) == {"fit_blocks" if name == "network_on_disk" else "fit"}
        tables[name] = pq.read_table(folder / name / "scores" / "network.parquet").to_pandas()
    blocks, whole = tables["network_on_disk"], tables["network_in_memory"]
    for column in set(blocks.columns) - {"score"}:
        np.testing.assert_array_equal(blocks[column], whole[column])
    labelled = blocks["label"].notna()
    aucs = [roc_auc_score(table["label"][labelled], table["score"][labelled]) for table in (blocks, whole)]
    assert aucs[0] == pytest.approx(aucs[1], abs=0.01)  # as of another seed: 0.005 of 10 000 rows each
    assert np.abs(blocks["score"] - whole["score"]).max() > 0


def test_what_needs_all_candidates_in_memory_says_so(folder):
    config = load_config(network_config(folder, fine_tune="expected_limit"), ("memory.max_candidates=1000",))
    with pytest.raises(InputError, match=r"network: fine_tune needs its rows in memory.*max_rows"):
        run_chain(config, folder / "fine_tuned", "train")
    config = load_config(network_config(folder), ("memory.max_candidates=1000",))
    with pytest.raises(InputError, match=r"9999 candidates, more than memory\.max_candidates \(1000\)"):
        tune_classifier(config, folder / "tuned", n_trials=1)


def test_few_candidates_of_many_rows_are_taken_into_memory(folder, monkeypatch):
    was_on_disk = []
    real = fitting.on_disk
    monkeypatch.setattr(
        fitting, "on_disk", lambda events: was_on_disk.append(real(events)) or was_on_disk[-1]
    )
    few = ("memory.max_candidates=3000", "candidates.select=x > 0.9")
    scores, _, _ = trained(folder, "few", *few)
    assert 1000 < len(scores) < 3000
    assert was_on_disk == [False]
    whole, _, _ = trained(folder, "few_in_memory", few[1])
    np.testing.assert_array_equal(scores["score"], whole["score"])  # to the bit


@pytest.mark.parametrize("overrides", [(), ("memory.max_candidates=1000",)])
def test_candidates_are_written_with_what_the_run_knows_of_them(folder, overrides, tmp_path):
    config = load_config(str(folder / "search.yaml"), overrides)
    target = tmp_path / "candidates.parquet"
    n_rows = write_candidates(config, tmp_path / "run", target)
    table = pq.read_table(target).to_pandas()
    scores = pq.read_table(tmp_path / "run" / "scores" / "trees.parquet").to_pandas()
    assert len(table) == len(scores) == n_rows
    for written, kept in {"trees_score": "score", "trees_fold": "fold", "event_key": "event_key"}.items():
        np.testing.assert_array_equal(table[written], scores[kept])
    np.testing.assert_array_equal(table["weight"], scores["weight"])
    np.testing.assert_array_equal(np.where(table["chooses"], "choose", "quote"), scores["role"])
    assert table["takes_all"].all()
    assert {"x", "y", "z", "M", "__run__", "__event__", "__candidate__"} <= set(table.columns)
    with pytest.raises(InputError, match="is there already"):
        write_candidates(config, tmp_path / "run", target)
