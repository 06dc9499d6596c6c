import numpy as np
import pytest

from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.evaluation.importance import permutation_importance, shuffled_within
from darksieve.evaluation.separation import weighted_auc


def events(n=8000, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    mass = rng.uniform(0, 10, n)
    columns = {
        "strong": rng.normal(2 * y, 1),
        "weak": rng.normal(0.5 * y, 1),
        "useless": rng.normal(size=n),
        "mass": mass,
        "shifted": 3 * mass + rng.normal(y, 0.5),
    }
    samples = (SampleInfo("b", Role.BACKGROUND), SampleInfo("s", Role.SIGNAL))
    zeros = np.zeros(n, np.int32)
    key = np.arange(n, dtype=np.uint64)
    return Events(columns, samples, y.astype(np.int16), np.ones(n), mass, key, zeros)


def auc(of_events):
    return lambda score: weighted_auc(score, of_events.label)


def test_losses_rank_features_by_what_they_tell():
    some = events()
    found = permutation_importance(
        some,
        ["weak", "strong", "useless"],
        lambda e: 2 * e["strong"] + 0.5 * e["weak"],
        auc(some),
        n_repeats=3,
    )
    loss = {feature.feature: feature.loss[0] for feature in found}
    assert loss["strong"] > 5 * loss["weak"] > 0
    # the score does not use it, so the very same scores come back
    assert loss["useless"] == 0


def test_shuffling_among_neighbours_asks_no_impossible_question():
    some = events()

    def score_of(e):
        return e["shifted"] - 3 * e["mass"]

    anywhere, near = (
        permutation_importance(some, ["shifted"], score_of, auc(some), within=within)[0]
        for within in (None, "mass")
    )
    # with 400 of 8000 rows in a bin the mass is known to 0.14 GeV: the score has lost the class alone
    assert near.merit[0] == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(3 * len(some)) * 2)
    assert anywhere.loss[0] == pytest.approx(near.loss[0], abs=0.05)
    column = np.arange(2000.0)
    moved = np.abs(shuffled_within(column, column, np.random.default_rng(1)) - column)
    assert moved.max() < 400


def test_shuffling_keeps_every_value_and_its_stream():
    values = np.random.default_rng(2).normal(size=1000)
    first, second = (shuffled_within(values, values**2, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), np.sort(values))


def test_a_merit_by_mass_gives_a_loss_by_mass():
    some = events()
    (found,) = permutation_importance(
        some, ["strong"], lambda e: e["strong"], lambda score: [auc(some)(score), 1.0]
    )
    assert found.loss.shape == (2,)
    assert found.loss[1] == 0
    assert found.to_json()["spread"] == [None, None]
