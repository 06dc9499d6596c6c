import json

import numpy as np
import pytest

from darksieve.datasets.folds import choice_fold_of
from darksieve.errors import InputError
from darksieve.evaluation.quoting import Figures
from darksieve.evaluation.working_points import WorkingPoints, tail_background_of

MASSES = np.array([1.0, 2.0, 3.0])
GRID = np.linspace(0.5, 3.5, 13)
DIFFERENCE = 0.02  # between the edges of the two folds


def working_points(**changes):
    by_mass = np.array([2.0, 3.0, np.inf])
    by_category = np.arange(6.0).reshape(3, 2)
    figures = Figures(
        masses=MASSES,
        signal_efficiency=by_category / 100,
        n_background=by_category * 10,
        effective_events=by_category,
        pooled_effective_events=by_category + 1,
        status=np.array([["ok", "pooled"], ["ok", "too_few_events"], ["no_signal", "no_signal"]]),
        expected_limit=by_mass,
        percent_of_ceiling=by_mass * 30,
        optimism=by_mass / 2,
        objective_value=by_mass,
        expected_limit_no_cut=by_mass * 2,
        tail_spread=by_mass / 100,
        more_simulation=by_mass,
        tail_background=by_category * np.array([8.0, 9.0, 11.0, 10.0])[:, None, None],
        errors={"expected_limit": by_mass / 10, "n_background": by_category},
    )
    one = np.stack([0.1 + 0.05 * np.sin(GRID), 0.7 + 0.02 * GRID], axis=1)
    boundaries = np.stack([one - DIFFERENCE / 2, one + DIFFERENCE / 2])
    return WorkingPoints("categories", 2, GRID, boundaries, figures, channel="c", **changes)


def keys_of(fold, n):
    """Keys of events in a fold."""
    keys = np.random.default_rng(1).integers(0, 2**63, 8 * n + 100).astype(np.uint64)
    return keys[choice_fold_of(keys) == fold][:n]


@pytest.mark.parametrize("fold", [0, 1])
def test_categories_grow_with_the_score_by_the_edges_of_the_events_fold(fold):
    points = working_points()
    score = np.linspace(0, 1, 101)
    category = points.category(np.full(101, 2.0), score, keys_of(fold, 101))
    assert category.dtype == np.int8
    assert (np.diff(category) >= 0).all()
    low, high = points.boundaries_at([2.0], fold)[0]
    np.testing.assert_array_equal(category, (score >= low).astype(int) + (score >= high))
    mean = points.boundaries_at([2.0])[0]
    np.testing.assert_allclose([low, high], mean + (fold - 0.5) * DIFFERENCE)


def test_boundaries_between_grid_points_are_smooth_and_constant_beyond():
    points = working_points()
    x = np.linspace(0.5, 3.5, 4001)
    np.testing.assert_allclose(points.boundaries_at(x)[:, 0], 0.1 + 0.05 * np.sin(x), atol=5e-4)
    slope = np.diff(points.boundaries_at(x)[:, 0])
    assert np.abs(np.diff(slope)).max() < 0.1 * np.abs(slope).max()  # no kinks
    np.testing.assert_allclose(points.boundaries_at([-9.0, 99.0]), points.boundaries_at([0.5, 3.5]))


def test_nan_scores_and_observables_are_rejected():
    assert working_points().category([2.0, np.nan], [np.nan, 0.9], [1, 2]).tolist() == [0, 0]


def test_saved_and_loaded_they_give_the_same_categories_and_figures(tmp_path):
    points = working_points(yield_per_efficiency=408.0, limit_unit="fb")
    points.save(tmp_path / "working_points.json")
    loaded = WorkingPoints.load(tmp_path / "working_points.json")
    rng = np.random.default_rng(0)
    x, score = rng.uniform(0, 4, 1000), rng.uniform(size=1000).astype(np.float32)
    key = rng.integers(0, 2**63, 1000).astype(np.uint64)
    np.testing.assert_array_equal(loaded.category(x, score, key), points.category(x, score, key))
    np.testing.assert_array_equal(loaded.figures.status, points.figures.status)
    np.testing.assert_allclose(loaded.figures.n_background, points.figures.n_background)
    np.testing.assert_allclose(loaded.figures.expected_limit, [2, 3, np.nan])  # JSON has no infinity
    np.testing.assert_allclose(loaded.figures.errors["n_background"], points.figures.errors["n_background"])
    assert (loaded.yield_per_efficiency, loaded.limit_unit) == (408.0, "fb")


def test_document_has_the_documented_keys_for_each_mass_and_category():
    document = json.loads(json.dumps(working_points().as_document(), allow_nan=False))
    assert [(p["mass"], p["category"]) for p in document["points"]] == [
        (m, c) for m in MASSES for c in (1, 2)
    ]
    wanted = {
        "mass", "channel", "category", "score_low", "score_high", "signal_efficiency", "n_background",
        "effective_events", "expected_limit", "percent_of_ceiling", "optimism", "status", "tail_spread",
        "more_simulation",
        "expected_limit_error", "n_background_error",
    }  # fmt: skip
    for point in document["points"]:
        assert wanted <= set(point)
    first, second = document["points"][:2]
    assert first["score_high"] == second["score_low"]
    assert second["score_high"] is None


def test_inputs_cannot_be_changed_afterwards():
    with pytest.raises(ValueError, match="read-only"):
        working_points().boundaries[0, 0] = 5


def test_crossing_boundaries_are_refused():
    points = working_points()
    with pytest.raises(ValueError, match="must not decrease"):
        WorkingPoints("categories", 2, GRID, points.boundaries[..., ::-1], points.figures)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[]", "not a document"),
        ('{"format": "other/1"}', "format is 'other/1'"),
        ('{"format": "darksieve-working-points/1"}', "'n_categories' is missing"),
    ],
)
def test_a_wrong_file_is_an_input_error(tmp_path, text, message):
    path = tmp_path / "w.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        WorkingPoints.load(path)


def test_the_background_of_every_tail_family_is_kept_and_told_where_they_differ():
    points = working_points()
    document = points.as_document()
    told = [p["n_background_by_tail"] for p in document["points"]]
    assert told[0] is None  # no background, no spread
    assert told[3] == {
        "exponential_93": 24.0, "exponential_985": 27.0, "generalised_pareto": 33.0, "normal": 30.0,
    }  # fmt: skip
    loaded = WorkingPoints.from_document(document)
    np.testing.assert_allclose(loaded.figures.tail_background, points.figures.tail_background)


def test_points_that_say_nothing_of_tails_have_no_spread():
    assert tail_background_of({"n_background": 7.0}).tolist() == [7.0] * 4
