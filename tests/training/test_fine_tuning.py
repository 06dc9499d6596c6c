import dataclasses

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.models.bundle import Bundle
from darksieve.models.estimator import PHOTON_FEATURES, PhotonNetworkOptions, make_classifier
from darksieve.training.fine_tuning import fine_tune, held_out_gain, mass_hypotheses
from darksieve.training.folds_training import train_bundle
from darksieve.training.history import TrainingHistory
from darksieve.training.limit_rows import LimitRows

OPTIONS = {
    "hidden": (4,), "epochs": 2, "batch_size": 1000,
    "fine_tune": "expected_limit", "fine_tune_epochs": 3, "fine_tune_rate": 0.01,
}  # fmt: skip


def smeared(events, sigma=0.02):
    """Events with a resolution: what is reconstructed is not what was generated."""
    own = events["M_gg"] + sigma * np.random.default_rng(1).normal(size=len(events))
    return events.with_columns(M_gg=np.maximum(own, 0.01))


@pytest.fixture(scope="module")
def events(make_events):
    return smeared(make_events(6000, 6000))


def train(events, **more):
    settings = {"n_folds": 2, "name": "photons", "validation_share": 0.3} | more
    return train_bundle(events, model="photon_network", **settings)


@pytest.mark.parametrize("loss", ["expected_limit", "punzi"])
def test_a_training_records_what_became_of_the_fine_tuning(events, loss, tmp_path):
    epochs = []
    options = OPTIONS | {"fine_tune": loss}
    bundle, scores, history = train(
        events, options=options, on_epoch=lambda *epoch: epochs.append(epoch[:2]), checkpoint_dir=tmp_path
    )
    assert epochs == [(fold, epoch) for fold in (0, 1) for epoch in range(5)]
    for fold, classifier in zip(history.folds, bundle.classifiers, strict=True):
        tuning = fold.fine_tuning
        assert tuning["loss"] == loss
        gains = tuning["gain_log_limit"] > 2 * tuning["gain_error"]
        assert tuning["accepted"] == (gains and tuning["auc"] > 0.5)
        assert tuning["gain_error"] > 0
        assert len(tuning["epochs"]) == 3
        assert len(classifier.history_) == (5 if tuning["accepted"] else 2)
        assert {"train_loss", "validation_loss"} <= set(tuning["epochs"][0])
    history.save(tmp_path / "training.json")
    assert TrainingHistory.load(tmp_path / "training.json") == history
    bundle.save(tmp_path / "bundle")
    np.testing.assert_array_equal(Bundle.load(tmp_path / "bundle").score(events), scores.score)
    _, again, reused = train(events, options=options, checkpoint_dir=tmp_path)
    assert all(fold.reused for fold in reused.folds)
    np.testing.assert_array_equal(again.score, scores.score)


def test_no_fine_tuning_is_the_network_as_it_was(events):
    plain = {k: v for k, v in OPTIONS.items() if not k.startswith("fine")}
    _, _, history = train(events, options=plain)
    assert all(fold.fine_tuning is None for fold in history.folds)


def separable(n=12_000, seed=3):
    """Features, labels and LimitRows of a narrow signal that one feature tells from background."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    true = rng.uniform(1, 9, n)
    X = np.zeros((n, 3), np.float32)
    X[:, 0] = true + 0.02 * rng.normal(size=n)
    X[:, 1] = rng.normal(size=n) + 1.5 * y
    X[:, 2] = rng.normal(size=n)
    validation = rng.random(n) < 0.4
    rows = LimitRows(np.ones(n), np.where(y == 1, true, np.nan), rng.random(n) < 0.5, 1e5)
    return X, y, validation, rows


def fitted(X, y, validation, epochs=3, learning_rate=0.02):
    network = make_classifier(
        "photon_network",
        {"hidden": (4,), "epochs": epochs, "batch_size": 1000, "learning_rate": learning_rate},
        features=("M_gg", "x", "y"),
    )
    return network.fit(X[~validation], y[~validation], np.ones(np.count_nonzero(~validation)))


def test_a_network_that_knew_nothing_learns_and_is_itself_left_as_it_was():
    X, y, validation, rows = separable()
    network = fitted(X, y, validation, epochs=1, learning_rate=1e-6)
    before = network.logits(X)
    options = PhotonNetworkOptions(fine_tune="expected_limit", fine_tune_epochs=30, fine_tune_rate=0.05)
    tuned, record = fine_tune(network, X, y, np.ones(len(y)), validation, rows, options)
    assert record["accepted"]
    assert np.corrcoef(tuned.logits(X), X[:, 1])[0, 1] > 0.8
    assert record["gain_log_limit"] > 0.1  # the feature alone, a shift of 1.5σ, is worth e^0.4
    np.testing.assert_array_equal(network.logits(X), before)


def test_a_fine_tuning_that_spoils_the_network_is_rejected():
    X, y, validation, rows = separable()
    network = fitted(X, y, validation, epochs=6)
    wrong = dataclasses.replace(rows, yields=rng_yields(rows, y))
    options = PhotonNetworkOptions(fine_tune="punzi", fine_tune_epochs=2, fine_tune_rate=0.5)
    _, record = fine_tune(network, X, y, np.ones(len(y)), validation, wrong, options)
    assert not record["accepted"]


def rng_yields(rows, y):
    """Yields that differ between rows by a factor of up to 100: few of them count."""
    return 10 ** np.random.default_rng(4).uniform(0, 2, len(y))


def test_a_better_score_gains_and_the_same_score_gains_nothing():
    X, y, _, rows = separable()
    own, signal = X[:, 0], y == 1
    hypotheses = mass_hypotheses(own[signal], rows.true_mass[signal], signal_rows_of_a_batch=2000)
    noise = X[:, 1] + 1.5 * np.random.default_rng(5).normal(size=len(y))
    arguments = (own, signal, rows.yields, hypotheses)
    better = held_out_gain(noise, X[:, 1], *arguments, expected_background=1e5)
    worse = held_out_gain(X[:, 1], noise, *arguments, expected_background=1e5)
    same = held_out_gain(X[:, 1], 2 * X[:, 1] + 1, *arguments, expected_background=1e5)
    assert better.accepted
    assert better.value == pytest.approx(-worse.value)
    assert not worse.accepted
    assert same.value == 0
    assert not same.accepted
    # a shift of Δ gains e^{Δ²/2} in s/√b when all of the score is used; noise makes Δ 1.5/√(1 + 1.5²)
    exact = (1.5**2 - 1.5**2 / (1 + 1.5**2)) / 2
    assert 0.5 * exact < better.value < exact  # six categories are not all of it
    cut = held_out_gain(noise, X[:, 1], *arguments, expected_background=1e5, common_cut=True)
    assert cut.accepted
    assert 0.3 * exact < cut.value < better.value  # one cut makes less of a better score


def test_windows_are_two_resolutions_wide_every_half_of_one_and_wider_where_rows_are_few():
    rng = np.random.default_rng(6)
    true = rng.uniform(1, 9, 100_000)
    sigma = 0.01 + 0.001 * true
    own = true + sigma * rng.normal(size=len(true))
    many = mass_hypotheses(own, true, signal_rows_of_a_batch=100_000)
    expected = 0.01 + 0.001 * many.masses
    np.testing.assert_allclose(many.half_width, 2 * expected, rtol=0.12)  # a bin of it has 5000 rows: 1.5 %
    np.testing.assert_array_equal(many.share, 1)
    np.testing.assert_allclose(np.diff(many.masses) / expected[1:], 0.5, rtol=0.12)
    few = mass_hypotheses(own, true, signal_rows_of_a_batch=1000)
    rows = [
        np.count_nonzero(np.abs(own - m) < h) / 100 for m, h in zip(few.masses, few.half_width, strict=True)
    ]
    assert np.median(rows) == pytest.approx(100, rel=0.05)
    np.testing.assert_allclose(few.share * few.half_width, many.half_width, rtol=1e-6)


def test_signal_without_true_mass_is_refused():
    with pytest.raises(InputError, match="true mass"):
        mass_hypotheses(np.ones(10), np.full(10, np.nan), signal_rows_of_a_batch=10)


def test_a_held_out_part_that_judges_nothing_is_refused(events):
    with pytest.raises(InputError, match="validation share"):
        train(events, options=OPTIONS, validation_share=0.0)
    few = events.select(np.arange(0, len(events), 40))
    with pytest.raises(InputError, match="at least 100"):
        train(few, options=OPTIONS)


@pytest.mark.parametrize(
    "bad",
    [{"fine_tune": "auc"}, {"fine_tune_epochs": 0}, {"fine_tune_rate": 1.0}, {"background_error": -0.1}],
)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        make_classifier("photon_network", bad, features=PHOTON_FEATURES)
