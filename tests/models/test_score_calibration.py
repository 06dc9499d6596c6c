"""A calibration makes a score a probability and keeps the order of the events."""

import json
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darksieve.errors import InputError
from darksieve.evaluation.calibration import calibration_curve
from darksieve.models.calibration import EVENTS_PER_STEP, SMALLEST_SLOPE, ScoreCalibration, fit_calibration

both_methods = pytest.mark.parametrize("method", ["isotonic", "sigmoid"])


def drawn(n=20_000, seed=0, distortion=3.0):
    """Scores whose ln odds are ``distortion`` times too far from zero, and labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    z = rng.normal(np.where(label == 1, 1.0, -1.0), np.sqrt(2))  # ln of the ratio of densities is z itself
    return 1 / (1 + np.exp(-distortion * z)), label


@both_methods
def test_calibrated_scores_are_probabilities_on_other_events(method):
    calibration = fit_calibration(method, *drawn())
    score, label = drawn(seed=1)
    before = calibration_curve(score, label)
    after = calibration_curve(calibration(score), label)
    assert before.expected_error > 0.1
    # 20 bins of 1000 events: each share has an error of at most 0.016, their mean distance of 0.012
    assert after.expected_error < 0.02
    pull = (after.score - after.signal_share) / after.error
    # 20 bins: 1 ± sqrt(2/20), and as much again of the calibration's own finite sample
    assert np.mean(pull**2) < 2 + 4 * np.sqrt(2 / 20)


@both_methods
@given(a=st.floats(1e-6, 1 - 1e-6), b=st.floats(1e-6, 1 - 1e-6))
def test_the_order_of_any_two_scores_is_kept(method, a, b):
    calibration = _FITTED[method]
    low, high = sorted((a, b))
    assert calibration(low) <= calibration(high)
    if high - low > 1e-4:
        assert calibration(low) < calibration(high)


_FITTED = {m: fit_calibration(m, *drawn(4000)) for m in ("isotonic", "sigmoid")}


def test_isotonic_steps_do_not_become_ties():
    score, label = drawn(4000)
    calibrated = _FITTED["isotonic"](score)
    distinct = len(np.unique(score.astype(np.float32)))
    # what rounding to float32 makes equal, near 1 above all, is the only loss
    assert len(np.unique(calibrated)) > 0.98 * distinct
    assert len(_FITTED["isotonic"].raw) > 5
    assert label.sum() > EVENTS_PER_STEP


@both_methods
def test_classes_enter_at_equal_weight_whatever_theirs(method):
    score, label = drawn(4000)
    plain = fit_calibration(method, score, label)
    scaled = fit_calibration(method, score, label, np.where(label == 1, 1e-3, 50.0))
    np.testing.assert_allclose(scaled.calibrated, plain.calibrated, rtol=1e-6, atol=1e-6)


@both_methods
def test_a_calibration_is_json_that_gives_the_same_to_the_bit(method):
    calibration = _FITTED[method]
    again = ScoreCalibration.from_json(json.loads(json.dumps(calibration.to_json())))
    score, _ = drawn(1000, seed=3)
    np.testing.assert_array_equal(again(score), calibration(score))


@both_methods
def test_extreme_scores_stay_probabilities_and_missing_ones_missing(method):
    found = _FITTED[method](np.array([0.0, 1e-30, 1.0, np.nan], np.float32))
    assert found.dtype == np.float32
    assert 0 <= found[0] <= found[1] < 0.1
    assert 0.9 < found[2] <= 1
    assert np.isnan(found[3])


def test_a_score_without_information_keeps_its_order_and_says_so(caplog):
    rng = np.random.default_rng(1)
    score = rng.random(4000)
    with caplog.at_level(logging.WARNING, "darksieve"):  # the higher the score the less signal
        calibration = fit_calibration("sigmoid", score, rng.random(4000) > score)
    assert calibration.outer_slope == SMALLEST_SLOPE
    assert "hardly rises" in caplog.text
    few = fit_calibration("isotonic", [0.2, 0.4, 0.6], [0, 1, 0])  # too few for two steps
    assert len(few.raw) == 1
    assert few(0.2) < few(0.6)


def test_steps_of_equal_shares_become_one():
    score, place = np.repeat([0.2, 0.5, 0.8], 100), np.arange(300)
    assert len(fit_calibration("isotonic", score, place % 2).raw) == 1
    found = fit_calibration("isotonic", score, place % 100 < np.where(place < 200, 25, 60))
    assert len(found.raw) == 2
    assert found(0.5) < found(0.8)


def test_what_cannot_be_calibrated_is_refused_with_its_place():
    with pytest.raises(InputError, match=r"fold 1: no signal among the 3 held-out events"):
        fit_calibration("isotonic", [0.1, 0.2, 0.3], [0, 0, 0], place="fold 1")
    with pytest.raises(InputError, match="not probabilities"):
        fit_calibration("sigmoid", [0.1, 1.2], [0, 1])
    with pytest.raises(InputError, match="calibrate is 'platt'"):
        fit_calibration("platt", [0.1, 0.2], [0, 1])
    with pytest.raises(ValueError, match="rises strictly"):
        ScoreCalibration("isotonic", (0.0, 1.0), (1.0, 1.0))
    with pytest.raises(InputError, match=r"here: no calibration"):
        ScoreCalibration.from_json({"method": "sigmoid", "raw": [0.0]}, "here")
