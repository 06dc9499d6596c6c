import json

import numpy as np
import pytest
import torch

from darksieve.models.estimator import PHOTON_FEATURES, make_classifier
from darksieve.models.perceptron import PhotonPerceptron
from darksieve.models.photon_inputs import transform_of
from darksieve.models.photon_network import torch_threads


def rows(n=64):
    rng = np.random.default_rng(4)
    X = rng.uniform(0.1, 0.9, (n, len(PHOTON_FEATURES))).astype(np.float32)
    return X, rng.integers(0, 2, n)


def test_the_smallest_invariants_are_linear_in_the_inputs():
    """ln k = ln E + ln(1 - cos): the poles of |M|² cost the perceptron nothing."""
    energy, cosine = torch.tensor([[0.7], [4.0]]), torch.tensor([[0.93], [-0.9]])
    network = PhotonPerceptron([transform_of("E_pair1"), transform_of("cosTheta_pair1")], [4])
    inputs = network.inputs(torch.cat([energy, cosine], dim=1))
    log_k = (energy * (1 - cosine)).log().squeeze()
    log_k_prime = (energy * (1 + cosine)).log().squeeze()
    torch.testing.assert_close(inputs @ torch.tensor([1.0, 0.0, 1.0, 0.0]), log_k)
    torch.testing.assert_close(inputs @ torch.tensor([1.0, 0.0, 0.0, 1.0]), log_k_prime)


@pytest.mark.parametrize(("feature", "change"), [("cosHelicity", np.negative), ("phiHelicity", np.negative)])
def test_signs_without_information_change_nothing(feature, change):
    X, y = rows()
    options = {"epochs": 1, "hidden": [8]}
    classifier = make_classifier("photon_network", options, features=PHOTON_FEATURES).fit(X, y)
    other = X.copy()
    at = PHOTON_FEATURES.index(feature)
    other[:, at] = change(other[:, at])
    np.testing.assert_allclose(classifier.predict_proba(other), classifier.predict_proba(X), atol=1e-6)


def test_extreme_kinematics_have_finite_scores():
    X, y = rows()
    classifier = make_classifier("photon_network", {"epochs": 1}, features=PHOTON_FEATURES).fit(X, y)
    extreme = np.zeros((3, X.shape[1]), dtype=np.float32)
    extreme[0] = 1.0
    extreme[1] = -1.0
    assert np.isfinite(classifier.predict_proba(extreme)).all()


def test_a_constant_column_does_no_harm():
    X, y = rows()
    X = np.column_stack([X, np.full(len(X), 3.0, dtype=np.float32)])
    features = (*PHOTON_FEATURES, "pair1_clusterTiming")
    classifier = make_classifier("photon_network", {"epochs": 1}, features=features).fit(X, y)
    X[:, -1] = 4.0
    assert np.isfinite(classifier.predict_proba(X)).all()


def test_standardisation_is_stored_in_the_weights(tmp_path):
    X, y = rows()
    classifier = make_classifier("photon_network", {"epochs": 1}, features=PHOTON_FEATURES).fit(X, y)
    classifier.save(tmp_path)
    import safetensors.numpy

    state = safetensors.numpy.load_file(tmp_path / "weights.safetensors")
    inputs = classifier.network_.inputs(torch.from_numpy(X)).numpy()
    weights = np.where(y == 1, 1 / (y == 1).sum(), 1 / (y == 0).sum())
    np.testing.assert_allclose(
        state["shift"], np.average(inputs, axis=0, weights=weights), rtol=1e-4, atol=1e-5
    )
    assert json.loads((tmp_path / "network.json").read_text())["parameters"]["features"][0] == "M_gg"


def test_the_best_epoch_is_kept():
    """With a validation part of shuffled labels the first epochs are the best, and patience ends the fit."""
    X, y = rows(2000)
    y = (X[:, 0] + 0.05 * np.random.default_rng(2).normal(size=2000) > 0.5).astype(int)
    X_val, _ = rows(500)
    y_val = np.random.default_rng(3).integers(0, 2, 500)
    options = {"epochs": 30, "patience": 3, "batch_size": 100}
    classifier = make_classifier("photon_network", options, features=PHOTON_FEATURES)
    classifier.fit(X, y, validation=(X_val, y_val, None))
    losses = [epoch["validation_loss"] for epoch in classifier.history_]
    assert len(losses) == int(np.argmin(losses)) + 4 < 30
    probability = classifier.predict_proba(X_val)[np.arange(500), y_val].astype(float)
    per_class = [-np.log(probability[y_val == label]).mean() for label in (0, 1)]
    assert np.mean(per_class) == pytest.approx(min(losses), rel=1e-4)


def test_the_global_random_state_and_thread_count_are_left_alone():
    X, y = rows()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    before = torch.get_num_threads()
    make_classifier("photon_network", {"epochs": 1}, features=PHOTON_FEATURES).fit(X, y)
    torch.testing.assert_close(torch.rand(3), expected)
    assert torch.get_num_threads() == before
    with torch_threads(1):
        assert torch.get_num_threads() == 1


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_after", [0, 2])
def test_a_killed_fit_goes_on_to_the_same_numbers(tmp_path, killed_after):
    X, y = rows(3000)
    options = {"epochs": 5, "batch_size": 500}
    held_out = (X[:300], y[:300], None)

    def fit(on_epoch=None, checkpoint=None):
        classifier = make_classifier("photon_network", options, features=PHOTON_FEATURES, seed=2)
        return classifier.fit(X, y, validation=held_out, on_epoch=on_epoch, checkpoint=checkpoint)

    def kill(epoch, losses):
        if epoch == killed_after + 1:
            raise KilledError

    whole = fit()
    with pytest.raises(KilledError):
        fit(kill, tmp_path / "c.ckpt")
    seen = []
    resumed = fit(lambda epoch, _: seen.append(epoch), tmp_path / "c.ckpt")
    assert seen == list(range(killed_after + 1, 5))
    assert resumed.history_ == whole.history_
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))
    seen.clear()
    again = fit(lambda epoch, _: seen.append(epoch), tmp_path / "c.ckpt")
    assert seen == []
    np.testing.assert_array_equal(again.predict_proba(X), whole.predict_proba(X))


def test_checkpoints_of_other_rows_or_cut_short_are_not_used(tmp_path):
    X, y = rows(500)
    checkpoint = tmp_path / "c.ckpt"
    seen = []

    def fit(X):
        seen.clear()
        classifier = make_classifier("photon_network", {"epochs": 2}, features=PHOTON_FEATURES)
        classifier.fit(X, y, on_epoch=lambda epoch, _: seen.append(epoch), checkpoint=checkpoint)

    fit(X)
    fit(X + 0.01)
    assert seen == [0, 1]
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    fit(X)
    assert seen == [0, 1]
