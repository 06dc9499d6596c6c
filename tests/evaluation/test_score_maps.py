import numpy as np
import pytest

from darksieve.evaluation.plots.score_maps import (
    MOST_CURVES,
    draw_limit_importance,
    draw_score_maps,
    draw_score_spread,
)
from darksieve.evaluation.plots.style import Stamp
from darksieve.evaluation.score_maps import score_map, score_spread

STAMP = Stamp("e+e- → γ a")


def test_a_map_holds_weighted_means_with_errors_and_says_where_there_is_nothing():
    score = np.array([0.2, 0.4, 0.9, 0.5])
    x, y = np.array([0.5, 0.5, 1.5, 7.0]), np.array([0.1, 0.2, 0.9, 0.5])
    found = score_map(score, x, y, [1, 3, 1, 1], x_edges=[0, 1, 2], y_edges=[0, 0.5, 1])
    np.testing.assert_array_equal(found.rows, [[2, 0], [0, 1]])
    np.testing.assert_allclose(found.mean, [[0.35, np.nan], [np.nan, 0.9]])
    # variance 0.25·0.15² + 0.75·0.05², effective rows 16/10
    np.testing.assert_allclose(found.error[0, 0], np.sqrt(0.0075 * 10 / 16))
    assert np.isnan(found.error[1, 1])
    assert found.to_json()["mean"] == [[pytest.approx(0.35), None], [None, pytest.approx(0.9)]]


def test_the_error_of_a_map_covers_the_truth():
    rng = np.random.default_rng(1)
    n = 100_000
    score, x, y = rng.random(n), rng.random(n), rng.random(n)
    edges = np.linspace(0, 1, 21)
    found = score_map(score, x, y, rng.random(n), x_edges=edges, y_edges=edges)
    pulls = (found.mean - 0.5) / found.error
    assert abs(pulls.mean()) < 3 / 20  # 400 cells
    assert pulls.std() == pytest.approx(1, abs=4 / np.sqrt(2 * 400))


def test_the_spread_is_binned_in_the_mean_score():
    mean = np.linspace(0, 1, 300)
    found = score_spread(mean, 0.1 * mean, n_bins=3)
    np.testing.assert_array_equal(found.rows, [100, 100, 100])
    np.testing.assert_allclose(found.median, 0.1 * found.score, atol=1e-9)
    assert (found.upper > found.median).all()
    assert len(score_spread([0.3], [0.1]).score) == 1


def test_pictures_table_what_they_show():
    features = [f"f{i}" for i in range(MOST_CURVES + 2)]
    rise = np.arange(len(features))[:, None] * np.array([0.01, 0.02])
    drawing = draw_limit_importance([1.0, 2.0], features, rise, stamp=STAMP)
    assert drawing.table["feature"][:2] == [features[-1]] * 2
    np.testing.assert_allclose(drawing.table["rise"][:2], rise[-1])
    with pytest.raises(ValueError, match="no feature"):
        draw_limit_importance([1.0], [], np.empty((0, 1)), stamp=STAMP)
    cells = score_map([0.2, 0.8], [0.5, 0.5], [0.5, 0.5], [1, 1], x_edges=[0, 1], y_edges=[0, 1, 2]).to_json()
    table = draw_score_maps({"signal": cells, "background": cells}, x="M [GeV]", y="c", stamp=STAMP).table
    np.testing.assert_allclose(table["mean_score"], [0.5, np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(table["y_low"], [0, 1, 0, 1])
    spread = score_spread([0.2, 0.8], [0.1, 0.2]).to_json()
    table = draw_score_spread({"signal": spread}, stamp=STAMP).table
    np.testing.assert_allclose(table["median_spread"], [0.1, 0.2])
    with pytest.raises(ValueError, match="no map"):
        draw_score_maps({}, x="x", y="y", stamp=STAMP)
    with pytest.raises(ValueError, match="no spread"):
        draw_score_spread({}, stamp=STAMP)
