"""Features that tell the scanned variable are found, alone or together, and harmless ones are not accused."""

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.leakage import FEWEST_ROWS, measure_leakage

N = 4000
ERROR = 1 / np.sqrt(N / 2)
NAMES = ("noise", "a", "b")


def features(seed=1):
    rng = np.random.default_rng(seed)
    mass = rng.uniform(0.2, 4.5, N)
    return rng, mass, rng.normal(size=(N, 3)).astype(np.float32)


def test_features_without_a_relation_tell_nothing():
    _, mass, X = features()
    found = measure_leakage(X, NAMES, mass, "M_gg")
    assert abs(found.together) < 5 * ERROR
    assert found.error == pytest.approx(ERROR)
    assert not found.leaks
    assert max(value for _, value in found.features) < 5 * ERROR


def test_a_feature_that_follows_the_mass_is_named():
    rng, mass, X = features()
    X[:, 1] = mass + rng.normal(0, 0.3, N)
    found = measure_leakage(X, NAMES, mass, "M_gg")
    assert found.leaks
    assert found.features[0][0] == "a"
    assert found.features[0][1] > 0.9
    assert found.to_json()["leaks"]


def test_a_relation_that_turns_around_has_no_rank_correlation_but_is_found():
    rng, mass, X = features()
    X[:, 2] = np.abs(mass - 2.35) * np.sign(rng.normal(size=N))
    X[:, 1] = (mass - 2.35) ** 2
    found = measure_leakage(X, NAMES, np.abs(mass - 2.35), "distance")
    assert found.leaks
    assert found.features[0] == ("a", pytest.approx(1, abs=0.01))


def test_features_that_tell_only_together_are_found():
    rng, mass, X = features()
    split = rng.normal(0, 3, N)
    X[:, 1], X[:, 2] = mass + split, -split
    found = measure_leakage(X, NAMES, mass, "M_gg")
    assert found.leaks
    assert found.features[0][1] < found.together


def test_missing_values_are_a_value_like_others():
    _, mass, X = features()
    X[mass > 2.35, 0] = np.nan
    found = measure_leakage(X, NAMES, mass, "M_gg")
    assert found.leaks
    assert found.features[0][0] == "noise"


def test_too_few_events_are_said():
    with pytest.raises(InputError, match=f"{FEWEST_ROWS} are needed"):
        measure_leakage(np.zeros((10, 3), np.float32), NAMES, np.arange(10.0), "M_gg")
