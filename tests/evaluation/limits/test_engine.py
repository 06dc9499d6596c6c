"""The batched engine against closed forms, and properties that every answer must have."""

import copy

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.limits.compile import compile_search, fitted_points
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import fit, limits_of_search, upper_limits

PEAK = {
    "shape": "double_sided_crystal_ball",
    "mean": 0.0,
    "sigma": 1.0,
    "alpha_left": 1.4,
    "n_left": 4,
    "alpha_right": 1.8,
    "n_right": 6,
}
NUISANCES = [
    {"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.08},
    {"name": "width", "on": "sigma", "kind": "linear", "size": 0.10},
    {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2},
]


def counting(n, background):
    return SearchModel.parse(
        {
            "format": "darksieve-search/1",
            "channels": [{"name": "c", "data": {"counts": [n]}, "background": background}],
            "points": [{"label": "a", "channels": {"c": {"yield_per_unit": 1.0}}}],
        }
    )


def spectrum(seed=0, *, n_events=2000, n_channels=1, n_bins=75, background=None, data=True, masses=(0.0,)):
    rng = np.random.default_rng(seed)
    edges = np.linspace(-12.5, 12.5, n_bins + 1)
    channels = []
    for c in range(n_channels):
        expected = n_events / n_bins * (1.2 - 0.4 * np.linspace(0, 1, n_bins))
        body = {"edges": edges.tolist()}
        if data:
            body["counts"] = rng.poisson(expected).astype(float).tolist()
        family = background or {"family": "bernstein", "order": 2}
        channels.append({"name": f"c{c}", "data": body, "background": family})
    points = [
        {
            "label": f"m{mass}",
            "mass": mass,
            "channels": {
                f"c{c}": PEAK | {"mean": mass, "window": [-12.5, 12.5], "yield_per_unit": 0.5 + 0.25 * c}
                for c in range(n_channels)
            },
        }
        for mass in masses
    ]
    return {
        "format": "darksieve-search/1",
        "channels": channels,
        "points": points,
        "nuisances": copy.deepcopy(NUISANCES),
    }


@pytest.mark.parametrize(("n", "observed"), [(1, 3.056928), (6, 6.432314), (11, 11.993319)])
def test_counting_limits_match_the_closed_form(n, observed):
    limits = limits_of_search(counting(n, {"family": "known", "yield": 5.5}))
    assert limits.observed[0] == pytest.approx(observed, rel=1e-6)
    np.testing.assert_allclose(
        limits.expected[0], [2.848321, 4.006776, 5.956845, 9.081177, 13.501985], rtol=2e-6
    )
    assert limits.best_fit[0] == pytest.approx(n - 5.5, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "background", "significance"),
    [
        (11, {"family": "known", "yield": 5.5}, 2.061368),
        (20, {"family": "known", "yield": 5.5}, 4.758084),
        (11, {"family": "known", "yield": 5.5, "uncertainty": 1.65, "constraint": "log_normal"}, 1.666480),
        (20, {"family": "known", "yield": 5.5, "uncertainty": 1.65, "constraint": "log_normal"}, 3.584433),
    ],
)
def test_discovery_significance_matches_the_closed_form(n, background, significance):
    assert limits_of_search(counting(n, background)).significance[0] == pytest.approx(significance, rel=1e-6)


@pytest.mark.parametrize(
    ("n", "n_off", "alpha", "observed", "median"),
    [(6, 11, 0.5, 7.048118, 6.638127), (2, 10, 0.2, 4.299317, 4.299317)],
)
def test_on_off_limits_match_the_closed_form(n, n_off, alpha, observed, median):
    b = n_off * alpha
    background = {"family": "known", "yield": b, "uncertainty": (b * alpha) ** 0.5, "constraint": "gamma"}
    limits = limits_of_search(counting(n, background))
    assert limits.observed[0] == pytest.approx(observed, rel=1e-5)
    assert limits.expected[0, 2] == pytest.approx(median, rel=1e-5)


def test_nothing_seen_over_nothing_expected_gives_half_the_squared_significance():
    limits = limits_of_search(counting(0, {"family": "known", "yield": 0.0}))
    assert limits.observed[0] == pytest.approx(1.920729, rel=1e-5)
    assert limits.status == ("converged",)


def test_cls_at_the_limit_is_alpha_and_bands_invert_too():
    batch = compile_search(SearchModel.parse(spectrum(3)))
    for statistic in ("qtilde", "q"):
        limits = upper_limits(batch, test_statistic=statistic, confidence_level=0.9)
        at = upper_limits(batch, test_statistic=statistic, cls_at=limits.observed)
        assert at.cls_observed[0] == pytest.approx(0.1, rel=2e-4)
        for k in range(5):
            at = upper_limits(batch, cls_at=limits.expected[:, k], observed=False)
            assert at.cls_expected[0, k] == pytest.approx(0.1, rel=2e-4)


def test_p0_is_at_least_a_half_where_the_best_fit_is_not_positive():
    model = SearchModel.parse(spectrum(4, masses=tuple(np.linspace(-6, 6, 25))))
    limits = limits_of_search(model)
    low = limits.best_fit <= 0
    assert 0 < low.sum() < 25
    assert np.all(limits.p0[low] >= 0.5)
    assert np.all(limits.p0[~low] < 0.5)
    assert np.all(limits.best_fit_error[:, 0] < 0)
    assert np.all(limits.best_fit_error[:, 1] > 0)


def test_order_of_channels_changes_nothing():
    document = spectrum(5, n_channels=3)
    turned = copy.deepcopy(document)
    turned["channels"] = turned["channels"][::-1]
    one, other = (limits_of_search(SearchModel.parse(d)) for d in (document, turned))
    np.testing.assert_allclose(one.observed, other.observed, rtol=1e-6)
    np.testing.assert_allclose(one.expected, other.expected, rtol=1e-6)


def test_units_of_the_parameter_scale_the_limits():
    document = spectrum(6)
    scaled = copy.deepcopy(document)
    scaled["points"][0]["channels"]["c0"]["yield_per_unit"] *= 1e9
    one, other = (limits_of_search(SearchModel.parse(d)) for d in (document, scaled))
    np.testing.assert_allclose(one.observed, 1e9 * other.observed, rtol=1e-9)


def test_limit_tightens_with_luminosity_as_its_square_root():
    blind = spectrum(
        7, data=False, background={"family": "chebyshev", "order": 1, "yield": 1e4, "coefficients": [-0.2]}
    )
    blind["nuisances"] = []
    more = copy.deepcopy(blind)
    more["channels"][0]["background"]["yield"] = 4e4
    more["points"][0]["channels"]["c0"]["yield_per_unit"] *= 4
    one, other = (limits_of_search(SearchModel.parse(d)) for d in (blind, more))
    assert np.isnan(one.observed[0])
    assert one.expected[0, 2] / other.expected[0, 2] == pytest.approx(2.0, rel=0.02)


def test_second_channel_tightens_the_limit():
    one = limits_of_search(SearchModel.parse(spectrum(8)))
    two = limits_of_search(SearchModel.parse(spectrum(8, n_channels=2)))
    assert two.expected[0, 2] < one.expected[0, 2]


def test_excluded_bins_do_not_enter_the_fit():
    document = spectrum(9)
    document["points"][0]["channels"]["c0"]["exclude"] = [[5.0, 8.0]]
    spoiled = copy.deepcopy(document)
    edges = np.asarray(spoiled["channels"][0]["data"]["edges"])
    inside = (edges[1:] > 5.0 + 1e-9) & (edges[:-1] < 8.0 - 1e-9)
    counts = np.asarray(spoiled["channels"][0]["data"]["counts"])
    counts[inside] = 1e6
    spoiled["channels"][0]["data"]["counts"] = counts.tolist()
    one, other = (limits_of_search(SearchModel.parse(d)) for d in (document, spoiled))
    np.testing.assert_allclose(one.observed, other.observed, rtol=1e-9)
    batch = compile_search(SearchModel.parse(document))
    assert batch.rows.counts.size == inside.size - inside.sum()


def test_excluding_the_peak_costs_sensitivity():
    document = spectrum(10)
    excluded = copy.deepcopy(document)
    excluded["points"][0]["channels"]["c0"]["exclude"] = [[0.0, 0.7]]
    one, other = (limits_of_search(SearchModel.parse(d)) for d in (document, excluded))
    assert other.expected[0, 2] > 1.1 * one.expected[0, 2]


def test_peaking_component_is_profiled_with_its_constraint():
    peak = PEAK | {"mean": 4.0, "name": "eta", "yield": 300.0, "uncertainty": 0.3}
    families = [
        {"family": "bernstein", "order": 2},
        {"family": "bernstein", "order": 2, "peaking": [peak]},
        {"family": "bernstein", "order": 2, "peaking": [peak | {"uncertainty": 0.001}]},
    ]
    documents = [spectrum(11, background=family) for family in families]
    rng = np.random.default_rng(11)
    edges = np.asarray(documents[0]["channels"][0]["data"]["edges"])
    extra = np.histogram(rng.normal(4.0, 1.0, 300), edges)[0]
    for document in documents:
        body = document["channels"][0]["data"]
        body["counts"] = (np.asarray(body["counts"]) + extra).tolist()
        document["points"][0]["channels"]["c0"]["mean"] = 3.0
    without, loose, tight = (limits_of_search(SearchModel.parse(d)) for d in documents)
    assert without.significance[0] > 5
    assert abs(loose.significance[0]) < 3
    assert tight.expected[0, 2] < loose.expected[0, 2]


def test_threads_and_portions_change_no_number():
    model = SearchModel.parse(spectrum(12, masses=tuple(np.linspace(-6, 6, 20)), n_channels=2))
    batch = compile_search(model)
    one = upper_limits(batch, threads=1)
    two = upper_limits(batch, threads=2)
    part = upper_limits(batch.subset(np.array([3, 17])), threads=1)
    np.testing.assert_array_equal(one.observed, two.observed)
    np.testing.assert_array_equal(one.expected[[3, 17]], part.expected)
    assert part.labels == (one.labels[3], one.labels[17])


def test_quantile_bands_lie_inside_the_two_sigma_bands():
    batch = compile_search(SearchModel.parse(spectrum(13)))
    sigma, quantile = (upper_limits(batch, bands=kind) for kind in ("sigma", "quantile"))
    assert quantile.expected[0, 4] < sigma.expected[0, 4]
    assert quantile.expected[0, 0] > sigma.expected[0, 0]
    assert quantile.expected[0, 2] == pytest.approx(sigma.expected[0, 2], rel=1e-7)


def test_fit_at_a_fixed_strength_is_the_profile():
    batch = compile_search(SearchModel.parse(spectrum(14)))
    free = fit(batch)
    assert free.status == ("converged",)
    low, high = upper_limits(batch).best_fit_error[0]
    for error in (low, high):
        raised = fit(batch, mu=free.strength + error)
        assert 2 * (raised.nll[0] - free.nll[0]) == pytest.approx(1.0, abs=1e-3)


def test_points_that_cannot_be_fitted_are_left_to_their_status():
    document = spectrum(15, masses=(0.0, 1.0, 2.0))
    document["points"][1]["status"] = "vetoed"
    document["points"][2]["channels"]["c0"]["yield_per_unit"] = 0.0
    model = SearchModel.parse(document)
    assert fitted_points(model) == [0]
    with pytest.raises(InputError, match=r"m2\.0.*no_signal"):
        compile_search(model, points=[2])


def test_template_background_with_uncertainty_acts_like_a_known_count():
    # one wide bin of a template is a counting experiment
    document = {
        "format": "darksieve-search/1",
        "channels": [
            {
                "name": "c",
                "data": {"edges": [0.0, 1.0], "counts": [11.0]},
                "background": {
                    "family": "template",
                    "edges": [0.0, 1.0],
                    "values": [5.5],
                    "uncertainty": 0.3,
                },
            }
        ],
        "points": [
            {
                "label": "a",
                "channels": {
                    "c": {
                        "window": [0.0, 1.0],
                        "yield_per_unit": 1.0,
                        "shape": "gaussian",
                        "mean": 0.5,
                        "sigma": 0.1,
                    }
                },
            }
        ],
    }
    limits = limits_of_search(SearchModel.parse(document))
    assert limits.significance[0] == pytest.approx(1.666480, rel=1e-5)
