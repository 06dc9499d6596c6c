"""Coverage: upper limits by toys contain the truth at least as often as their confidence level says."""

import numpy as np
import pytest
from scipy.stats import poisson

from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.document import SearchModel

CONFIDENCE_LEVEL = 0.9
N_EXPERIMENTS = 4000


def counting(n, background):
    return SearchModel.parse(
        {
            "format": "darksieve-search/1",
            "channels": [
                {
                    "name": "c",
                    "data": {"counts": [n]},
                    "background": {
                        "family": "known",
                        "yield": background,
                        "uncertainty": 0.0,
                        "constraint": "gamma",
                    },
                }
            ],
            "points": [{"label": f"n{n}", "channels": {"c": {"yield_per_unit": 1.0}}}],
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize(("background", "signal"), [(0.0, 3.0), (0.5, 3.0), (3.0, 4.0), (30.0, 10.0)])
def test_toy_limits_cover_a_true_signal_in_simulated_experiments(background, signal):
    rng = np.random.default_rng(np.random.SeedSequence(8, spawn_key=(int(10 * background),)))
    seen = rng.poisson(background + signal, N_EXPERIMENTS)
    counts, of_experiment = np.unique(seen, return_inverse=True)
    # counts this rare change the coverage by less than a permille, all of them together
    low, high = poisson.ppf([5e-4, 1 - 5e-4], background + signal)
    upper = np.full(len(counts), np.nan)
    wanted = np.flatnonzero((counts >= low) & (counts <= high))
    for i in wanted:
        curve = answer_documents(
            [counting(int(counts[i]), background)],
            confidence_level=CONFIDENCE_LEVEL,
            method="toys",
            n_toys=10_000,
            look_elsewhere=False,
            seed=1,
        )
        upper[i] = curve.points[0].observed
    upper[counts < low] = 0.0  # counted as not covered
    upper[counts > high] = np.inf
    assert np.isfinite(upper[wanted]).all()
    covered = np.mean(upper[of_experiment] >= signal)
    error = np.sqrt(CONFIDENCE_LEVEL * (1 - CONFIDENCE_LEVEL) / N_EXPERIMENTS)
    assert covered > CONFIDENCE_LEVEL - 3 * error
    # CLs overcovers, but never so much as to be useless: P(limit >= s) = 1 - alpha CL_b, averaged
    assert covered < 1 - 0.25 * (1 - CONFIDENCE_LEVEL)
