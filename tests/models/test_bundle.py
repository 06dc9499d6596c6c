import json

import numpy as np
import pytest

from darksieve import __version__
from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.datasets.folds import fold_of
from darksieve.errors import InputError
from darksieve.models.bundle import Bundle, attach_working_points
from darksieve.models.estimator import MODELS, make_classifier, parse_options

FEATURES = ("M_gg", "E_recoil", "pair1_clusterLAT")
OPTIONS = {"bdt": {"n_trees": 5}, "photon_network": {"epochs": 1, "hidden": [4]}}


def make_events(n=600, seed=1):
    rng = np.random.default_rng(seed)
    columns = {"M_gg": rng.uniform(0.1, 10, n), "E_recoil": rng.uniform(0.5, 5, n).astype(np.float32)}
    columns["pair1_clusterLAT"] = rng.normal(size=n)
    return Events(
        columns=columns,
        samples=(SampleInfo("qed", Role.BACKGROUND),),
        sample_index=np.zeros(n),
        weight=np.ones(n),
        mass=np.full(n, np.nan),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        candidate=np.zeros(n),
    )


def make_bundle(model):
    events = make_events()
    y = (events["E_recoil"] + events["pair1_clusterLAT"] > 2.5).astype(int)
    options = parse_options(model, OPTIONS[model])
    classifiers = tuple(
        make_classifier(model, options, features=FEATURES, seed=k).fit(events.matrix(FEATURES), y)
        for k in range(3)
    )
    return Bundle(
        name="photons",
        model=model,
        options=options,
        features=FEATURES,
        classifiers=classifiers,
        schema={name: str(events[name].dtype) for name in FEATURES},
        mass_column="M_gg",
        mass_range=(0.2, 9.8),
        data_hash="12ab",
        config_hash="34cd",
        working_points={"points": [{"mass": 0.5, "score_low": 0.25}]},
    )


@pytest.fixture(params=MODELS)
def bundle(request):
    return make_bundle(request.param)


def test_each_event_is_scored_by_the_model_of_its_fold(bundle):
    events = make_events(seed=2)
    scores = bundle.score(events)
    assert scores.dtype == np.float32
    fold = fold_of(events.key, 3)
    for k in range(3):
        expected = bundle.classifiers[k].predict_proba(events.matrix(FEATURES))[:, 1]
        np.testing.assert_allclose(scores[fold == k], expected[fold == k], atol=5e-7, rtol=0)
        assert np.abs(scores[fold != k] - expected[fold != k]).max() > 1e-3


def test_a_loaded_bundle_gives_bit_equal_scores(bundle, tmp_path):
    events = make_events(5000, seed=2)
    bundle.save(tmp_path / "photons")
    loaded = Bundle.load(tmp_path / "photons")
    np.testing.assert_array_equal(loaded.score(events), bundle.score(events))
    for name in ("name", "model", "options", "features", "schema", "mass_column", "mass_range", "fold_salt"):
        assert getattr(loaded, name) == getattr(bundle, name)
    assert (loaded.data_hash, loaded.config_hash, loaded.version) == ("12ab", "34cd", __version__)
    assert loaded.working_points == bundle.working_points


def test_nothing_in_a_bundle_is_a_pickle(bundle, tmp_path):
    bundle.save(tmp_path)
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".ubj"}


def test_a_bundle_can_be_written_over_another(tmp_path):
    make_bundle("bdt").save(tmp_path)
    make_bundle("photon_network").with_working_points(None).save(tmp_path)
    loaded = Bundle.load(tmp_path)
    assert loaded.model == "photon_network"
    assert loaded.working_points is None
    assert not list(tmp_path.rglob("*.ubj"))


def test_any_changed_file_is_refused(bundle, tmp_path):
    bundle.save(tmp_path)
    for path in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        kept = path.read_bytes()
        changed = bytearray(kept)
        at = kept.index(b"0.25") if b"0.25" in kept else len(kept) // 2
        changed[at] ^= 1
        path.write_bytes(bytes(changed))
        with pytest.raises(InputError, match=r"hash differs|not JSON|has no|format"):
            Bundle.load(tmp_path)
        path.unlink()
        with pytest.raises(InputError, match=r"missing|not a bundle"):
            Bundle.load(tmp_path)
        path.write_bytes(kept)
    Bundle.load(tmp_path)


def test_a_changed_mass_range_is_refused(bundle, tmp_path):
    bundle.save(tmp_path)
    document = json.loads((tmp_path / "bundle.json").read_text())
    document["mass_range"] = [0.0, 20.0]
    (tmp_path / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="changed"):
        Bundle.load(tmp_path)


def test_rows_outside_the_mass_range_are_flagged(bundle):
    events = make_events()
    mass = events["M_gg"]
    np.testing.assert_array_equal(bundle.in_mass_range(events), (mass >= 0.2) & (mass <= 9.8))
    assert not bundle.in_mass_range(events).all()


def test_missing_and_non_finite_features_name_the_column(bundle):
    events = make_events()
    lacking = Events(
        columns={"M_gg": events["M_gg"], "E_recoil": events["E_recoil"], "pair1_clusterLTA": events["M_gg"]},
        samples=events.samples,
        sample_index=events.sample_index,
        weight=events.weight,
        mass=events.mass,
        key=events.key,
        candidate=events.candidate,
    )
    with pytest.raises(InputError, match=r"'pair1_clusterLAT'; did you mean 'pair1_clusterLTA'"):
        bundle.score(lacking)
    bad = events["E_recoil"].copy()
    bad[[3, 4]] = np.nan, np.inf
    with pytest.raises(InputError, match=r"'E_recoil' is NaN or infinite in 2 of 600 rows"):
        bundle.score(events.with_columns(E_recoil=bad))


def test_no_events_have_no_scores(bundle):
    assert bundle.score(make_events().select(np.zeros(600, dtype=bool))).shape == (0,)


def test_working_points_are_attached_to_a_bundle_on_disk(tmp_path):
    bundle = make_bundle("bdt").with_working_points(None)
    bundle.save(tmp_path)
    trees = (tmp_path / "fold0" / "trees.ubj").read_bytes()
    for low in (0.1, 0.2):
        attach_working_points(tmp_path, {"points": [{"score_low": low}]})
        assert Bundle.load(tmp_path).working_points == {"points": [{"score_low": low}]}
    assert (tmp_path / "fold0" / "trees.ubj").read_bytes() == trees


def test_a_kill_while_working_points_are_attached_leaves_a_whole_bundle(tmp_path):
    make_bundle("bdt").save(tmp_path)
    with pytest.raises(ValueError, match="JSON compliant"):
        attach_working_points(tmp_path, {"points": [float("nan")]})
    Bundle.load(tmp_path)
    (tmp_path / "working_points.json").write_text("{}")  # written, but the bundle does not count on it yet
    Bundle.load(tmp_path)
    attach_working_points(tmp_path, {"points": []})
    assert Bundle.load(tmp_path).working_points == {"points": []}


def test_the_ensemble_is_the_mean_of_all_folds_and_spreads_as_they_do(bundle):
    events = make_events(seed=2)
    mean, spread = bundle.ensemble(events)
    each = np.stack([c.predict_proba(events.matrix(FEATURES))[:, 1] for c in bundle.classifiers])
    np.testing.assert_allclose(mean, each.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(spread, each.std(axis=0, ddof=1), atol=1e-6)
    assert spread.max() > 1e-3
