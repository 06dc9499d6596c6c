import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, norm
from sklearn.metrics import roc_auc_score

from darksieve.errors import InputError
from darksieve.evaluation.distances import kolmogorov_smirnov, sculpting
from darksieve.evaluation.metrics import classifier_metrics
from darksieve.evaluation.separation import (
    auc_by_mass,
    auc_with_error,
    background_efficiency,
    roc_curve,
    weighted_auc,
)


def two_gaussians(n, d, seed):
    rng = np.random.default_rng(seed)
    label = np.repeat([1.0, 0.0], n)
    return rng.normal(size=2 * n) + d * label, label


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_auc_is_scikit_learns_with_weights_and_ties(seed):
    rng = np.random.default_rng(seed)
    n = 60
    score, label, weight = rng.integers(0, 12, n) / 4, rng.integers(0, 2, n), rng.uniform(0.1, 2, n)
    label[:2] = [0, 1]
    expected = roc_auc_score(label, score, sample_weight=weight)
    assert weighted_auc(score, label, weight) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("d", "auc"), [(1.0, 0.7602499), (2.0, 0.9213504)])
def test_auc_of_two_gaussians_within_its_error(d, auc):
    measured = auc_with_error(*two_gaussians(20_000, d, 1))
    assert abs(measured.value - auc) < 4 * measured.error
    # Hanley-McNeil for the error, good to some ten per cent
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    hanley = np.sqrt((auc * (1 - auc) + 19_999 * (q1 + q2 - 2 * auc**2)) / 20_000**2)
    assert measured.error == pytest.approx(hanley, rel=0.4)  # 50 replicates: 10 % each, times four


def test_rows_of_one_event_widen_the_error():
    score, label = two_gaussians(4000, 1.0, 2)
    score, label = np.repeat(score, 4), np.repeat(label, 4)
    key = np.repeat(np.arange(8000, dtype=np.uint64), 4)
    by_row = auc_with_error(score, label).error
    by_event = auc_with_error(score, label, key=key).error
    assert by_event == pytest.approx(2 * by_row, rel=0.45)


def test_background_efficiency_of_two_gaussians():
    left = background_efficiency(*two_gaussians(50_000, 2.0, 3))
    for name, measured in left.items():
        expected = norm.sf(norm.isf(float(name)) + 2.0)
        assert abs(measured.value - expected) < 4 * measured.error
        assert measured.error < 0.06 * expected


def test_roc_goes_from_nothing_to_everything_and_holds_the_auc():
    score, label = two_gaussians(3000, 1.0, 4)
    roc = roc_curve(score, label, n_points=None)
    assert (roc.signal_efficiency[[0, -1]] == [0, 1]).all()
    area = np.trapezoid(roc.signal_efficiency, roc.background_efficiency)
    assert area == pytest.approx(weighted_auc(score, label), abs=1e-12)
    i = len(roc.threshold) // 2
    assert roc.signal_efficiency[i] == pytest.approx((score[label == 1] >= roc.threshold[i]).mean())


def test_weighted_rows_count_like_repeated_ones():
    score, label = two_gaussians(200, 1.0, 5)
    n = np.random.default_rng(5).integers(1, 4, 400)
    repeated = weighted_auc(np.repeat(score, n), np.repeat(label, n))
    assert weighted_auc(score, label, n) == pytest.approx(repeated, abs=1e-12)


def test_rows_without_label_are_left_out():
    score, label = two_gaussians(500, 1.0, 6)
    with_data = weighted_auc(np.append(score, [np.nan, 5.0]), np.append(label, [np.nan, np.nan]))
    assert with_data == weighted_auc(score, label)


def test_distance_is_scipys():
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=300), rng.normal(0.3, size=200)
    assert kolmogorov_smirnov(a, b) == pytest.approx(ks_2samp(a, b).statistic, abs=1e-12)


def test_a_score_that_knows_nothing_of_the_observable_does_not_sculpt_it():
    score, label = two_gaussians(20_000, 1.0, 8)
    observable = np.random.default_rng(8).uniform(size=40_000)
    for s in sculpting(score, label, observable):
        assert (
            s.distance < 2.2 * s.noise
        )  # 99.9 % of the Kolmogorov distribution lies below 2.24 times its mean


def test_a_score_that_is_the_observable_sculpts_it():
    score, label = two_gaussians(5000, 1.0, 9)
    for s in sculpting(score, label, score):
        assert s.distance > 0.99


def test_auc_by_mass_is_that_of_its_windows():
    rng = np.random.default_rng(10)
    score, label = two_gaussians(20_000, 1.0, 10)
    observable = rng.uniform(0, 2, 40_000)
    score = score + label * observable  # better separated at higher mass
    low, high = auc_by_mass(
        score, label, observable, observable, None, None, masses=[0.5, 1.5], half_width=0.2
    )
    assert abs(low.value - norm.cdf(1.5 / np.sqrt(2))) < 5 * low.error
    assert abs(high.value - norm.cdf(2.5 / np.sqrt(2))) < 5 * high.error


@dataclass
class Scores:
    key: np.ndarray
    sample: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    observable: np.ndarray
    fold: np.ndarray
    score: np.ndarray


def test_metrics_of_a_classifier_have_their_documented_keys_and_fit_json():
    score, label = two_gaussians(3000, 1.5, 11)
    rng = np.random.default_rng(11)
    easy = rng.uniform(size=6000) < 0.3
    score = np.where((label == 0) & easy, score - 3, score)
    scores = Scores(
        key=np.arange(6000, dtype=np.uint64),
        sample=np.where(label == 1, "signal", np.where(easy, "easy", "hard")),
        label=label,
        weight=np.ones(6000),
        observable=rng.uniform(size=6000),
        fold=np.arange(6000) % 3,
        score=score,
    )
    entry = json.loads(json.dumps(classifier_metrics(scores, n_bootstrap=20), allow_nan=False))
    assert set(entry) >= {"auc", "auc_error", "folds", "background_efficiency", "by_process", "sculpting"}
    assert [set(f) for f in entry["folds"]] == [{"fold", "auc"}] * 3
    assert set(entry["background_efficiency"]) == {"0.9", "0.7", "0.5"}
    assert entry["by_process"]["easy"]["auc"] > entry["auc"] > entry["by_process"]["hard"]["auc"]
    shares = [p["share_of_background"] for p in entry["by_process"].values()]
    assert sum(shares) == pytest.approx(1)


def test_what_is_left_where_the_scan_looks_is_told_beside_what_is_left_at_all():
    rng = np.random.default_rng(3)
    label = np.repeat([1, 0], 3000)
    far = np.arange(6000) >= 4500  # background beyond the scan, which the score takes for signal
    score = np.where(far, 0.99, rng.normal(size=6000) + label)
    scores = Scores(
        key=np.arange(6000, dtype=np.uint64),
        sample=np.where(label == 1, "signal", "background"),
        label=label,
        weight=np.ones(6000),
        observable=np.where(far, 2.0, 0.5),
        fold=np.arange(6000) % 3,
        score=score,
    )
    own = classifier_metrics(scores, n_bootstrap=20, within=~far)["by_process"]["background"]
    left, error = (own["in_scan"][f"background_efficiency{which}"]["0.9"] for which in ("", "_error"))
    # Φ(1.28 - 1) = 0.61 of a normal background, with the signal a unit higher
    assert abs(left - 0.61) < 5 * error
    assert own["background_efficiency"]["0.9"] == pytest.approx(0.5 + 0.5 * left, abs=0.01)
    assert own["in_scan"]["n_candidates"] == 1500
    nowhere = classifier_metrics(scores, n_bootstrap=5, within=np.zeros(6000, bool))["by_process"][
        "background"
    ]
    assert nowhere["in_scan"] == {
        "n_candidates": 0, "background_efficiency": {}, "background_efficiency_error": {}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("score", "label", "weight", "message"),
    [
        ([0.1, np.nan], [1, 0], [1, 1], "finite scores"),
        ([0.1, 0.2], [1, 0], [1, -1], "weights go down to -1"),
        ([0.1, 0.2], [1, 1], [1, 1], "both signal and background"),
    ],
)
def test_bad_input_is_named(score, label, weight, message):
    with pytest.raises(InputError, match=message):
        weighted_auc(score, label, weight)
