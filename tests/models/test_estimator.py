import json
from dataclasses import asdict, fields
from inspect import signature

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import check_estimator

from darksieve.errors import InputError
from darksieve.models.estimator import (
    MODELS,
    PHOTON_FEATURES,
    Classifier,
    balanced_weights,
    check_own_mass,
    classifier_type,
    load_classifier,
    make_classifier,
    parse_options,
)

QUICK = {
    "bdt": {"n_trees": 40, "max_depth": 3, "learning_rate": 0.3},
    "photon_network": {"epochs": 4, "batch_size": 256, "hidden": [8, 8]},
}
each_model = pytest.mark.parametrize("model", MODELS)


def photon_like(n, seed=1):
    """Rows with the units of the photon features; the classes differ in energy and in the cosine."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    X = np.stack(
        [
            rng.uniform(0.2, 9.5, n),
            rng.exponential(1 + 2 * y) + 0.1,
            rng.exponential(2, n) + 0.1,
            rng.uniform(0.5, 5.0, n),
            rng.uniform(-1, 1, n),
            rng.uniform(-1, 1, n),
            np.tanh(rng.normal(0, 2 - y)),
            rng.uniform(0, 1, n),
            rng.uniform(-np.pi, np.pi, n),
        ],
        axis=1,
    )
    return X.astype(np.float32), y


def fitted(model, n=2000, weights=None, **more):
    X, y = photon_like(n)
    held_out = (*photon_like(500, seed=2), None)
    return make_classifier(model, QUICK[model], features=PHOTON_FEATURES, seed=3).fit(
        X, y, weights, validation=held_out, **more
    )


@each_model
def test_every_model_learns(model):
    X, y = photon_like(4000, seed=5)
    classifier = fitted(model)
    assert isinstance(classifier, Classifier)
    probabilities = classifier.predict_proba(X)
    assert probabilities.shape == (4000, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert roc_auc_score(y, probabilities[:, 1]) > 0.75


@each_model
def test_a_loaded_model_gives_the_same_scores(model, tmp_path):
    X, _ = photon_like(10_000, seed=5)
    classifier = fitted(model)
    classifier.save(tmp_path / "model")
    loaded = load_classifier(model, tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    assert tuple(loaded.features) == PHOTON_FEATURES
    assert loaded.history_ == classifier.history_
    assert loaded.get_params() == classifier.get_params()


@each_model
def test_scores_of_a_row_do_not_depend_on_the_rows_beside_it(model):
    X, _ = photon_like(10_000, seed=5)
    classifier = fitted(model)
    scores = classifier.predict_proba(X)
    order = np.random.default_rng(1).permutation(len(X))
    rounding = (
        4 * np.finfo(np.float32).eps
    )  # matrix kernels may sum the rows at the edge of a tile in another order
    np.testing.assert_allclose(classifier.predict_proba(X[order]), scores[order], atol=rounding, rtol=0)
    np.testing.assert_allclose(
        classifier.predict_proba(X[4321:4322]), scores[4321:4322], atol=rounding, rtol=0
    )


@each_model
def test_the_scale_of_the_weights_changes_nothing(model):
    X, _ = photon_like(1000, seed=5)
    weights = np.random.default_rng(1).random(2000)
    one = fitted(model, weights=weights).predict_proba(X)
    np.testing.assert_array_equal(fitted(model, weights=1024 * weights).predict_proba(X), one)
    assert not np.array_equal(fitted(model).predict_proba(X), one)


@each_model
def test_the_same_seed_gives_the_same_model(model):
    X, _ = photon_like(1000, seed=5)
    np.testing.assert_array_equal(fitted(model).predict_proba(X), fitted(model).predict_proba(X))


@each_model
def test_probabilities_are_at_equal_priors_whatever_the_class_sizes(model):
    X, y = photon_like(6000)
    rare = (y == 0) | (np.arange(6000) % 8 == 0)
    classifier = make_classifier(model, QUICK[model], features=PHOTON_FEATURES).fit(X[rare], y[rare])
    mean = [classifier.predict_proba(X[y == label])[:, 1].mean() for label in (0, 1)]
    assert 0.4 < np.mean(mean) < 0.6


@each_model
def test_each_epoch_is_reported(model):
    seen = []
    classifier = fitted(model, on_epoch=lambda epoch, losses: seen.append((epoch, dict(losses))))
    assert [epoch for epoch, _ in seen] == list(range(len(seen)))
    assert set(seen[0][1]) == {"train_loss", "validation_loss"}
    assert [losses for _, losses in seen][: len(classifier.history_)] == classifier.history_
    assert seen[-1][1]["train_loss"] < seen[0][1]["train_loss"]


@each_model
def test_non_finite_rows_and_negative_weights_are_refused(model):
    X, y = photon_like(100)
    bad = X.copy()
    bad[3, 2] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        make_classifier(model, QUICK[model]).fit(bad, y)
    with pytest.raises(ValueError, match="negative"):
        make_classifier(model, QUICK[model]).fit(X, y, np.where(y == 0, -1.0, 1.0))
    with pytest.raises(ValueError, match="one class"):
        make_classifier(model, QUICK[model]).fit(X, np.zeros(100))


def test_trees_take_missing_values_and_the_network_refuses_them():
    X, y = photon_like(100)
    X[3, 2] = np.nan
    assert np.isfinite(make_classifier("bdt", QUICK["bdt"]).fit(X, y).predict_proba(X)).all()
    with pytest.raises(ValueError, match="NaN"):
        make_classifier("photon_network", QUICK["photon_network"]).fit(X, y)


@each_model
def test_options_and_constructor_agree(model):
    keywords = signature(classifier_type(model).__init__).parameters
    for name, value in asdict(parse_options(model)).items():
        assert keywords[name].default == value
    assert set(keywords) - {f.name for f in fields(parse_options(model))} == {
        "self",
        "features",
        "seed",
        "n_threads",
    }


@each_model
def test_inputs_are_not_written_to(model):
    X, y = photon_like(500)
    weights = np.random.default_rng(1).random(500)
    kept = X.copy(), y.copy(), weights.copy()
    make_classifier(model, QUICK[model], features=PHOTON_FEATURES).fit(X, y, weights)
    for array, copy in zip((X, y, weights), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@each_model
def test_damaged_files_are_a_clear_error(model, tmp_path):
    classifier = fitted(model)
    classifier.save(tmp_path)
    weights = next(p for p in tmp_path.iterdir() if p.suffix != ".json")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        load_classifier(model, tmp_path)
    document = next(p for p in tmp_path.iterdir() if p.suffix == ".json")
    document.write_text(json.dumps({"format": "something/9"}))
    with pytest.raises(InputError, match="something/9"):
        load_classifier(model, tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_classifier(model, tmp_path / "absent")


# Rows with weight are not the same as repeated rows: quantile bins, batches and the mean weight of 1 see the
# number of rows.
KNOWN = {"check_sample_weight_equivalence_on_dense_data": "the number of rows matters beside their weights"}


@pytest.mark.slow
@each_model
@pytest.mark.filterwarnings("ignore")
def test_models_pass_the_checks_of_scikit_learn(model):
    options = {
        "bdt": {"n_trees": 20, "max_depth": 3, "learning_rate": 0.3, "min_child_weight": 0.01},
        "photon_network": {"epochs": 20, "batch_size": 32},
    }[model]
    results = check_estimator(make_classifier(model, options), expected_failed_checks=KNOWN, on_fail=None)
    failed = [(r["check_name"], str(r["exception"])) for r in results if r["status"] == "failed"]
    assert not failed
    assert sum(r["status"] == "passed" for r in results) > 40


def test_unknown_options_are_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"bdt\.max_dept: .*'max_depth'"):
        parse_options("bdt", {"max_dept": 3})
    with pytest.raises(InputError, match="photon_network"):
        parse_options("photon_netwrk")


@pytest.mark.parametrize(
    ("model", "options", "word"),
    [
        ("bdt", {"n_trees": 0}, "n_trees"),
        ("bdt", {"max_depth": "deep"}, "deep"),
        ("bdt", {"n_trees": True}, "n_trees"),
        ("bdt", {"row_fraction": 1.5}, "row_fraction"),
        ("bdt", {"device": "tpu"}, "tpu"),
        ("photon_network", {"hidden": []}, "hidden"),
        ("photon_network", {"hidden": [48.5]}, "hidden"),
        ("photon_network", {"learning_rate": -1}, "learning_rate"),
        ("photon_network", {"epochs": 0}, "epochs"),
    ],
)
def test_values_that_make_no_sense_are_refused(model, options, word):
    with pytest.raises(InputError, match=word):
        parse_options(model, options)


def test_options_of_yaml_become_typed():
    options = parse_options("photon_network", {"hidden": [32, 16], "learning_rate": 1e-2, "epochs": 3})
    assert options.hidden == (32, 16)
    assert parse_options("bdt", {"l2": 2}).l2 == 2.0
    with pytest.raises(InputError, match="BdtOptions"):
        parse_options("bdt", options)


def test_the_network_refuses_a_mass_hypothesis_beside_the_reconstructed_mass():
    check_own_mass(PHOTON_FEATURES, "M_gg")
    with pytest.raises(InputError, match="hypothesis"):
        check_own_mass([*PHOTON_FEATURES, "mass_hypothesis"], "M_gg")
    with pytest.raises(InputError, match="own mass"):
        check_own_mass(["E_recoil"], "M_gg")
    X, y = photon_like(100)
    features = [*PHOTON_FEATURES[:-1], "genM_a"]
    with pytest.raises(InputError, match="genM_a"):
        make_classifier("photon_network", QUICK["photon_network"], features=features).fit(X, y)


def test_balanced_weights_have_equal_classes_and_mean_one():
    y = np.array([0, 0, 0, 1])
    weights = balanced_weights(y, np.array([1.0, 2.0, 3.0, 0.1]))
    assert weights[y == 0].sum() == pytest.approx(2)
    assert weights[y == 1].sum() == pytest.approx(2)
    with pytest.raises(ValueError, match="no rows with weight"):
        balanced_weights(y, np.array([1.0, 1.0, 1.0, 0.0]))


def test_the_device_reaches_the_trees(monkeypatch):
    import xgboost

    asked = {}
    train = xgboost.train

    def on_cpu(parameters, *arguments, **keywords):
        asked.update(parameters)
        return train(parameters | {"device": "cpu"}, *arguments, **keywords)  # there need not be a GPU here

    monkeypatch.setattr(xgboost, "train", on_cpu)
    X, y = np.random.default_rng(1).normal(size=(200, 2)), np.arange(200) % 2
    make_classifier("bdt", {"n_trees": 3, "device": "cuda:1"}).fit(X, y)
    assert asked["device"] == "cuda:1"
