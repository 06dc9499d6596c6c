"""A network fitted to rows that are never all in memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.models.distance_correlation import distance_correlation
from darksieve.models.estimator import make_classifier
from darksieve.models.feature_blocks import FeatureBlocks, feature_matrix
from darksieve.models.penalty import Penalty
from darksieve.models.photon_columns import SET_FEATURES
from darksieve.models.photon_inputs import Moments

PLAIN = ("M_gg", "x", "y")
OPTIONS = {
    "mlp": {"epochs": 4, "batch_size": 200, "hidden": (16,)},
    "attention": {"epochs": 2, "batch_size": 200, "architecture": "attention", "width": 8, "heads": 2},
}


def made(architecture, n=4000, seed=1):
    """Rows with labels and weights; signal is shifted by one in two columns."""
    rng = np.random.default_rng(seed)
    names = PLAIN if architecture == "mlp" else SET_FEATURES
    label = rng.integers(0, 2, n)
    columns = {}
    for name in names:
        if name == "M_gg":
            columns[name] = rng.uniform(1, 3, n)
        elif name.startswith("E_"):
            columns[name] = rng.uniform(0.5, 3, n) + 0.5 * label
        elif name.startswith("cos"):
            columns[name] = rng.uniform(-0.9, 0.9, n)
        elif name.startswith("phi"):
            columns[name] = rng.uniform(-np.pi, np.pi, n)
        else:
            columns[name] = rng.normal(label, 1)
    if architecture == "attention":  # the recoil is not seen in a tenth of the events
        lost = rng.random(n) < 0.1
        for name in ("E_recoil", "cosThetaRecoil", "phi_recoil"):
            columns[name] = np.where(lost, np.nan, columns[name])
    events = Events(
        columns={name: values.astype(np.float32) for name, values in columns.items()},
        samples=(SampleInfo("b", Role.BACKGROUND), SampleInfo("s", Role.SIGNAL)),
        sample_index=label.astype(np.int16),
        weight=rng.exponential(size=n),
        mass=np.full(n, np.nan),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        candidate=np.zeros(n, np.int32),
    )
    blocks = FeatureBlocks(events, tuple(names), np.arange(n), rows_per_block=300)
    return blocks, label, events.weight, rng.random(n) < 0.2


def network(architecture, blocks, **more):
    options = OPTIONS[architecture] | {"device": "cpu"} | more
    return make_classifier("photon_network", options, features=blocks.features, seed=3)


def fitted(architecture, **more):
    blocks, label, weight, validation = made(architecture)
    model = network(architecture, blocks)
    return model.fit_blocks(blocks, label, weight, validation=validation, **more), blocks, label


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 10**6))
def test_moments_of_parts_are_those_of_all_rows(sizes, seed):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(3, 2, (sum(sizes), 4)))
    w = torch.from_numpy(rng.exponential(size=sum(sizes)) * (rng.random(sum(sizes)) < 0.7))
    parts, whole = Moments(), Moments()
    whole.add(x, w)
    for some, of_some in zip(x.split(sizes), w.split(sizes), strict=True):
        parts.add(some, of_some)
    torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(parts.variance, whole.variance, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("architecture", OPTIONS)
def test_inputs_are_standardised_as_from_one_matrix(architecture):
    model, blocks, label = fitted(architecture)
    _, _, weight, validation = made(architecture)
    X = feature_matrix(blocks.events, blocks.features, blocks.rows)
    one = network(architecture, blocks).fit(X[~validation], label[~validation], weight[~validation])
    for name in ("shift", "scale"):
        ours, theirs = (getattr(net.network_, name) for net in (model, one))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", OPTIONS)
def test_rows_from_blocks_train_as_well_as_one_matrix(architecture):
    model, blocks, label = fitted(architecture)
    _, _, weight, validation = made(architecture)
    X = feature_matrix(blocks.events, blocks.features, blocks.rows)
    fit = ~validation
    one = network(architecture, blocks).fit(
        X[fit], label[fit], weight[fit], validation=(X[validation], label[validation], weight[validation])
    )
    fresh, truth, _, _ = made(architecture, seed=2)
    X = feature_matrix(fresh.events, fresh.features, fresh.rows)
    ours, theirs = (roc_auc_score(truth, net.predict_proba(X)[:, 1]) for net in (model, one))
    assert theirs > 0.7
    assert ours == pytest.approx(theirs, abs=0.01)  # the error of one of 4000 rows is 0.007
    assert {"train_loss", "validation_loss"} == set(model.history_[0])


def test_a_fit_that_was_killed_goes_on_to_the_same_numbers(tmp_path):
    def kill(epoch, losses):
        if epoch == 2:
            raise RuntimeError("killed")

    checkpoint = tmp_path / "fit"
    with pytest.raises(RuntimeError, match="killed"):
        fitted("mlp", checkpoint=checkpoint, on_epoch=kill)
    seen = []
    model, blocks, _ = fitted("mlp", checkpoint=checkpoint, on_epoch=lambda epoch, _: seen.append(epoch))
    assert seen == [2, 3]  # the epoch that was killed in its report is not in the checkpoint
    X = feature_matrix(blocks.events, blocks.features, blocks.rows)
    np.testing.assert_array_equal(model.predict_proba(X), fitted("mlp")[0].predict_proba(X))


def test_a_penalty_follows_its_rows_through_the_shuffling():
    """With each row's own variable the score forgets it; with another row's it could not."""
    blocks, label, weight, validation = made("mlp")
    X = feature_matrix(blocks.events, blocks.features, blocks.rows)
    x = X[:, 1].astype(np.float64)
    background = (label == 0) & ~validation
    told = []
    for strength in (0.0, 10.0):
        penalty = Penalty(x[~validation, None], strength)
        model = network("mlp", blocks, epochs=8)
        model.fit_blocks(blocks, label, weight, validation=validation, penalty=penalty)
        score = model.predict_proba(X)[:, 1]
        told.append(distance_correlation(score[background], x[background])[0])
    assert told[1] < 0.2 * told[0]


def test_what_does_not_fit_the_blocks_is_refused():
    blocks, label, weight, validation = made("mlp", n=300)
    model = network("mlp", blocks)
    with pytest.raises(ValueError, match=r"have \[299\] rows, the blocks 300"):
        model.fit_blocks(blocks, label[1:], weight, validation=validation)
    with pytest.raises(ValueError, match="penalty has variables of 300 rows"):
        model.fit_blocks(
            blocks, label, weight, validation=validation, penalty=Penalty(np.zeros((300, 1)), 1.0)
        )
    fit = np.flatnonzero(~validation)
    for value, message in ((np.nan, "NaN in 'x'"), (np.inf, "infinity")):
        x = blocks.events["x"].copy()
        x[fit[-1]] = value
        wrong = FeatureBlocks(blocks.events.with_columns(x=x), blocks.features, blocks.rows, 50)
        with pytest.raises(ValueError, match=message):
            model.fit_blocks(wrong, label, weight, validation=validation)
