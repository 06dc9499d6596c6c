import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.calibration import calibration_curve


def drawn(n=40_000, seed=0):
    """True probabilities at equal priors: p is flat, signal has density 2p, background 2(1-p)."""
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    return p, (rng.random(n) < p).astype(float)


def test_true_probabilities_lie_on_the_diagonal():
    curve = calibration_curve(*drawn())
    pull = (curve.score - curve.signal_share) / curve.error
    assert len(curve.score) == 20
    # the mean squared pull of 20 bins is 1 with a spread of sqrt(2/20)
    assert np.mean(pull**2) == pytest.approx(1, abs=4 * np.sqrt(2 / 20))


def test_overconfident_scores_do_not():
    score, label = drawn()
    curve = calibration_curve(score**2, label)
    assert curve.expected_error > 0.1
    assert (curve.signal_share[1:-1] > curve.score[1:-1]).all()


def test_classes_enter_at_equal_weight_whatever_theirs():
    score, label = drawn()
    scaled = calibration_curve(score, label, np.where(label == 1, 1e-3, 50.0))
    plain = calibration_curve(score, label)
    np.testing.assert_allclose(scaled.signal_share, plain.signal_share, rtol=1e-6)


def test_scores_that_are_all_equal_give_one_bin():
    curve = calibration_curve(np.full(10, 0.5), np.arange(10) % 2)
    assert curve.score.tolist() == [0.5]
    assert curve.expected_error == pytest.approx(0)


@pytest.mark.parametrize(
    ("score", "label", "message"),
    [([0.1, 2.0], [0, 1], "between 0 and 1"), ([0.1, 0.2], [1, 1], "no background")],
)
def test_what_is_no_probability_is_refused(score, label, message):
    with pytest.raises(InputError, match=message):
        calibration_curve(score, label)
