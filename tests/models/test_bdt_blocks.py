"""Trees from blocks are as good as trees from one matrix, with every row used once."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.models.bdt import Bdt
from darksieve.models.bdt_blocks import BlockIterator
from darksieve.models.feature_blocks import FeatureBlocks, feature_matrix
from darksieve.models.penalty import Penalty

FEATURES = ("a", "b", "c", "d")
OPTIONS = {"n_trees": 60, "max_depth": 4, "learning_rate": 0.2, "features": FEATURES, "patience": 0}


def make_events(n, seed):
    rng = np.random.default_rng(seed)
    signal = rng.random(n) < 0.4
    columns = {name: rng.normal(0.3 * i * signal, 1).astype(np.float32) for i, name in enumerate(FEATURES)}
    return Events(
        columns=columns,
        samples=(SampleInfo("background", Role.BACKGROUND), SampleInfo("signal", Role.SIGNAL)),
        sample_index=signal.astype(np.int16),
        weight=rng.exponential(size=n),
        mass=np.full(n, np.nan),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        candidate=np.zeros(n, dtype=np.int32),
    )


EVENTS, TEST = make_events(20_000, 1), make_events(20_000, 2)
ROWS = np.flatnonzero(np.random.default_rng(3).random(len(EVENTS)) < 0.9)
BLOCKS = FeatureBlocks(EVENTS, FEATURES, ROWS, 1024)
X, Y, WEIGHT = feature_matrix(EVENTS, FEATURES, ROWS), EVENTS.is_signal[ROWS], EVENTS.weight[ROWS]
VALIDATION = np.random.default_rng(4).random(len(ROWS)) < 0.2


def test_blocks_hold_every_row_once_and_in_order():
    np.testing.assert_array_equal(np.concatenate([matrix for _, matrix in BLOCKS]), X)
    assert BLOCKS.shape == X.shape
    assert max(len(matrix) for _, matrix in BLOCKS) <= 1024
    assert BLOCKS.digest() == FeatureBlocks(EVENTS, FEATURES, ROWS, 777).digest()
    with pytest.raises(ValueError, match="rise"):
        FeatureBlocks(EVENTS, FEATURES, ROWS[::-1])


def test_the_iterator_gives_the_chosen_rows_once_per_pass():
    weights = WEIGHT.astype(np.float32)
    iterator = BlockIterator(BLOCKS, VALIDATION, Y.astype(np.int8), weights, FEATURES)
    for _ in range(2):
        parts: list[dict] = []
        iterator.reset()
        while iterator.next(lambda parts=parts, **given: parts.append(given)):
            pass
        np.testing.assert_array_equal(np.concatenate([p["data"] for p in parts]), X[VALIDATION])
        np.testing.assert_array_equal(np.concatenate([p["label"] for p in parts]), Y[VALIDATION])
        np.testing.assert_array_equal(np.concatenate([p["weight"] for p in parts]), weights[VALIDATION])


def test_one_block_gives_the_trees_of_one_matrix():
    model = Bdt(**OPTIONS).fit_blocks(
        FeatureBlocks(EVENTS, FEATURES, ROWS, len(ROWS)), Y, WEIGHT, validation=VALIDATION
    )
    fit = ~VALIDATION
    whole = Bdt(**OPTIONS).fit(
        X[fit], Y[fit], WEIGHT[fit], validation=(X[VALIDATION], Y[VALIDATION], WEIGHT[VALIDATION])
    )
    np.testing.assert_array_equal(model.predict_proba(X), whole.predict_proba(X))
    assert model.history_ == whole.history_


@pytest.mark.parametrize("on_disk", [False, True])
def test_many_blocks_separate_as_one_matrix_does(on_disk, tmp_path):
    """Bins and so trees differ a little; the paired scatter of the AUC of 20 000 rows is below 1e-3."""
    blocks = Bdt(**OPTIONS).fit_blocks(
        BLOCKS, Y, WEIGHT, validation=VALIDATION, folder=tmp_path if on_disk else None
    )
    fit = ~VALIDATION
    whole = Bdt(**OPTIONS).fit(X[fit], Y[fit], WEIGHT[fit])
    test = feature_matrix(TEST, FEATURES, slice(None))
    aucs = [roc_auc_score(TEST.is_signal, model.predict_proba(test)[:, 1]) for model in (blocks, whole)]
    assert aucs[0] == pytest.approx(aucs[1], abs=2e-3)
    assert aucs[0] > 0.75
    assert blocks.n_features_in_ == len(FEATURES)


def test_early_stopping_looks_at_the_held_out_rows():
    stopped = Bdt(**OPTIONS | {"n_trees": 400, "patience": 5}).fit_blocks(
        BLOCKS, Y, WEIGHT, validation=VALIDATION
    )
    assert stopped.n_trees_ < 400
    assert "validation_loss" in stopped.history_[0]


def test_a_penalty_of_the_fitted_rows_removes_what_scores_tell():
    variable = X[~VALIDATION][:, 3:].astype(np.float64)
    options = OPTIONS | {"n_trees": 20}
    free = Bdt(**options).fit_blocks(BLOCKS, Y, WEIGHT, validation=VALIDATION)
    held = Bdt(**options).fit_blocks(
        BLOCKS, Y, WEIGHT, validation=VALIDATION, penalty=Penalty(variable, 10.0, 2000)
    )
    background = ~TEST.is_signal
    test = feature_matrix(TEST, FEATURES, slice(None))[background]
    told = [abs(np.corrcoef(model.predict_proba(test)[:, 1], test[:, 3])[0, 1]) for model in (free, held)]
    assert told[1] < 0.5 * told[0]
    with pytest.raises(ValueError, match="the fit has"):
        Bdt(**options).fit_blocks(
            BLOCKS, Y, WEIGHT, validation=VALIDATION, penalty=Penalty(variable[:5], 1.0)
        )


def test_arrays_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="the blocks"):
        Bdt(**OPTIONS).fit_blocks(BLOCKS, Y[:-1], WEIGHT, validation=VALIDATION)
