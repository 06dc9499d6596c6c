"""The smooth model of a whole spectrum closes on its simulation and on the truth."""

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.smooth_background import (
    PeakingBackground,
    fit_peaking_background,
    fit_smooth_background,
)

EDGES = np.linspace(0.1, 9.9, 4001)
MIDDLES = (EDGES[1:] + EDGES[:-1]) / 2
TRUTH = (
    (2500 * np.exp(-MIDDLES / 3) * MIDDLES / (MIDDLES + 0.3) + 30 * np.exp(MIDDLES / 3))
    * np.diff(EDGES)
    * 400
)


@pytest.mark.parametrize("weight", [0.5, 20.0])
def test_model_closes_on_its_simulation_and_on_the_truth(weight):
    rng = np.random.default_rng(3)
    counts = rng.poisson(TRUTH / weight)
    model = fit_smooth_background(EDGES, weight * counts, weight**2 * counts)
    assert model.closure.p_value > 1e-3
    assert model.closure.largest_pull < 5  # of 670 groups
    # mean squared distance to the truth, in units of the simulation's own errors: that of the fitted freedom
    distance = np.sum((model.smooth_counts - TRUTH) ** 2 / (weight * TRUTH)) / 6
    assert distance < 2.5 * model.log_density.effective_parameters
    assert model.expected_counts.sum() == pytest.approx(TRUTH.sum(), rel=5 / np.sqrt(counts.sum()))
    assert model.effective_events == pytest.approx(counts.sum())


def test_peaks_stand_beside_the_smooth_part():
    rng = np.random.default_rng(5)
    counts = rng.poisson(TRUTH)
    peak = PeakingBackground("eta_prime", CrystalBall(0.958, 0.011, 1.5, 4, 1.5, 4), 800.0, 0.2)
    model = fit_smooth_background(EDGES, counts, counts, peaks=[peak])
    inside = np.abs(MIDDLES - 0.958) < 0.03
    added = (model.expected_counts - model.smooth_counts)[inside].sum()
    assert added == pytest.approx(800 * float(peak.shape.cdf(0.988) - peak.shape.cdf(0.928)), rel=0.05)


def test_a_peak_is_fitted_from_its_candidates():
    rng = np.random.default_rng(6)
    shape = CrystalBall(0.958, 0.011, 1.5, 4, 1.5, 4)
    peak = fit_peaking_background(
        shape.draw(2000, rng), np.full(2000, 0.05), name="eta_prime", uncertainty=0.3
    )
    assert peak.expected == pytest.approx(100)
    assert peak.shape.mean == pytest.approx(0.958, abs=4 * 0.011 / np.sqrt(2000))
    assert peak.shape.sigma == pytest.approx(0.011, rel=0.15)
    assert (peak.name, peak.uncertainty) == ("eta_prime", 0.3)


def test_too_little_simulation_is_refused():
    counts = np.zeros(4000)
    counts[::100] = 1
    with pytest.raises(InputError, match="too few for a smooth model"):
        fit_smooth_background(EDGES, counts, counts)
    with pytest.raises(InputError, match="too few to fit a peak"):
        fit_peaking_background(np.ones(10), np.ones(10), name="eta", uncertainty=0.1)
