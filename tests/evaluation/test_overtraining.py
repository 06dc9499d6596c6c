import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.overtraining import measure_overtraining


def scores(n, separation, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return rng.normal(separation * y, 1), y, np.ones(n), np.arange(n, dtype=np.uint64)


def test_a_model_that_learnt_by_heart_is_found():
    found = measure_overtraining(0, scores(5000, 2.0, 1), scores(5000, 1.5, 2))
    assert found.difference > 5
    assert found.p_signal < 1e-6
    assert found.p_background > 1e-3


def test_equal_distributions_have_uniform_probabilities():
    drawn = [
        measure_overtraining(0, scores(800, 1.0, 2 * i), scores(800, 1.0, 2 * i + 1), n_bootstrap=2)
        for i in range(200)
    ]
    p = np.array([[d.p_signal, d.p_background] for d in drawn]).ravel()
    # 400 probabilities; the asymptotic formula is conservative by a few percent at this size
    assert np.mean(p < 0.1) == pytest.approx(0.09, abs=4 * np.sqrt(0.09 * 0.91 / len(p)))


def test_weights_count_as_effective_events():
    score, y, _, key = scores(4000, 1.0, 5)
    few = (score, y, np.where(np.arange(4000) < 40, 1.0, 1e-6), key)
    assert measure_overtraining(0, few, scores(4000, 1.0, 6)).p_signal > 1e-3


def test_one_class_alone_is_refused():
    score, _, weight, key = scores(100, 1.0, 7)
    alone = (score, np.ones(100), weight, key)
    with pytest.raises(InputError, match="both signal and background"):
        measure_overtraining(0, alone, alone)
