import numpy as np
import pytest
import torch

from darksieve.errors import InputError
from darksieve.models.estimator import make_classifier, may_be_missing, parse_options
from darksieve.models.photon_columns import EXTRA_FEATURES, SET_FEATURES, PhotonLayout
from darksieve.models.photon_set import PhotonSet

FEATURES = (*SET_FEATURES, *EXTRA_FEATURES)
OPTIONS = {"architecture": "attention", "epochs": 2, "batch_size": 200, "width": 8, "heads": 2, "layers": 2}


def events(n=400, seed=1, features=FEATURES):
    """Photons of two to four, with the units of the features; the classes differ in the pair's energy."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    n_photons = rng.integers(2, 5, n)
    columns = {"M_gg": rng.uniform(0.2, 9.5, n)}
    for place, role in enumerate(("pair1", "pair2", "recoil", "extra")):
        lost = n_photons <= place
        columns[f"E_{role}"] = np.where(lost, np.nan, rng.exponential(1 + y * (place < 2), n) + 0.3)
        name = "cosThetaRecoil" if role == "recoil" else f"cosTheta_{role}"
        columns[name] = np.where(lost, np.nan, rng.uniform(-0.95, 0.95, n))
        columns[f"phi_{role}"] = np.where(lost, np.nan, rng.uniform(-np.pi, np.pi, n))
        columns[f"{role}_clusterE1E9"] = np.where(lost, np.nan, rng.uniform(0.1, 0.9, n))
    return np.stack([columns[name] for name in features], axis=1).astype(np.float32), y


def fitted(features=FEATURES, **more):
    X, y = events(features=features)
    return make_classifier("photon_network", OPTIONS | more, features=features, seed=3).fit(X, y)


def exchanged(X, features, first, second):
    """X with the columns of two photons exchanged."""

    def column_of(role, name):
        return "cosThetaRecoil" if (role, name) == ("recoil", "cosTheta_recoil") else name

    other = X.copy()
    for kind in ("E", "cosTheta", "phi"):
        names = [column_of(role, f"{kind}_{role}") for role in (first, second)]
        i, j = (features.index(name) for name in names)
        other[:, [i, j]] = X[:, [j, i]]
    return other


def test_the_score_does_not_know_the_order_of_the_pair():
    X, _ = events(seed=2)
    network = fitted()
    scores = network.predict_proba(X)
    exchanged_scores = network.predict_proba(exchanged(X, FEATURES, "pair1", "pair2"))
    np.testing.assert_allclose(exchanged_scores, scores, atol=2e-6)


def test_the_score_knows_which_photon_recoils():
    X, _ = events(seed=2)
    network = fitted()
    three = np.isfinite(X[:, FEATURES.index("E_recoil")])
    scores = network.predict_proba(X[three])
    assert (
        np.abs(network.predict_proba(exchanged(X, FEATURES, "pair1", "recoil")[three]) - scores).max() > 1e-3
    )


def test_a_rotation_about_the_beams_changes_nothing():
    X, _ = events(seed=2)
    turned = X.copy()
    for role in ("pair1", "pair2", "recoil", "extra"):
        turned[:, FEATURES.index(f"phi_{role}")] += 0.7
    network = fitted()
    np.testing.assert_allclose(network.predict_proba(turned), network.predict_proba(X), atol=1e-5)


def test_events_of_three_photons_have_the_score_of_a_network_of_three():
    """Weights that four photons share act on three as in a network that knows no fourth."""
    torch.manual_seed(5)
    four = PhotonSet(FEATURES, "M_gg", width=8, heads=2, layers=2)
    three = PhotonSet(SET_FEATURES, "M_gg", width=8, heads=2, layers=2)
    three.load_state_dict(four.state_dict())
    X, _ = events()
    X = X[np.isfinite(X[:, FEATURES.index("E_recoil")]) & np.isnan(X[:, FEATURES.index("E_extra")])]
    assert len(X) > 100
    with torch.no_grad():
        of_four = four(torch.from_numpy(X))
        of_three = three(torch.from_numpy(np.ascontiguousarray(X[:, : len(SET_FEATURES)])))
    torch.testing.assert_close(of_four, of_three, atol=1e-6, rtol=1e-5)


def test_what_stands_in_for_an_absent_photon_does_not_matter():
    network = fitted().network_
    X, _ = events(seed=4)
    inputs = network.inputs(torch.from_numpy(X))
    assert torch.isfinite(inputs).all()
    prepared = network.prepare(inputs)
    other = prepared.clone()
    photons, _, _, mask = prepared.split(network.sizes, dim=1)
    absent = mask.repeat_interleave(network.n_variables, dim=1) == 0
    assert absent.any()
    other[:, : photons.shape[1]][absent] = 3.0
    with torch.no_grad():
        torch.testing.assert_close(network.core(other), network.core(prepared), atol=1e-6, rtol=1e-5)


def test_a_photon_of_which_a_value_is_missing_is_absent():
    network = fitted()
    X, _ = events(seed=4)
    X = X[np.isfinite(X[:, FEATURES.index("E_extra")])]
    without, partly = X.copy(), X.copy()
    without[:, [FEATURES.index(name) for name in EXTRA_FEATURES]] = np.nan
    partly[:, FEATURES.index("phi_extra")] = np.nan
    np.testing.assert_array_equal(network.predict_proba(partly), network.predict_proba(without))


def test_photons_share_one_standardisation():
    X, y = events()
    network = fitted().network_
    energies = X[:, [FEATURES.index(f"E_{role}") for role in ("pair1", "pair2", "recoil", "extra")]]
    weights = np.repeat(np.where(y == 1, 1 / (y == 1).sum(), 1 / (y == 0).sum())[:, None], 4, axis=1)
    there = np.isfinite(energies)
    mean = np.average(np.log(energies[there]), weights=weights[there])
    assert float(network.shift[0]) == pytest.approx(mean, rel=1e-4)


def test_a_loaded_set_network_gives_the_same_scores(tmp_path):
    X, _ = events(seed=2)
    network = fitted()
    network.save(tmp_path)
    loaded = type(network).load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(X), network.predict_proba(X))


def test_cluster_variables_of_all_photons_enter():
    roles = ("pair1", "pair2", "recoil", "extra")
    features = (*FEATURES, *(f"{role}_clusterE1E9" for role in roles))
    network = fitted(features)
    X, _ = events(seed=2, features=features)
    changed = X.copy()
    changed[:, features.index("pair2_clusterE1E9")] = 0.2
    assert not np.allclose(network.predict_proba(changed), network.predict_proba(X))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (("M_gg", "E_pair1", "cosTheta_pair1"), "none of pair2"),
        (("M_gg", "E_pair1", "cosTheta_pair1", "E_pair2"), "lack \\['cosTheta_pair2'\\]"),
        ((*FEATURES, "pair1_clusterE1E9"), "pair2_clusterE1E9"),
    ],
)
def test_photons_that_are_not_described_alike_are_refused(features, message):
    with pytest.raises(InputError, match=message):
        PhotonLayout.of(features)


def test_nan_is_refused_where_every_event_has_a_value():
    X, y = events()
    X[7, FEATURES.index("E_pair1")] = np.nan
    with pytest.raises(ValueError, match="NaN in 'E_pair1'"):
        make_classifier("photon_network", OPTIONS, features=FEATURES).fit(X, y)
    network = fitted()
    with pytest.raises(ValueError, match="NaN in 'E_pair1'"):
        network.predict_proba(X)


def test_only_attention_takes_absent_photons():
    absent = ("E_recoil", "cosThetaRecoil", "phi_recoil", *EXTRA_FEATURES)
    assert may_be_missing(parse_options("photon_network", {"architecture": "attention"}), FEATURES) == absent
    assert may_be_missing(parse_options("photon_network"), FEATURES) == ()
    assert may_be_missing(parse_options("bdt"), FEATURES) == ()


def test_attention_needs_names():
    X, y = events()
    with pytest.raises(InputError, match="names of the features"):
        make_classifier("photon_network", OPTIONS).fit(np.nan_to_num(X), y)
