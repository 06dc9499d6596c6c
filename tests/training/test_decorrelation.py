import numpy as np
import pytest

from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.errors import InputError
from darksieve.training.decorrelation import Decorrelation, features_that_tell, rank_correlation
from darksieve.training.folds_training import train_bundle
from darksieve.training.history import TrainingHistory

FEATURES = ("shape", "leak", "other")


@pytest.fixture(scope="module")
def events():
    """A fit variable that separates, a feature that tells of it, and two that do not."""
    rng = np.random.default_rng(0)
    n = 6000
    y = rng.integers(0, 2, n)
    mbc = np.where(y == 1, rng.normal(5.279, 0.003, n), rng.uniform(5.2, 5.29, n))
    columns = {
        "Mbc": mbc,
        "shape": rng.normal(y, 1.0),
        "leak": mbc + rng.normal(0, 0.01, n),
        "other": rng.normal(size=n),
    }
    samples = (SampleInfo("continuum", Role.BACKGROUND), SampleInfo("signal", Role.SIGNAL))
    return Events(
        columns=columns,
        samples=samples,
        sample_index=y.astype(np.int16),
        weight=np.ones(n),
        mass=np.where(y == 1, 1.0, np.nan),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        candidate=np.zeros(n, np.int32),
    )


def trained(events, **decorrelation):
    return train_bundle(
        events,
        model="bdt",
        features=FEATURES,
        n_folds=2,
        options={"n_trees": 40, "max_depth": 3, "learning_rate": 0.2},
        mass_column=None,
        decorrelation=Decorrelation(("Mbc",), **decorrelation),
    )


def left(events, scores):
    background = events.is_background
    return abs(rank_correlation(scores.score[background], events["Mbc"][background]))


@pytest.mark.parametrize("method", ["planing", "penalty", "dropping"])
def test_each_method_leaves_less_of_the_variable_in_the_score(events, method):
    _, nothing, _ = trained(events, method="none")
    _, scores, _ = trained(events, method=method)
    # 3000 rows of background: a rank correlation has an error of 0.02
    assert left(events, nothing) > 0.3
    assert left(events, scores) < 0.6 * left(events, nothing)


def test_dropping_leaves_out_what_tells_and_says_so(events, tmp_path):
    bundle, _, history = trained(events, method="dropping")
    assert bundle.features == ("shape", "other")
    (dropped,) = history.dropped
    assert (dropped.feature, dropped.variable) == ("leak", "Mbc")
    assert dropped.correlation > 0.8
    history.save(tmp_path / "training.json")
    assert TrainingHistory.load(tmp_path / "training.json") == history


def test_dropping_everything_is_refused(events):
    with pytest.raises(InputError, match=r"every feature.*decorrelation\.threshold"):
        features_that_tell(events, ["leak", "Mbc"], Decorrelation(("Mbc",), "dropping"), "classifier bdt")


def test_missing_values_do_not_hide_a_correlation():
    x = np.arange(1000.0)
    holes = np.where(x % 3 == 0, np.nan, x)
    assert rank_correlation(holes, x) == pytest.approx(1)
    assert rank_correlation(np.full(10, np.nan), np.arange(10.0)) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "planning"}, "did you mean 'planing'"),
        ({"strength": -1.0}, "strength"),
        ({"threshold": 0.0}, "threshold"),
    ],
)
def test_bad_settings_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Decorrelation(("Mbc",), **wrong)
