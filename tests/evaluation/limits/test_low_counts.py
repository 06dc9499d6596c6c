"""Nearly empty windows, where naive fits fail: nothing fails, and no limit is wrong."""

import numpy as np
import pytest

from darksieve.evaluation.limits import asymptotics
from darksieve.evaluation.limits.asimov import band_levels, limit_significance
from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import upper_limits
from darksieve.evaluation.limits.minuit import solve_by_minuit
from darksieve.evaluation.limits.problem import ProblemBatch

EDGES = np.linspace(-12.5, 12.5, 151)
PEAK = {
    "shape": "double_sided_crystal_ball",
    "mean": 0.0,
    "sigma": 1.0,
    "alpha_left": 1.4,
    "n_left": 4,
    "alpha_right": 1.8,
    "n_right": 6,
    "window": [-12.5, 12.5],
    "yield_per_unit": 1.0,
}


def windows(background, n_windows, n_expected, seed=1):
    """Independent windows with the same templates: one compiled, the counts of all others beside it."""
    rng = np.random.default_rng(seed)
    model = SearchModel.parse(
        {
            "format": "darksieve-search/1",
            "channels": [
                {
                    "name": "c",
                    "data": {"edges": EDGES.tolist(), "counts": [0.0] * 150},
                    "background": background,
                }
            ],
            "points": [{"label": str(i), "channels": {"c": PEAK}} for i in range(n_windows)],
            "nuisances": [
                {"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.08},
                {"name": "width", "on": "sigma", "kind": "linear", "size": 0.10},
                {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2},
            ],
        }
    )
    batch = compile_search(model)
    counts = rng.poisson(n_expected / 150, (n_windows, 150)).astype(float)
    start = batch.structure.start.copy()
    n_free = batch.strength_index(0)
    start[:, :n_free] = np.where(start[:, :n_free] != 0, counts.sum(axis=1)[:, None] / n_free + 1e-3, 0.0)
    return ProblemBatch(
        structure=batch.structure._replace(start=start),
        rows=batch.rows._replace(counts=counts.ravel()),
        events=None,
        events_per_unit=batch.events_per_unit,
        blind=False,
        labels=batch.labels,
        masses=batch.masses,
    )


FAMILIES = [
    {"family": "bernstein", "order": 3},
    {"family": "chebyshev", "order": 3},
    {"family": "exponential"},
]


@pytest.mark.parametrize("background", FAMILIES, ids=lambda b: b["family"])
def test_none_of_400_windows_with_one_expected_event_fails(background):
    batch = windows(background, 400, 1.0)
    limits = upper_limits(batch, minuit_fallback=False)
    assert set(limits.status) == {"converged"}
    assert np.all(np.isfinite(limits.observed))
    assert np.all(np.diff(limits.expected, axis=1) > 0)
    # one-sided Gaussian counting without background gives 1.92 signal events, and no window can exclude fewer
    assert limits.observed.min() > 1.85
    assert np.all(limits.best_fit < limits.observed)


@pytest.mark.parametrize("background", FAMILIES, ids=lambda b: b["family"])
@pytest.mark.parametrize("n_expected", [1.0, 6.0])
def test_minuit_finds_no_lower_minimum_and_the_same_limits(background, n_expected):
    batch = windows(background, 6, n_expected, seed=3)
    levels = np.array(band_levels())
    targets = limit_significance(0.95, levels)
    limits = upper_limits(batch, minuit_fallback=False, errors=False)
    want = asymptotics.WANT_FIT | asymptotics.WANT_EXPECTED | asymptotics.WANT_OBSERVED
    from darksieve.evaluation.limits.engine import fit

    free, zero = fit(batch), fit(batch, 0.0)
    for p in range(batch.n_problems):
        other = solve_by_minuit(batch, p, want, levels, targets, 0.05, True, np.nan)
        assert free.nll[p] < other[asymptotics.NLL_BEST] + 2e-4
        assert zero.nll[p] < other[asymptotics.NLL_ZERO] + 2e-4
        if free.nll[p] > other[asymptotics.NLL_BEST] - 2e-4:  # where MIGRAD found the minimum as well
            assert limits.observed[p] == pytest.approx(other[asymptotics.OBSERVED], rel=1e-3)
        bands = other[asymptotics.FIRST_LEVEL : asymptotics.FIRST_LEVEL + 5]
        np.testing.assert_allclose(limits.expected[p], bands, rtol=1e-3)
