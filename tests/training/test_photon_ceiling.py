"""The photon network against the exact likelihood ratio of the leading order, which nothing can beat."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from darksieve.models.estimator import PHOTON_FEATURES, make_classifier
from darksieve.models.likelihood_ratio import log_likelihood_ratio
from darksieve.training.folds_training import train_bundle

MASSES = (0.5, 2.0, 5.0, 8.0)


def resampled_auc(y, score, multiplicities):
    """AUC for each resampling, rows sorted once; shape (n_resamplings,). Scores of no two rows are equal."""
    order = np.argsort(score, kind="stable")
    signal = y[order] == 1
    aucs = []
    for multiplicity in multiplicities:
        times = multiplicity[order].astype(float)
        below = np.cumsum(np.where(signal, 0, times))
        aucs.append((times * below)[signal].sum() / (times[signal].sum() * below[-1]))
    return np.array(aucs)


def paired_auc_error(y, a, b, rng, n_bootstraps=30):
    """Bootstrap error of the difference of two AUCs on the same rows."""
    multiplicities = rng.poisson(1, (n_bootstraps, len(y)))
    return np.std(resampled_auc(y, a, multiplicities) - resampled_auc(y, b, multiplicities), ddof=1)


@pytest.mark.slow
def test_network_reaches_the_likelihood_ratio_at_every_mass(make_events, generate_pairs):
    events = make_events(120_000, 120_000, low=0.2, high=9.8)
    bundle, _, _ = train_bundle(events, model="photon_network", n_folds=2)
    network = bundle.classifiers[0]
    rng = np.random.default_rng(77)
    for mass in MASSES:
        half_width = 0.04

        def near(rng, n, mass=mass, half_width=half_width):
            return rng.uniform(mass - half_width, mass + half_width, n)

        parts = [generate_pairs(rng, 100_000, is_signal, near) for is_signal in (False, True)]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        y = np.repeat([0, 1], 100_000)
        X = np.stack([columns[name] for name in PHOTON_FEATURES], axis=1).astype(np.float32)
        score = network.predict_proba(X)[:, 1]
        ratio = log_likelihood_ratio(columns, sqrt_s=10.58)
        loss = roc_auc_score(y, ratio) - roc_auc_score(y, score)
        error = paired_auc_error(y, ratio, score, rng)
        assert loss < 0.002 + 2 * error, f"{mass} GeV: {loss:.5f} +- {error:.5f}"
        assert loss > -4 * error, "a classifier better than the likelihood ratio has seen too much"


@pytest.mark.slow
def test_without_matching_the_mass_alone_separates(make_events):
    """Why background takes the signal's mass distribution: else the score says where the candidate is."""
    rng = np.random.default_rng(3)
    events = make_events(20_000, 40_000, low=0.3, high=9.5)
    # Background that piles up at high masses, as it might after a selection.
    keep = events.is_signal | (rng.random(len(events)) < (events["M_gg"] / 9.5) ** 2)
    events = events.select(keep)
    spread = {}
    for matching in ("background_to_signal", "none"):
        _, scores, _ = train_bundle(
            events, model="photon_network", n_folds=2, options={"epochs": 4}, matching=matching
        )
        background = scores.select(scores.is_background)
        low, high = (
            background.score[(background.observable > a) & (background.observable < a + 1)] for a in (2, 8)
        )
        spread[matching] = float(np.mean(low) - np.mean(high))
    assert spread["none"] > 0.2 + spread["background_to_signal"]


def test_quick_generator_and_package_agree_on_the_ratio(generate_pairs, log_likelihood_ratio_of_test):
    rng = np.random.default_rng(8)
    columns = generate_pairs(rng, 2000, False, lambda rng, n: rng.uniform(0.3, 9.5, n))
    ours = log_likelihood_ratio(columns, sqrt_s=10.58)
    theirs = log_likelihood_ratio_of_test(columns)
    difference = ours - theirs
    np.testing.assert_allclose(difference, difference[0], atol=1e-8)


def test_features_are_enough_for_the_ratio(generate_pairs):
    """A linear model of the network's own inputs already orders most pairs: the transforms suit the poles."""
    rng = np.random.default_rng(9)
    parts = [generate_pairs(rng, 4000, s, lambda rng, n: rng.uniform(1.9, 2.1, n)) for s in (False, True)]
    X = np.concatenate([np.stack([p[name] for name in PHOTON_FEATURES], axis=1) for p in parts])
    y = np.repeat([0, 1], 4000)
    options = {"hidden": [1], "epochs": 10, "batch_size": 200}
    network = make_classifier("photon_network", options, features=PHOTON_FEATURES)
    score = network.fit(X[::2], y[::2]).predict_proba(X[1::2])[:, 1]
    columns = {name: np.concatenate([p[name] for p in parts])[1::2] for name in parts[0]}
    ratio = log_likelihood_ratio(columns, sqrt_s=10.58)
    assert roc_auc_score(y[1::2], score) > roc_auc_score(y[1::2], ratio) - 0.03
