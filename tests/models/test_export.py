import json
import sys

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.models import export
from darksieve.models.bundle import Bundle
from darksieve.models.calibration import fit_calibration
from darksieve.models.estimator import PHOTON_FEATURES, make_classifier, parse_options
from darksieve.models.export import OnnxNetwork, export_onnx
from darksieve.models.photon_columns import EXTRA_FEATURES, SET_FEATURES

ARCHITECTURES = {
    "mlp": (PHOTON_FEATURES, {"epochs": 1, "hidden": [16, 16]}),
    "attention": (
        (*SET_FEATURES, *EXTRA_FEATURES),
        {"architecture": "attention", "epochs": 1, "width": 8, "heads": 2},
    ),
}
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def rows(features, n=3000, seed=1):
    """Random columns with the units of the features; of some events the recoil or the fourth is absent."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.uniform(-0.99, 0.99, n) for name in features}
    columns |= {name: rng.exponential(2, n) + 0.2 for name in features if name.startswith(("E_", "M_"))}
    columns |= {name: rng.uniform(-3.1, 3.1, n) for name in features if name.startswith("phi")}
    columns["cosHelicity"] = np.abs(columns.get("cosHelicity", np.zeros(n)))
    if "E_extra" in features:
        absent = rng.integers(0, 3, n)
        for name in ("E_extra", "cosTheta_extra", "phi_extra"):
            columns[name][absent >= 1] = np.nan
        for name in ("E_recoil", "cosThetaRecoil", "phi_recoil"):
            columns[name][absent >= 2] = np.nan
    return np.stack([columns[name] for name in features], axis=1).astype(np.float32)


def make_bundle(architecture, n_folds=2):
    features, options = ARCHITECTURES[architecture]
    X = rows(features)
    y = (X[:, features.index("E_pair1")] > 1.5).astype(int)
    classifiers = tuple(
        make_classifier("photon_network", options, features=features, seed=k).fit(X, y)
        for k in range(n_folds)
    )
    return Bundle(
        name="photons",
        model="photon_network",
        options=parse_options("photon_network", options),
        features=features,
        classifiers=classifiers,
        schema=dict.fromkeys(features, "float32"),
        mass_column="M_gg",
        mass_range=(0.2, 9.8),
        examples=X[:200],
    )


@each_architecture
def test_graphs_give_the_networks_probabilities_from_physical_units(architecture, tmp_path):
    bundle = make_bundle(architecture)
    parity = export_onnx(bundle, tmp_path)
    assert parity.n_rows == 200
    X = rows(bundle.features, seed=9)
    for k, classifier in enumerate(bundle.classifiers):
        exported = OnnxNetwork(tmp_path / f"fold{k}.onnx", n_threads=2).probability(X)
        np.testing.assert_allclose(exported, classifier.predict_proba(X)[:, 1], atol=1e-5, rtol=0)
    document = json.loads((tmp_path / "export.json").read_text())
    assert document["features"] == list(bundle.features)
    assert document["parity"]["largest_difference"] == parity.largest_difference <= 1e-5
    assert document["mass_range"] == [0.2, 9.8]


@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
def test_a_graph_holds_the_calibration_of_its_fold(method, tmp_path):
    from dataclasses import replace

    bundle = make_bundle("mlp")
    X = bundle.examples
    y = X[:, PHOTON_FEATURES.index("E_pair1")] > 1.7
    calibrations = tuple(
        fit_calibration(method, model.predict_proba(X)[:, 1], y) for model in bundle.classifiers
    )
    calibrated = replace(bundle, calibrations=calibrations)
    assert export_onnx(calibrated, tmp_path).largest_difference <= 1e-5
    X = rows(PHOTON_FEATURES, seed=9)
    for k, (model, calibration) in enumerate(zip(bundle.classifiers, calibrations, strict=True)):
        own = model.predict_proba(X)[:, 1]
        exported = OnnxNetwork(tmp_path / f"fold{k}.onnx").probability(X)
        np.testing.assert_allclose(exported, calibration(own), atol=1e-5, rtol=0)
        assert np.abs(exported - own).max() > 0.01


def test_a_graph_takes_any_number_of_rows(tmp_path):
    bundle = make_bundle("mlp", n_folds=1)
    export_onnx(bundle, tmp_path)
    network, X = OnnxNetwork(tmp_path / "fold0.onnx"), rows(PHOTON_FEATURES)
    whole = network.probability(X)
    np.testing.assert_allclose(network.probability(X, rows_at_once=7), whole, atol=1e-6)
    np.testing.assert_allclose(network.probability(X[:1]), whole[:1], atol=1e-6)
    assert len(network.probability(X[:0])) == 0


def test_a_graph_that_disagrees_is_not_kept(tmp_path, monkeypatch):
    bundle = make_bundle("mlp", n_folds=1)
    monkeypatch.setattr(OnnxNetwork, "probability", lambda self, X: np.full(len(X), 0.123, np.float32))
    with pytest.raises(InputError, match=r"fold 0 differs from the network by 0\.\d+"):
        export_onnx(bundle, tmp_path)
    assert not list(tmp_path.iterdir())


def test_examples_are_kept_in_the_bundle_and_compared_with(tmp_path):
    bundle = make_bundle("mlp", n_folds=2)
    bundle.save(tmp_path / "bundle")
    loaded = Bundle.load(tmp_path / "bundle")
    np.testing.assert_array_equal(loaded.examples, bundle.examples)
    assert export_onnx(loaded, tmp_path / "onnx").n_rows == len(bundle.examples)
    (tmp_path / "bundle" / "examples.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match=r"examples.safetensors has been changed"):
        Bundle.load(tmp_path / "bundle")


def test_without_events_or_the_library_nothing_is_exported(tmp_path, monkeypatch):
    from dataclasses import replace

    bundle = make_bundle("mlp", n_folds=1)
    with pytest.raises(InputError, match="no events to compare"):
        export_onnx(replace(bundle, examples=None), tmp_path)
    with pytest.raises(InputError, match="this is a bdt"):
        export_onnx(replace(bundle, model="bdt"), tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"onnx is not installed.*darksieve\[onnx\]"):
        export_onnx(bundle, tmp_path)
    (tmp_path / "no.onnx").write_bytes(b"text")
    with pytest.raises(InputError, match=r"no\.onnx: no graph"):
        OnnxNetwork(tmp_path / "no.onnx")
    assert export.FORMAT == "darksieve-onnx/1"


def test_the_command_line_exports_and_says_how_well_it_agrees(tmp_path, monkeypatch, capsys):
    from darksieve.cli import main

    make_bundle("mlp", n_folds=2).save(tmp_path / "bundle")
    arguments = ["export", str(tmp_path / "bundle"), "--to", "onnx", "-o", str(tmp_path / "onnx")]
    monkeypatch.setattr(sys, "argv", ["darksieve", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert "2 graphs (onnx); on 200 events no probability differs by more than" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "onnx").iterdir()} == {"fold0.onnx", "fold1.onnx", "export.json"}


def test_inputs_saturate_in_the_graph_where_they_do_in_the_network(tmp_path):
    bundle = make_bundle("mlp", n_folds=1)
    export_onnx(bundle, tmp_path)
    X = rows(PHOTON_FEATURES, seed=9) * np.float32(1000)  # far beyond ten standard deviations
    own = bundle.classifiers[0].predict_proba(X)[:, 1]
    exported = OnnxNetwork(tmp_path / "fold0.onnx").probability(X)
    np.testing.assert_allclose(exported, own, atol=1e-5, rtol=0)


def test_what_fails_in_a_thread_is_raised(tmp_path):
    export_onnx(make_bundle("mlp", n_folds=1), tmp_path)
    network = OnnxNetwork(tmp_path / "fold0.onnx", n_threads=2)
    with pytest.raises(Exception, match="features"):
        network.probability(rows(PHOTON_FEATURES)[:, :3], rows_at_once=100)
