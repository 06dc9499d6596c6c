"""Pictures show the numbers in their tables, nothing in vetoed ranges, and nothing observed while blind."""

import csv
import os
import subprocess
import sys

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from scipy.stats import norm

from darksieve import couplings
from darksieve.evaluation.plots.axes import MassAxis, Veto, alone, as_vetoes, with_gaps
from darksieve.evaluation.plots.brazil_band import CROSS_SECTION_LABEL, draw_g_agammagamma_limits, draw_limits
from darksieve.evaluation.plots.comparison import draw_comparison
from darksieve.evaluation.plots.efficiency import (
    draw_background_efficiency,
    draw_boundaries,
    draw_percent_of_ceiling,
    draw_signal_efficiency,
)
from darksieve.evaluation.plots.fits import draw_best_fit, draw_impacts, draw_pulls
from darksieve.evaluation.plots.p_values import GlobalPValue, draw_p_values
from darksieve.evaluation.plots.scores import draw_auc, draw_roc, draw_scores
from darksieve.evaluation.plots.spectrum import draw_spectrum
from darksieve.evaluation.plots.style import Stamp, poisson_interval, save_figure, write_csv
from darksieve.evaluation.plots.training import FoldHistory, draw_training
from darksieve.evaluation.published import compare_with_published, published_limits

STAMP = Stamp("e+e- → γa", luminosity_fb=408)
BLIND = Stamp("e+e- → γa", luminosity_fb=408, blind=True)
VETOES = [(0.50, 0.58), (0.75, 0.81)]
AXIS = MassAxis(VETOES)
BAND = np.array([0.537, 0.720, 1.0, 1.39, 1.865])[:, None]
MASSES = np.geomspace(0.17, 9.8, 200)
SEARCHED = MASSES[~np.any([(low < MASSES) & (high > MASSES) for low, high in VETOES], axis=0)]


def example_limits(masses=SEARCHED, **changes):
    median = 6 + np.sqrt(masses)
    given = {
        "observed": median * 1.1,
        "confidence_level": 0.95,
        "y_label": CROSS_SECTION_LABEL,
        "unit": "fb",
        "stamp": STAMP,
        "axis": AXIS,
    }
    return draw_limits(masses, median * BAND, **(given | changes))


def artists(drawing, gid):
    return [a for axes in drawing.figure.axes for a in axes.findobj() if a.get_gid() == gid]


def texts(drawing):
    found = []
    for axes in drawing.figure.axes:
        found += [t.get_text() for t in axes.findobj(matplotlib.text.Text)]
    return " ".join(found)


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def one_of_each():
    rng = np.random.default_rng(5)
    masses = np.linspace(0.2, 4, 12)
    flat = np.ones(12)
    edges = np.linspace(1, 2, 21)
    expected = np.linspace(90, 60, 20)
    published = published_limits("belle2_2020_gamma_alp")
    return {
        "limits": example_limits(),
        "coupling": draw_g_agammagamma_limits(
            masses, 6 * BAND * flat, confidence_level=0.95, stamp=BLIND, published=[published]
        ),
        "p_values": draw_p_values(masses, rng.uniform(0.01, 1, 12), stamp=STAMP, axis=AXIS),
        "scores": draw_scores(
            {"qed": (rng.beta(2, 5, 500), np.ones(500)), "signal": (rng.beta(5, 2, 500), np.ones(500))},
            stamp=STAMP,
            signals=["signal"],
        ),
        "roc": draw_roc({0.5: ([0, 0.5, 1], [0, 0.1, 1])}, stamp=STAMP, auc={0.5: 0.8}),
        "auc": draw_auc(masses, {"network": 0.8 * flat}, errors={"network": 0.01 * flat}, stamp=STAMP),
        "efficiency": draw_signal_efficiency(masses, {"all": 0.4 * flat}, stamp=STAMP, axis=AXIS),
        "background": draw_background_efficiency(masses, {"at 70 %": 0.1 * flat}, stamp=STAMP),
        "boundaries": draw_boundaries(masses, {"category 1": 0.8 * flat}, stamp=STAMP),
        "ceiling": draw_percent_of_ceiling(masses, {"4 categories": 97 * flat}, stamp=STAMP, goal=96),
        "spectrum": draw_spectrum(edges, {"qed": expected}, data=rng.poisson(expected), stamp=STAMP),
        "training": draw_training({0: FoldHistory([3.0, 2.0, 2.5], [3.0, 1.5, 1.0], 1)}, stamp=STAMP),
        "best_fit": draw_best_fit(
            masses, rng.normal(size=12), np.stack([-flat, flat], 1), y_label="σ [fb]", stamp=STAMP
        ),
        "pulls": draw_pulls(masses, rng.normal(size=12), stamp=STAMP),
        "impacts": draw_impacts(
            ["width", "luminosity"],
            [0.1, 0],
            [0.9, 1],
            [[0.3, -0.2], [1, -1]],
            mass=2.0,
            unit="fb",
            stamp=STAMP,
        ),
        "comparison": draw_comparison(
            compare_with_published(masses, 6 * flat, published, luminosity_fb=408, confidence_level=0.95),
            stamp=STAMP,
        ),
    }


@pytest.fixture(scope="module")
def drawings():
    return one_of_each()


KINDS = [
    *("limits", "coupling", "p_values", "scores", "roc", "auc", "efficiency", "background", "boundaries"),
    *("ceiling", "spectrum", "training", "best_fit", "pulls", "impacts", "comparison"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_says_toy_simulation_and_has_a_description(drawings, kind):
    said = texts(drawings[kind])
    assert "toy simulation" in said
    assert "Belle II simulation" not in said
    assert len(drawings[kind].alt) > 20
    assert "$" not in drawings[kind].alt


@pytest.mark.parametrize("kind", KINDS)
def test_axes_have_labels(drawings, kind):
    for axes in drawings[kind].figure.axes:
        assert axes.get_xlabel() or axes.get_ylabel()


def test_kinds_are_all_that_is_drawn(drawings):
    assert set(KINDS) == set(drawings)


def test_picture_is_saved_as_png_pdf_and_csv_and_is_not_empty(drawings, tmp_path):
    saved = drawings["limits"].save(tmp_path / "figures" / "limits_m0.5")
    assert sorted(os.listdir(tmp_path / "figures")) == [
        f"limits_m0.5.{kind}" for kind in ("csv", "pdf", "png")
    ]
    assert saved.pdf.read_bytes().startswith(b"%PDF")
    image = matplotlib.image.imread(saved.png)
    height, width = image.shape[:2]
    assert width > 900
    assert height > 600
    dark = np.mean(image[..., :3].min(axis=-1) < 0.9)
    assert 0.02 < dark < 0.7  # neither empty nor a blot
    assert saved.alt == drawings["limits"].alt


def test_saving_twice_gives_the_same_bytes(tmp_path):
    first, second = (example_limits().save(tmp_path / name) for name in "ab")
    for kind in ("png", "pdf", "csv"):
        assert getattr(first, kind).read_bytes() == getattr(second, kind).read_bytes()


def test_band_and_lines_are_the_numbers_of_the_table(tmp_path):
    drawing = example_limits()
    write_csv(drawing.table, tmp_path / "limits.csv")
    columns = read_csv(tmp_path / "limits.csv")
    for gid, name in (("expected", "expected_median_fb"), ("observed", "observed_fb")):
        (line,) = artists(drawing, gid)
        x, y = line.get_data()
        drawn = np.isfinite(y)
        np.testing.assert_array_equal(x[drawn], np.array(columns["mass_gev"], dtype=float))
        np.testing.assert_array_equal(y[drawn], np.array(columns[name], dtype=float))
    low = np.array(columns["expected_minus2_fb"], dtype=float)
    high = np.array(columns["expected_plus2_fb"], dtype=float)
    polygons = drawing.figure.axes[0].collections[0].get_paths()
    corners = np.concatenate([path.vertices[:, 1] for path in polygons])
    assert corners.min() == low.min()
    assert corners.max() == high.max()


def test_blind_picture_draws_no_observed_line():
    drawing = example_limits(observed=None, stamp=BLIND)
    assert artists(drawing, "observed") == []
    assert not [name for name in drawing.table if "observed" in name]
    assert "Observed" not in texts(drawing)
    assert "blind" in texts(drawing)


def test_what_is_observed_is_refused_while_blind():
    counts = np.ones(20)
    edges = np.linspace(0, 1, 21)
    for call in (
        lambda: example_limits(stamp=BLIND),
        lambda: draw_p_values(MASSES, np.full(200, 0.5), stamp=BLIND),
        lambda: draw_spectrum(edges, {"qed": counts}, data=counts, stamp=BLIND),
        lambda: draw_pulls(MASSES, np.zeros(200), stamp=BLIND),
        lambda: draw_best_fit(MASSES, MASSES, np.ones((200, 2)), y_label="σ [fb]", stamp=BLIND),
        lambda: draw_impacts(["w"], [0], [1], [[1, -1]], mass=1.0, unit="fb", stamp=BLIND),
    ):
        with pytest.raises(ValueError, match="blind"):
            call()


@pytest.mark.parametrize("masses", [SEARCHED, MASSES], ids=["vetoed points left out", "vetoed points given"])
def test_no_line_or_band_crosses_a_veto(masses):
    drawing = example_limits(masses)
    for gid in ("expected", "observed"):
        (line,) = artists(drawing, gid)
        x, y = line.get_data()
        for low, high in VETOES:
            joined = np.isfinite(y[:-1]) & np.isfinite(y[1:])
            crossing = joined & (x[:-1] < high) & (x[1:] > low)
            assert not np.any(crossing & (x[1:] > low + 1e-9) & (x[:-1] < high - 1e-9))
    for band in drawing.figure.axes[0].collections[:2]:
        assert len(band.get_paths()) == 3
        for path in band.get_paths():
            left, right = path.vertices[:, 0].min(), path.vertices[:, 0].max()
            assert all(right <= low + 1e-9 or left >= high - 1e-9 for low, high in VETOES)


def test_p_value_line_has_a_gap_at_a_veto():
    drawing = draw_p_values(SEARCHED, np.full(len(SEARCHED), 0.4), stamp=STAMP, axis=AXIS)
    (line,) = artists(drawing, "p0")
    y = line.get_ydata()
    assert np.sum(~np.isfinite(y)) == 2
    assert len(y) == len(SEARCHED) + 2


def test_vetoes_are_labelled_by_the_meson_inside():
    labels = [veto.label for veto in as_vetoes([*VETOES, (2.0, 2.1), Veto(3.0, 3.1, "J/ψ")])]
    assert labels == [r"$\eta$ veto", r"$\omega$ veto", "veto", "J/ψ"]
    with pytest.raises(ValueError, match="ascend"):
        as_vetoes([(0.6, 0.5)])


def test_gap_outside_the_scan_changes_nothing():
    x, y = with_gaps(np.array([1.0, 2.0]), np.array([3.0, 4.0]), as_vetoes([(0.1, 0.2), (5, 6)]))
    np.testing.assert_array_equal(x, [1, 2])
    np.testing.assert_array_equal(y, [3, 4])


def test_point_with_no_neighbour_is_drawn_as_a_marker():
    np.testing.assert_array_equal(
        alone(np.array([1.0, np.nan, 2.0, 3.0, np.nan, 4.0])), [True, False, False, False, False, True]
    )
    drawing = example_limits(np.array([2.0]), axis=MassAxis())
    (marker,) = artists(drawing, "observed-single")
    np.testing.assert_array_equal(marker.get_xdata(), [2.0])
    assert any(isinstance(a, LineCollection) for a in drawing.figure.axes[0].collections)


def test_every_published_bin_is_drawn_with_its_luminosity():
    published = published_limits("belle2_2020_gamma_alp")
    drawing = example_limits(published=[published])
    axes = drawing.figure.axes[0]
    (container,) = axes.containers
    np.testing.assert_array_equal(container[0].get_xdata(), published.centre)
    np.testing.assert_array_equal(container[0].get_ydata(), published.median)
    assert len(published.centre) == 26
    said = texts(drawing)
    assert "0.445 fb" in said
    assert "digitised" in said
    low, high = axes.get_ylim()
    assert low < published.minimum.min()
    assert high > published.maximum.max()


def test_coupling_band_is_the_cross_section_band_converted():
    bands = 6 * BAND * np.ones(len(SEARCHED))
    bands[:, 3] = np.nan
    published = published_limits("belle2_2020_gamma_alp")
    drawing = draw_g_agammagamma_limits(
        SEARCHED, bands, confidence_level=0.95, stamp=BLIND, axis=AXIS, published=[published]
    )
    table = drawing.table
    known = np.isfinite(bands[2])
    np.testing.assert_allclose(
        table["expected_median_per_gev"][known],
        couplings.g_agammagamma_from_cross_section(SEARCHED[known], bands[2][known]),
    )
    assert np.isnan(table["expected_median_per_gev"][3])
    (container,) = drawing.figure.axes[0].containers
    np.testing.assert_allclose(container[0].get_ydata(), published.as_g_agammagamma().median)


def test_prompt_failure_is_in_the_legend():
    said = texts(example_limits(not_prompt=[(0.17, 0.4)], not_prompt_text="βγcτ > 10 mm"))
    assert "βγcτ > 10 mm" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observed": np.zeros(len(SEARCHED))}, "positive"),
        ({"observed": np.ones(3)}, "shape"),
    ],
)
def test_bad_limits_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        example_limits(**changes)


def test_an_unknown_scale_of_the_mass_axis_is_refused():
    with pytest.raises(ValueError, match="cubic"):
        MassAxis(scale="cubic")


def test_masses_that_do_not_ascend_are_refused():
    with pytest.raises(ValueError, match="ascend"):
        example_limits(SEARCHED[::-1])


def test_largest_excess_is_marked_with_its_global_p_value():
    p0 = np.full(len(SEARCHED), 0.3)
    p0[40] = norm.sf(4.2)
    drawing = draw_p_values(
        SEARCHED, p0, stamp=STAMP, global_p_values=[GlobalPValue(0.0123, 0.002, "toys")], axis=AXIS
    )
    (mark,) = artists(drawing, "largest")
    assert mark.get_xdata()[0] == SEARCHED[40]
    assert drawing.table["significance"][40] == pytest.approx(4.2)
    said = texts(drawing)
    assert r"4.2$\sigma$" in said
    assert "0.012" in said
    assert drawing.figure.axes[0].get_ylim()[0] < norm.sf(4.2)
    with pytest.raises(ValueError, match="outside"):
        draw_p_values([1.0], [-0.1], stamp=STAMP)


def test_excess_with_a_p_value_of_zero_is_drawn():
    drawing = draw_p_values([1.0, 2.0], [0.5, 0.0], stamp=STAMP)
    assert 30 < drawing.table["significance"][1] < 31
    assert len(artists(drawing, "largest")) == 1
    drawing.figure.draw_without_rendering()


def test_mass_text_of_alt_names_each_thing_once():
    alt = example_limits().alt
    assert alt.count("sigma bands") == 1
    assert "drawn as a solid line" in alt
    assert "not shown" in example_limits(observed=None, stamp=BLIND).alt


def test_p_value_of_zero_excess_everywhere_is_drawn():
    drawing = draw_p_values([1.0, 2.0], [np.nan, np.nan], stamp=STAMP)
    assert artists(drawing, "largest") == []


def test_score_histogram_keeps_the_sum_of_weights(drawings):
    rng = np.random.default_rng(1)
    scores, weights = rng.uniform(-0.1, 1.1, 1000), rng.uniform(0, 2, 1000)
    drawing = draw_scores({"qed": (scores, weights)}, stamp=STAMP, normalise=False)
    assert drawing.table["qed"].sum() == pytest.approx(weights.sum())  # nothing is lost outside the range
    assert np.sqrt(np.sum(drawing.table["qed_error"] ** 2)) == pytest.approx(np.sqrt(np.sum(weights**2)))
    assert drawings["scores"].table["signal"].sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="not finite"):
        draw_scores({"qed": ([np.nan], [1.0])}, stamp=STAMP)
    with pytest.raises(ValueError, match="no process"):
        draw_scores({}, stamp=STAMP)


def test_roc_table_holds_every_curve():
    drawing = draw_roc({0.5: ([0, 1], [0, 1]), "all": ([0, 0.5, 1], [0, 0.2, 1])}, stamp=STAMP)
    assert list(drawing.table["curve"]) == ["0.5", "0.5", "all", "all", "all"]
    np.testing.assert_array_equal(drawing.table["background_efficiency"], [0, 1, 0, 0.2, 1])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        draw_roc({1.0: ([0, 1.2], [0, 1])}, stamp=STAMP)


def test_spectrum_pulls_and_data_are_in_the_table():
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    drawing = draw_spectrum(
        edges,
        {"qed": [4.0, 9.0, 0.0], "fake": [12.0, 0.0, 0.0]},
        data=[20, 9, 0],
        stamp=STAMP,
        vetoes=[(1, 1.5)],
    )
    np.testing.assert_allclose(drawing.table["pull"], [1.0, 0.0, np.nan])
    (points,) = [c for c in drawing.figure.axes[0].containers if isinstance(c, ErrorbarContainer)]
    np.testing.assert_array_equal(points[0].get_ydata(), [20, 9])  # no point where there is no event
    np.testing.assert_array_equal(drawing.table["data"], [20, 9, 0])


def test_blind_spectrum_shows_the_expectation_alone():
    drawing = draw_spectrum([0, 1, 2], {"qed": [4.0, 9.0]}, stamp=BLIND)
    assert set(drawing.table) == {"m_gg_low", "m_gg_high", "expected_qed"}
    assert len(drawing.figure.axes) == 1
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_spectrum([0, 1, 2], {}, stamp=BLIND)


def test_poisson_interval_covers_known_values():
    # Garwood interval of 0 and of 1 at 68.27 %, e.g. PDG Statistics, table of Poisson intervals
    np.testing.assert_allclose(poisson_interval([0, 1]), [[0, 0.8272], [1.8410, 2.2995]], atol=2e-4)


def test_training_marks_the_kept_epoch(drawings):
    (mark,) = artists(drawings["training"], "kept-0")
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (1, 2.0)
    np.testing.assert_array_equal(drawings["training"].table["kept"], [False, True, False])


def test_impacts_are_sorted_by_size(drawings):
    assert drawings["impacts"].table["nuisance"] == ["luminosity", "width"]


def test_comparison_draws_only_bins_that_hold_points(drawings):
    table = drawings["comparison"].table
    assert len(table["ratio"]) == 26
    container = drawings["comparison"].figure.axes[0].containers[0]
    assert len(container[0].get_xdata()) == np.sum(table["n_scan_points"] > 0) > 0


def test_users_dollar_signs_are_not_mathematics():
    drawing = draw_training({0: FoldHistory([1.0])}, stamp=Stamp("cost $5 and $6", note="$x"))
    assert r"\$5" in texts(drawing)
    drawing.figure.draw_without_rendering()


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    example_limits().figure.draw_without_rendering()
    assert dict(matplotlib.rcParams) == before


def test_plots_do_not_import_pyplot_or_torch():
    code = (
        "import sys\n"
        "from darksieve.evaluation.plots import brazil_band, comparison, efficiency, fits, p_values, scores\n"
        "from darksieve.evaluation.plots import spectrum, training\n"
        "print(sorted({'matplotlib.pyplot', 'torch', 'xgboost', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_csv_writes_full_precision_and_empty_cells(tmp_path):
    values = np.array([0.1 + 0.2, np.nan, 1e-300])
    write_csv({"x": values, "name": ["a", "b,c", None], "n": np.arange(3)}, tmp_path / "t.csv")
    columns = read_csv(tmp_path / "t.csv")
    assert float(columns["x"][0]) == values[0]
    assert columns["x"][1] == ""
    assert columns["name"] == ["a", "b,c", ""]
    assert columns["n"] == ["0", "1", "2"]
    assert os.listdir(tmp_path) == ["t.csv"]


def test_tables_of_unequal_columns_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="different lengths"):
        save_figure(Figure(), {"x": [1], "y": [1, 2]}, tmp_path / "f")
    with pytest.raises(ValueError, match="no columns"):
        save_figure(Figure(), {}, tmp_path / "f")
    assert os.listdir(tmp_path) == []


def test_the_spread_between_tails_is_drawn_where_it_is_worth_it_and_written():
    median = 6 + np.sqrt(SEARCHED)
    wide = SEARCHED > 2
    tails = np.array([median * np.where(wide, 0.8, 0.999), median * np.where(wide, 1.3, 1.001)])
    drawing = example_limits(tails=tails)
    assert len(artists(drawing, "tails")) == 1
    assert "beyond the simulation" in texts(drawing)
    low = drawing.table["tail_low_fb"]
    np.testing.assert_allclose(low[wide], 0.8 * median[wide])
    assert np.isnan(low[~wide]).all()
    nothing = example_limits(tails=np.full((2, len(SEARCHED)), np.nan))
    assert not artists(nothing, "tails")
    assert "tail_low_fb" not in nothing.table


def test_p_values_of_windows_without_an_event_are_drawn():
    drawing = draw_p_values([0.3, 0.7, 1.2], [1.0, 1.0, 1.0], stamp=STAMP)
    np.testing.assert_array_equal(drawing.table["p0"], 1.0)
