"""A search whose network goes on with a sensitivity as its loss, from the config to scores."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from darksieve.config_loading import load_config
from darksieve.models.bundle import Bundle
from darksieve.training.history import TrainingHistory
from darksieve.workflow.chain import run_chain

SMALL = [
    "luminosity_fb=2",
    "samples.signal.settings={n_events: 16000, mass_range: [0.8, 3.4]}",
    "samples.qed_3gamma.settings.n_events=60000",
    "classifiers.0.folds=2",
    "classifiers.0.max_rows=10000",
    "scan.range=[1.0, 3.0]",
    "tracking.enabled=false",
]


def small_search(options):
    config = load_config("gamma_alp", [*SMALL, f"classifiers.0.options={options}"])
    kept = {name: sample for name, sample in config.samples.items() if name in ("signal", "qed_3gamma")}
    return config.model_copy(update={"samples": kept})


def entry_of(run):
    return json.loads((run / "metrics.json").read_text())["classifiers"]["photons"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    run = tmp_path_factory.mktemp("plain") / "run"
    run_chain(small_search("{epochs: 3}"), run, "train", workers=1)
    return run


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("loss", ["expected_limit", "punzi"])
def test_a_sensitivity_is_kept_as_the_loss_only_where_held_out_events_gain(loss, plain, tmp_path):
    options = f"{{epochs: 3, fine_tune: {loss}, fine_tune_epochs: 2, background_error: 0.001}}"
    run_chain(small_search(options), tmp_path / "run", "train", workers=1)
    folds = TrainingHistory.load(tmp_path / "run" / "bundles" / "photons" / "training.json").folds
    bundles = [Bundle.load(run / "bundles" / "photons") for run in (plain, tmp_path / "run")]
    X = bundles[0].examples
    for fold, before, after in zip(folds, *(bundle.classifiers for bundle in bundles), strict=True):
        record = fold.fine_tuning
        assert record["loss"] == loss
        assert np.isfinite([record["gain_log_limit"], record["gain_error"]]).all()
        assert record["gain_error"] > 0
        # cross-entropy comes first and is the same; its network is what a refused fine-tuning leaves
        assert [e["train_loss"] for e in fold.epochs[:3]] == [e["train_loss"] for e in before.history_]
        same = np.array_equal(before.predict_proba(X), after.predict_proba(X))
        assert same != record["accepted"]
    scores = pq.read_table(tmp_path / "run" / "scores" / "photons.parquet")["score"].to_numpy()
    assert np.isfinite(scores).all()
    # what is kept gains in the limit, and what it gives up in AUC for that is little
    assert entry_of(tmp_path / "run")["auc"] > entry_of(plain)["auc"] - 0.05
