import numpy as np
import pytest

from darksieve.models.estimator import MODELS, PHOTON_FEATURES, make_classifier
from darksieve.models.penalty import Penalty
from darksieve.training.decorrelation import rank_correlation

QUICK = {
    "bdt": {"n_trees": 60, "max_depth": 3, "learning_rate": 0.2, "patience": 0},
    "photon_network": {"epochs": 8, "batch_size": 1000},
}


def rows(n=6000, seed=0):
    """Signal and background that differ in an angle, and in a protected variable that a feature tells of."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    protected = np.where(y == 1, rng.normal(0, 0.3, n), rng.uniform(-1, 1, n))
    X = rng.uniform(-0.9, 0.9, (n, len(PHOTON_FEATURES))).astype(np.float32)
    names = list(PHOTON_FEATURES)
    X[:, names.index("M_gg")] = rng.uniform(1, 8, n)
    X[:, names.index("cosHelicity")] = np.clip(rng.normal(0.25 * y, 0.3), -1, 1)
    X[:, names.index("cosThetaRecoil")] = np.clip(np.abs(protected) + rng.normal(0, 0.1, n), 0, 1)
    for energy in ("E_pair1", "E_pair2", "E_recoil"):
        X[:, names.index(energy)] = rng.uniform(1, 5, n)
    return X, y, np.abs(protected)


@pytest.mark.parametrize("model", MODELS)
def test_a_penalty_unlearns_the_protected_variable_in_every_model(model):
    X, y, protected = rows()
    left = []
    for penalty in (None, Penalty(protected[:, None], 5.0)):
        classifier = make_classifier(model, QUICK[model], features=PHOTON_FEATURES, seed=1)
        score = classifier.fit(X, y, penalty=penalty).predict_proba(X)[:, 1]
        background = y == 0
        left.append(abs(rank_correlation(score[background], protected[background])))
    # 3000 rows: a rank correlation has an error of 0.02
    assert left[0] > 0.3
    assert left[1] < 0.5 * left[0]


@pytest.mark.parametrize("model", MODELS)
def test_a_penalty_of_other_rows_is_refused(model):
    X, y, protected = rows(200)
    classifier = make_classifier(model, QUICK[model], features=PHOTON_FEATURES)
    with pytest.raises(ValueError, match="199 rows, X has 200"):
        classifier.fit(X, y, penalty=Penalty(protected[1:, None], 1.0))


def test_its_gradient_concerns_background_alone_and_adds_up_over_variables():
    rng = np.random.default_rng(3)
    score, variables = rng.random(300), rng.normal(size=(300, 2))
    is_background, weight = rng.random(300) < 0.5, np.ones(300)
    value, gradient = Penalty(variables, 2.0)(score, is_background, weight)
    parts = [Penalty(variables[:, [k]], 2.0)(score, is_background, weight) for k in (0, 1)]
    assert value == pytest.approx(parts[0][0] + parts[1][0])
    np.testing.assert_allclose(gradient, parts[0][1] + parts[1][1])
    assert not gradient[~is_background].any()


def test_many_rows_are_sampled_reproducibly():
    rng = np.random.default_rng(4)
    penalty = Penalty(rng.normal(size=(1000, 1)), 1.0, max_rows=100)
    score, everything = rng.random(1000), np.ones(1000, bool)
    drawn = [penalty(score, everything, np.ones(1000), np.random.default_rng(5)) for _ in range(2)]
    assert drawn[0][0] == drawn[1][0]
    assert np.count_nonzero(drawn[0][1]) <= 100


@pytest.mark.parametrize(
    ("variables", "strength"), [([[np.nan]], 1.0), ([1.0], 1.0), ([[1.0]], -1.0), ([[1.0]], np.inf)]
)
def test_bad_penalties_are_refused(variables, strength):
    with pytest.raises(ValueError, match=r"finite|strength"):
        Penalty(np.array(variables), strength)
