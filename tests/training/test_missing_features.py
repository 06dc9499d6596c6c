"""Features that are missing: trees learn from them, networks refuse them."""

import numpy as np
import pytest

from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.errors import InputError
from darksieve.models.bundle import Bundle
from darksieve.training.folds_training import train_bundle

OPTIONS = {"n_trees": 20, "max_depth": 3, "learning_rate": 0.3}


@pytest.fixture
def events():
    """A feature that is missing more often for background, and tells nothing where it is there."""
    rng = np.random.default_rng(8)
    n = 3000
    is_signal = rng.random(n) < 0.5
    x = rng.normal(size=n).astype(np.float32)
    x[rng.random(n) < np.where(is_signal, 0.1, 0.7)] = np.nan
    return Events(
        columns={"x": x, "y": rng.normal(size=n)},
        samples=(SampleInfo("s", Role.SIGNAL), SampleInfo("b", Role.BACKGROUND)),
        sample_index=np.where(is_signal, 0, 1),
        weight=np.ones(n),
        mass=np.where(is_signal, 1.0, np.nan),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        candidate=np.zeros(n),
    )


def fit(events, **more):
    return train_bundle(
        events, model="bdt", features=["x", "y"], n_folds=2, options=OPTIONS, mass_column=None, **more
    )


def test_trees_learn_from_what_is_missing(events, tmp_path):
    bundle, scores, _ = fit(events, missing=["x"])
    missing = np.isnan(events["x"])
    assert np.isfinite(scores.score).all()
    # P(signal | missing) = 0.1 / 0.8, P(signal | there) = 0.9 / 1.2; 750 rows or more in each
    assert scores.score[missing].mean() == pytest.approx(0.125, abs=0.05)
    assert scores.score[~missing].mean() == pytest.approx(0.75, abs=0.05)
    bundle.save(tmp_path / "bundle")
    again = Bundle.load(tmp_path / "bundle")
    assert again.may_be_missing == ("x",)
    np.testing.assert_array_equal(again.score(events), scores.score)


def test_a_feature_that_was_not_declared_must_be_finite(events):
    with pytest.raises(InputError, match=r"feature 'x' is NaN or infinite in \d+ of 3000 rows"):
        fit(events)
    bundle, _, _ = fit(events, missing=["x"])
    spoilt = events.with_columns(y=np.where(np.arange(3000) == 5, np.nan, events["y"]))
    with pytest.raises(InputError, match="feature 'y' is NaN or infinite in 1 of 3000 rows"):
        bundle.score(spoilt)


def test_infinity_is_never_missing(events):
    with pytest.raises(InputError, match="feature 'x' is NaN or infinite in 1 of 3000 rows"):
        fit(events.with_columns(x=np.where(np.arange(3000) == 5, np.inf, events["x"])), missing=["x"])


def test_networks_refuse_what_is_missing(events):
    from darksieve.models.estimator import PHOTON_FEATURES

    rng = np.random.default_rng(8)
    columns = {name: rng.uniform(0.1, 0.9, len(events)) for name in PHOTON_FEATURES}
    columns[PHOTON_FEATURES[1]] = np.where(np.isnan(events["x"]), np.nan, 0.5)
    with pytest.raises(InputError, match=f"feature '{PHOTON_FEATURES[1]}' is missing in .*or use a bdt"):
        train_bundle(
            events.with_columns(**columns),
            model="photon_network",
            n_folds=2,
            missing=[PHOTON_FEATURES[1]],
        )
