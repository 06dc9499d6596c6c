"""Counts enumerated with their nuisances averaged over: against closed forms, toys, and each other."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nbinom, poisson

from darksieve.errors import InputError
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.counting import exact_expected_limits, exact_limit
from darksieve.evaluation.limits.marginal import CountedChannel, MarginalCounts, _background_pmf


def counts(*channels):
    return MarginalCounts(tuple(CountedChannel(*channel) for channel in channels))


@pytest.mark.parametrize("confidence", [0.90, 0.95])
@pytest.mark.parametrize(("n", "background"), [(0, 0.0), (0, 0.5), (1, 0.0), (3, 1.0), (6, 5.5), (11, 5.5)])
def test_one_count_without_nuisances_has_the_exact_limit(n, background, confidence):
    problem = counts((2.0, background))
    assert problem.limit([n], confidence) == pytest.approx(
        exact_limit(n, background, confidence) / 2, rel=1e-5
    )


@pytest.mark.parametrize("background", [0.1, 3.0, 10.0])
def test_its_band_is_the_exact_one(background):
    problem = counts((1.0, background))
    found = [problem.limit(None, level=level) for level in (-2, -1, 0, 1, 2)]
    assert found == pytest.approx(exact_expected_limits(background), rel=1e-5)


def test_channels_of_one_ratio_of_signal_to_background_act_as_their_sum():
    problem = counts((0.4, 2.2), (0.6, 3.3))
    assert problem.limit([2, 4]) == pytest.approx(exact_limit(6, 5.5), rel=1e-5)


def test_a_background_with_a_gamma_error_is_a_negative_binomial():
    # b = 2 ± 1: shape 4, rate 2, p = rate / (1 + rate)
    pmf = _background_pmf(2.0, 1.0, "gamma")
    assert pmf == pytest.approx(nbinom.pmf(np.arange(len(pmf)), 4.0, 2 / 3), abs=1e-12)


@pytest.mark.parametrize("constraint", ["gamma", "gaussian", "log_normal"])
def test_backgrounds_keep_their_mean_and_add_their_variance(constraint):
    pmf = _background_pmf(8.0, 1.0, constraint)
    n = np.arange(len(pmf))
    mean = (n * pmf).sum()
    # 256 quantiles leave out some of the tails; the log-normal's mean is exp(s²/2) higher, 0.7 %
    assert pmf.sum() == pytest.approx(1, abs=1e-6)
    assert mean == pytest.approx(8.0, rel=0.01)
    assert ((n - mean) ** 2 * pmf).sum() == pytest.approx(9.0, rel=0.03)


def test_cls_of_two_channels_with_shared_and_own_nuisances_is_that_of_toys():
    first = CountedChannel(3.0, 0.8, 0.4, sizes=(0.2, 0.1, 0.0))
    second = CountedChannel(1.0, 0.2, 0.1, sizes=(0.2, 0.0, 0.3))
    problem, strength, observed = MarginalCounts((first, second)), 1.2, [2, 0]
    rng, n = np.random.default_rng(3), 400_000
    theta = rng.normal(size=(n, 3))
    score, total = 0.0, {True: 0.0, False: 0.0}
    for k, channel in enumerate((first, second)):
        b = rng.gamma(
            (channel.background / channel.uncertainty) ** 2, channel.uncertainty**2 / channel.background, n
        )
        s = strength * channel.signal * np.prod((1 + np.array(channel.sizes)) ** theta, axis=1)
        weight = np.log1p(strength * channel.signal / channel.background)
        score += weight * observed[k]
        for with_signal, value in total.items():
            total[with_signal] = value + weight * rng.poisson(b + with_signal * s)
    p = {key: float(np.mean(values <= score + 1e-9)) for key, values in total.items()}
    error = np.sqrt((1 - p[True]) / (p[True] * n) + (1 - p[False]) / (p[False] * n))
    # 256 quasi-random points stand for the nuisances of several channels: 3e-3 of CLs
    assert problem.cls(strength, observed) == pytest.approx(p[True] / p[False], rel=4 * error + 3e-3)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 6),
    background=st.floats(0.01, 8),
    size=st.floats(0.01, 0.3),
    scale=st.floats(0.1, 10),
)
def test_limits_rise_with_uncertainty_and_counts_and_scale_with_the_signal(n, background, size, scale):
    plain = counts((1.0, background)).limit([n])
    uncertain = counts((1.0, background, 0.0, "gamma", (size,))).limit([n])
    assert uncertain >= plain * (1 - 1e-5)
    assert counts((1.0, background)).limit([n + 1]) > plain
    assert counts((scale, background)).limit([n]) * scale == pytest.approx(plain, rel=1e-4)


def test_p_values_are_those_of_a_poisson():
    assert counts((1.0, 2.5)).p0([5], 1.0) == pytest.approx(poisson.sf(4, 2.5), abs=1e-7)
    assert counts((1.0, 2.5)).p0([0], 1.0) == 1.0


def document(**changes):
    entry = {
        "window": [1, 3],
        "yield_per_unit": 4.0,
        "background": {"family": "known", "yield": 0.5, "uncertainty": 0.25},
    }
    return {
        "format": "darksieve-search/1",
        "parameter": {"name": "cross_section", "unit": "fb"},
        "channels": [{"name": "a", "data": {"edges": [0, 1, 2, 3], "counts": [0, 1, 1]}}],
        "points": [
            {"label": "m1", "mass": 1.0, "channels": {"a": entry | changes}},
            {"label": "m2", "mass": 2.0, "status": "vetoed"},
        ],
        "nuisances": [{"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.1}],
    }


def test_documents_are_answered_point_by_point():
    curve = answer_documents([document()], method="marginal")
    first, second = curve.points
    problem = counts((4.0, 0.5, 0.25, "gamma", (0.1,)))
    assert (first.method, first.status, second.status) == ("marginal", "converged", "vetoed")
    assert first.observed == pytest.approx(problem.limit([2]), rel=1e-9)
    assert first.expected["0"] == pytest.approx(problem.limit(None), rel=1e-9)
    assert first.best_fit == pytest.approx(1.5 / 4)
    assert json.loads(json.dumps(curve.to_json()))["points"][0]["method"] == "marginal"


def test_blind_documents_have_expected_limits_only():
    blind = document()
    del blind["channels"][0]["data"]["counts"]
    (first, _) = answer_documents([blind], method="marginal").points
    assert first.observed is first.p0 is first.best_fit is None
    assert first.expected["0"] > 0


@pytest.mark.parametrize(
    ("changes", "nuisance", "message"),
    [
        ({"background": {"family": "chebyshev", "order": 0}, "shape": "gaussian", "mean": 2, "sigma": 0.3},
         {}, "counts over known backgrounds"),
        ({"spurious_signal": 0.1}, {}, "without spurious signal"),
        ({}, {"on": "background"}, "is on the background"),
    ],
)  # fmt: skip
def test_what_is_no_count_is_refused(changes, nuisance, message):
    wrong = document(**changes)
    wrong["nuisances"][0] |= nuisance
    with pytest.raises(InputError, match=message):
        answer_documents([wrong], method="marginal")


def test_too_many_outcomes_fail_in_their_point_alone():
    many = document()
    many["channels"] = [{"name": f"c{i}", "data": {"counts": [60]}} for i in range(6)]
    entry = {"yield_per_unit": 1.0, "background": {"family": "known", "yield": 60.0}}
    many["points"] = [
        {"label": "m1", "mass": 1.0, "channels": {f"c{i}": entry for i in range(6)}},
        {"label": "m2", "mass": 2.0, "channels": {"c0": entry}},
    ]
    bad, good = answer_documents([many], method="marginal").points
    assert bad.status == "failed"
    assert "too many" in bad.note
    assert good.status == "converged"
