import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from darksieve.datasets.events import Events, Role, SampleInfo, concatenate
from darksieve.datasets.folds import fold_of, part_of
from darksieve.datasets.mapped_columns import keep_on_disk
from darksieve.errors import InputError
from darksieve.evaluation.calibration import calibration_curve
from darksieve.models import bdt_blocks
from darksieve.models.bundle import Bundle
from darksieve.models.estimator import MODELS, PHOTON_FEATURES
from darksieve.training.decorrelation import Decorrelation
from darksieve.training.folds_training import train_bundle
from darksieve.training.history import TrainingHistory

QUICK = {
    "bdt": {"n_trees": 30, "max_depth": 3, "learning_rate": 0.3},
    "photon_network": {"epochs": 3, "batch_size": 500},
}
each_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def events(make_events):
    return make_events(4000, 6000)


def quick(events, model="bdt", **more):
    settings = {"options": QUICK[model], "n_folds": 3, "name": "photons"} | more
    return train_bundle(events, model=model, **settings)


@each_model
def test_scores_separate_signal_from_background_out_of_fold(events, model):
    bundle, scores, history = quick(events, model)
    assert len(scores) == len(events)
    auc = roc_auc_score(scores.is_signal, scores.score)
    error = 0.5 / np.sqrt(4000)
    assert auc > 0.70 - error
    assert np.mean([fold.auc for fold in history.folds]) == pytest.approx(auc, abs=0.05)
    np.testing.assert_array_equal(scores.fold, fold_of(events.key, 3))
    np.testing.assert_array_equal(scores.part, part_of(events.key))
    np.testing.assert_array_equal(scores.observable, events["M_gg"])
    np.testing.assert_array_equal(scores.event_columns["__event__"], events["__event__"])
    np.testing.assert_array_equal(bundle.score(events), scores.score)
    assert bundle.mass_range == pytest.approx((0.3, 9.5), abs=0.1)


@each_model
def test_saved_and_loaded_bundles_score_bit_equally(events, model, tmp_path):
    bundle, scores, history = quick(events, model)
    bundle.save(tmp_path / "bundle")
    np.testing.assert_array_equal(Bundle.load(tmp_path / "bundle").score(events), scores.score)
    history.save(tmp_path / "history.json")
    assert TrainingHistory.load(tmp_path / "history.json") == history


@each_model
def test_the_order_of_the_rows_changes_nothing(events, model):
    bundle, scores, _ = quick(events, model)
    order = np.random.default_rng(1).permutation(len(events))
    other, shuffled, _ = quick(events.select(order), model)
    np.testing.assert_allclose(shuffled.score, scores.score[order], atol=5e-7, rtol=0)
    assert other.data_hash == bundle.data_hash


def test_no_event_is_scored_by_a_model_that_was_trained_on_it():
    """Labels are random, and a feature tells each event apart: trees learn the training by heart, and out of
    fold know nothing. Three rows share an event, so folds by rows instead of events would leak, too."""
    rng = np.random.default_rng(5)
    n = 500
    parts = []
    for name, role in (("alp", Role.SIGNAL), ("qed", Role.BACKGROUND)):
        columns = {
            "M_gg": np.repeat(rng.uniform(1, 9, n), 3),
            "fingerprint": np.repeat(rng.uniform(0, 1, n), 3),
        }
        parts.append(
            Events(
                columns=columns,
                samples=(SampleInfo(name, role),),
                sample_index=np.zeros(3 * n),
                weight=np.ones(3 * n),
                mass=np.full(3 * n, np.nan),
                key=np.repeat(rng.integers(0, 2**63, n).astype(np.uint64), 3),
                candidate=np.tile(np.arange(3), n),
            )
        )
    events = concatenate(parts)
    options = {"n_trees": 100, "max_depth": 10, "min_child_weight": 0, "learning_rate": 0.5, "l2": 0}
    options |= {"patience": 0, "row_fraction": 1, "feature_fraction": 1, "max_bins": 1024}
    bundle, scores, _ = train_bundle(
        events, model="bdt", features=["M_gg", "fingerprint"], n_folds=3, options=options, matching="none"
    )
    out_of_fold = roc_auc_score(scores.is_signal, scores.score)
    assert abs(out_of_fold - 0.5) < 4 * 0.29 * np.sqrt(
        2 / n
    )  # an AUC without information: sqrt(1/12) sqrt(2/n)
    wrong = (scores.fold + 1) % 3  # the model of another fold: it has seen nine events of ten
    seen = np.empty(len(events))
    for k, classifier in enumerate(bundle.classifiers):
        seen[wrong == k] = classifier.predict_proba(events.matrix(bundle.features))[wrong == k, 1]
    assert roc_auc_score(scores.is_signal, seen) > 0.9


def test_wrong_pairings_of_signal_do_not_train_but_are_scored(events):
    wrong = events.select(np.flatnonzero(events.is_signal)[:1000])
    nonsense = np.full(1000, False)
    wrong = wrong.with_columns(is_true_pair=nonsense, E_recoil=wrong["E_recoil"] * 0 + 0.5)
    both = concatenate([events, wrong])
    without, _, _ = quick(events)
    bundle, scores, _ = quick(both)
    assert bundle.data_hash == without.data_hash
    assert np.isnan(scores.label[-1000:]).all()
    assert not scores.is_data.any()
    assert np.isfinite(scores.score).all()


def test_data_is_scored_and_does_not_train(events):
    data = Events(
        columns=events.select(np.arange(0, 10_000, 10)).columns,
        samples=(SampleInfo("data", Role.DATA),),
        sample_index=np.zeros(1000),
        weight=np.ones(1000),
        mass=np.full(1000, np.nan),
        key=np.arange(1000) + 999_999,
        candidate=np.zeros(1000),
    )
    without, _, _ = quick(events)
    bundle, scores, _ = quick(concatenate([events, data]))
    assert bundle.data_hash == without.data_hash
    assert scores.is_data.sum() == 1000
    assert np.isnan(scores.label[scores.is_data]).all()


@each_model
def test_the_scale_of_the_weights_changes_nothing(events, model):
    _, scores, _ = quick(events, model)
    luminosity = np.where(events.is_signal, 2.0**-10, 2.0**6)
    _, other, _ = quick(events.with_weight(luminosity), model)
    np.testing.assert_allclose(other.score, scores.score, atol=2e-4)


@each_model
def test_finished_folds_are_not_redone_after_a_kill(events, model, tmp_path):
    _, whole, _ = quick(events, model)
    seen = []

    class KilledError(Exception):
        pass

    def kill(fold, epoch, losses):
        if (fold, epoch) == (1, 2):
            raise KilledError

    with pytest.raises(KilledError):
        quick(events, model, checkpoint_dir=tmp_path, on_epoch=kill)
    _, scores, history = quick(
        events, model, checkpoint_dir=tmp_path, on_epoch=lambda fold, epoch, _: seen.append((fold, epoch))
    )
    np.testing.assert_array_equal(scores.score, whole.score)
    assert [fold.reused for fold in history.folds] == [True, False, False]
    first = 2 if model == "photon_network" else 0  # trees start the fold again, to the same numbers
    assert seen[0] == (1, first)
    assert {fold for fold, _ in seen} == {1, 2}


def test_other_events_or_options_redo_the_folds(events, tmp_path):
    quick(events, checkpoint_dir=tmp_path)
    _, _, same = quick(events, checkpoint_dir=tmp_path)
    _, _, options = quick(events, checkpoint_dir=tmp_path, options=QUICK["bdt"] | {"max_depth": 2})
    _, _, rows = quick(events.select(np.arange(9_000)), checkpoint_dir=tmp_path)
    assert [f.reused for f in same.folds] == [True] * 3
    assert not any(f.reused for f in (*options.folds, *rows.folds))


def test_a_damaged_fold_is_redone(events, tmp_path):
    _, whole, _ = quick(events, checkpoint_dir=tmp_path)
    trees = tmp_path / "fold1" / "model" / "trees.ubj"
    trees.write_bytes(trees.read_bytes()[:-7])
    _, scores, history = quick(events, checkpoint_dir=tmp_path)
    assert [f.reused for f in history.folds] == [True, False, True]
    np.testing.assert_array_equal(scores.score, whole.score)


@pytest.mark.slow
def test_folds_in_several_processes_give_the_same_numbers(events):
    epochs = []
    _, one, _ = quick(events, "photon_network", n_folds=2)
    _, two, _ = quick(
        events,
        "photon_network",
        n_folds=2,
        workers=2,
        on_epoch=lambda fold, epoch, _: epochs.append((fold, epoch)),
    )
    np.testing.assert_array_equal(two.score, one.score)
    assert sorted(epochs) == [(fold, epoch) for fold in range(2) for epoch in range(3)]


def test_progress_ends_at_its_total(events):
    steps = []
    quick(events, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (90, 90)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_max_rows_bounds_each_class(events):
    _, _, history = quick(events, max_rows=500)
    for fold in history.folds:
        assert fold.n_signal + fold.n_background + fold.n_validation <= 1000
        assert fold.n_signal > 300


def test_background_takes_the_signal_distribution_of_further_columns(events):
    _, _, history = quick(
        events, decorrelation=Decorrelation(("E_recoil",)), mass_column=None, observable="M_gg"
    )
    assert set(history.folds[0].matching) == {"E_recoil"}
    assert history.folds[0].matching["E_recoil"]["target"] == "background_to_signal"


def test_non_finite_features_name_the_column_and_the_count(events):
    bad = events["cosHelicity"].copy()
    bad[:7] = np.nan
    with pytest.raises(InputError, match="'cosHelicity' is NaN or infinite in 7 of 10000 rows"):
        quick(events.with_columns(cosHelicity=bad))


def test_one_class_alone_is_refused(events):
    with pytest.raises(InputError, match="no signal rows"):
        quick(events.select(events.is_background))
    with pytest.raises(InputError, match="no background rows"):
        quick(events.select(events.is_signal))
    few = np.concatenate([np.flatnonzero(events.is_background), np.flatnonzero(events.is_signal)[:1]])
    with pytest.raises(InputError, match="no signal rows"):
        quick(events.select(few))


def test_truth_hypotheses_and_unknown_columns_are_refused(events):
    with pytest.raises(InputError, match="is_true_pair"):
        quick(events, features=[*PHOTON_FEATURES, "is_true_pair"])
    with pytest.raises(InputError, match="did you mean 'E_recoil'"):
        quick(events, features=["M_gg", "E_recoill"])
    with pytest.raises(InputError, match="appear twice"):
        quick(events, features=["M_gg", "M_gg"])
    with pytest.raises(InputError, match="no features"):
        quick(events, features=[])
    with pytest.raises(InputError, match="own mass"):
        quick(events, "photon_network", features=["E_recoil"])
    measured = events["M_gg"] * (1 + 0.01 * np.random.default_rng(1).normal(size=len(events)))
    hypothesis = np.where(
        events.is_signal, events.mass, np.random.default_rng(2).uniform(0.3, 9.5, len(events))
    )
    disguised = events.with_columns(M_gg=measured, theta=hypothesis)
    with pytest.raises(InputError, match="'theta' is the signal's generated mass"):
        quick(disguised, features=["M_gg", "theta"])


def test_negative_weights_and_foolish_folds_are_refused(events):
    weight = events.weight.copy()
    weight[:3] = -1
    with pytest.raises(InputError, match="3 of 10000 weights"):
        quick(events.with_weight(weight))
    with pytest.raises(InputError, match="folds is 1"):
        quick(events, n_folds=1)


def test_trees_from_blocks_on_disk_are_as_good_and_go_into_the_same_bundle(events, tmp_path):
    on_disk = keep_on_disk([events], tmp_path)
    bundle, scores, history = quick(on_disk, rows_per_block=500, workers=2)
    _, whole, _ = quick(events)
    aucs = [roc_auc_score(some.is_signal, some.score) for some in (scores, whole)]
    assert aucs[0] == pytest.approx(aucs[1], abs=3e-3)  # paired scatter of 10 000 rows
    bundle.save(tmp_path / "bundle")
    np.testing.assert_array_equal(Bundle.load(tmp_path / "bundle").score(events), scores.score)
    assert [fold.n_signal for fold in history.folds] == [fold.n_signal for fold in quick(events)[2].folds]


def test_one_block_gives_the_scores_of_one_matrix_but_for_the_order_of_the_rows(events):
    """Sorted by their key, rows on disk are in the order that one matrix has."""
    ordered = events.select(np.lexsort((events.candidate, events.key)))
    _, blocks, _ = quick(ordered, rows_per_block=len(ordered))
    _, whole, _ = quick(ordered)
    np.testing.assert_array_equal(blocks.score, whole.score)


def test_finished_folds_from_blocks_are_not_redone(events, tmp_path):
    first = quick(events, rows_per_block=500, checkpoint_dir=tmp_path)
    again = quick(events, rows_per_block=500, checkpoint_dir=tmp_path)
    assert all(fold.reused for fold in again[2].folds)
    np.testing.assert_array_equal(first[1].score, again[1].score)
    assert not any(fold.reused for fold in quick(events, checkpoint_dir=tmp_path)[2].folds)


def test_a_network_from_blocks_on_disk_is_as_good_and_goes_into_the_same_bundle(events, tmp_path):
    on_disk = keep_on_disk([events], tmp_path)
    bundle, scores, history = quick(on_disk, "photon_network", rows_per_block=500, workers=2)
    _, whole, of_whole = quick(events, "photon_network")
    aucs = [roc_auc_score(some.is_signal, some.score) for some in (scores, whole)]
    assert aucs[0] == pytest.approx(
        aucs[1], abs=0.01
    )  # as for another seed: each has some 0.005 of 10 000 rows
    bundle.save(tmp_path / "bundle")
    np.testing.assert_array_equal(Bundle.load(tmp_path / "bundle").score(events), scores.score)
    for fold, other in zip(history.folds, of_whole.folds, strict=True):
        assert (fold.n_signal, fold.n_background, fold.n_validation) == (
            other.n_signal,
            other.n_background,
            other.n_validation,
        )
    again = quick(events, "photon_network", rows_per_block=500)[1]  # in memory, the same blocks
    np.testing.assert_array_equal(again.score, scores.score)


def test_finished_folds_of_a_network_from_blocks_are_not_redone(events, tmp_path):
    settings = {"rows_per_block": 500, "checkpoint_dir": tmp_path}
    first = quick(events, "photon_network", **settings)
    again = quick(events, "photon_network", **settings)
    assert all(fold.reused for fold in again[2].folds)
    np.testing.assert_array_equal(first[1].score, again[1].score)
    assert {path.name for path in (tmp_path / "fold0").iterdir()} == {"fold.json", "model"}


def test_a_killed_training_of_a_network_from_blocks_goes_on_to_the_same_numbers(events, tmp_path):
    def kill(fold, epoch, losses):
        if (fold, epoch) == (1, 1):
            raise RuntimeError("killed")

    settings = {"rows_per_block": 500, "checkpoint_dir": tmp_path}
    with pytest.raises(RuntimeError, match="killed"):
        quick(events, "photon_network", on_epoch=kill, **settings)
    assert (tmp_path / "fold1" / "checkpoint.ckpt").is_file()
    epochs = []
    _, scores, _ = quick(
        events,
        "photon_network",
        on_epoch=lambda fold, epoch, losses: epochs.append((fold, epoch)),
        **settings,
    )
    assert epochs[0] == (1, 1)
    np.testing.assert_array_equal(scores.score, quick(events, "photon_network", rows_per_block=500)[1].score)


def test_fine_tuning_from_blocks_is_refused(events):
    options = QUICK["photon_network"] | {"fine_tune": "expected_limit"}
    with pytest.raises(InputError, match=r"fine_tune needs its rows in memory.*max_rows"):
        quick(events, "photon_network", options=options, rows_per_block=500)


def test_many_rows_are_quantised_on_disk_and_nothing_is_left_there(events, tmp_path, monkeypatch):
    monkeypatch.setattr(bdt_blocks, "EXTERNAL_ABOVE", 100)
    (tmp_path / "fold0" / "matrices-of-a-killed-fit").mkdir(parents=True)
    _, on_disk, _ = quick(events, rows_per_block=500, checkpoint_dir=tmp_path)
    monkeypatch.undo()
    _, in_memory, _ = quick(events, rows_per_block=500)
    np.testing.assert_allclose(on_disk.score, in_memory.score, atol=1e-5)
    assert {path.name for path in (tmp_path / "fold0").iterdir()} == {"fold.json", "model"}


@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
@each_model
def test_a_calibrated_bundle_gives_probabilities_in_the_order_of_its_models(events, model, method, tmp_path):
    _, scores, _ = quick(events, model)
    bundle, calibrated, _ = quick(events, model, calibrate=method)
    np.testing.assert_array_equal(bundle.uncalibrated().score(events), scores.score)
    assert np.abs(calibrated.score - scores.score).max() > 0.01
    for fold in range(3):
        own = scores.fold == fold
        order = np.argsort(scores.score[own], kind="stable")
        assert (np.diff(calibrated.score[own][order]) >= 0).all()
    bundle.save(tmp_path / "bundle")
    np.testing.assert_array_equal(Bundle.load(tmp_path / "bundle").score(events), calibrated.score)
    shuffled = events.select(np.random.default_rng(3).permutation(len(events)))
    assert quick(shuffled, model, calibrate=method)[0].calibrations == bundle.calibrations


def test_overconfident_trees_become_probabilities(make_events):
    some = make_events(6000, 9000)
    settings = {
        "options": {"n_trees": 200, "max_depth": 6, "learning_rate": 0.3, "patience": 0},
        "n_folds": 2,
    }
    settings |= {"model": "bdt", "matching": "none", "validation_share": 0.2}
    _, before, _ = train_bundle(some, **settings)
    after = {m: train_bundle(some, calibrate=m, **settings)[1] for m in ("isotonic", "sigmoid")}
    error = calibration_curve(before.score, before.is_signal).expected_error
    assert error > 0.1
    for scores in after.values():
        # each bin's share has an error of 0.02, so their mean distance is some 0.015, and the calibration's
        # own from 1500 events of a class as much
        assert calibration_curve(scores.score, scores.is_signal).expected_error < 0.04


def test_a_calibration_needs_a_known_method_and_held_out_events(events):
    with pytest.raises(InputError, match=r"calibrate is 'isotonik'; there are .* did you mean 'isotonic'"):
        quick(events, calibrate="isotonik")
    with pytest.raises(InputError, match="needs held-out events"):
        quick(events, calibrate="sigmoid", validation_share=0.0)
