"""Categories that simulation cannot fill have the background that their working points state."""

import numpy as np
import pytest

from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.pseudo_data import draw_pseudo_data
from darksieve.evaluation.search_building import (
    BackgroundChoice,
    ScanChannel,
    build_search_model,
    with_counts,
)
from darksieve.evaluation.signal_shape import fit_signal_shape
from darksieve.evaluation.smooth_background import PeakingBackground
from darksieve.evaluation.thin_background import is_thin, modelled_density, with_modelled_background


def sigma(masses):
    return 0.01 * np.ones_like(np.asarray(masses, float))


def points(status="beyond_simulation", n=21, events=8.0):
    return [
        {"mass": mass, "n_background": events * mass, "status": status} for mass in np.linspace(1.0, 3.0, n)
    ]


def channel(edges, counts=0.0, **more):
    """A channel with so many simulated events of weight one in each bin."""
    edges = np.asarray(edges, float)
    sums = np.full(len(edges) - 1, counts)
    return ScanChannel("c", None, sigma, np.ones_like, 1.0, edges, sums, sums, **more)


def test_the_spectrum_has_what_the_working_points_count_in_their_windows():
    filled = with_modelled_background(channel(np.linspace(1, 3, 401)), points(), "mass", weight=1000.0)
    centres = np.linspace(1, 3, 401)[:-1] + 0.0025
    inside = np.abs(centres - 2) < 0.02  # ±2 resolutions
    assert filled.sums[inside].sum() == pytest.approx(16, rel=1e-3)
    # one simulated event stands for a thousand: the spectrum is worth so many effective events
    assert filled.sums.sum() ** 2 / filled.squares.sum() == pytest.approx(filled.sums.sum() / 1000)


def test_a_squared_observable_has_the_same_events_in_the_same_masses():
    in_mass = with_modelled_background(channel(np.linspace(1, 3, 401)), points(), "mass", weight=1.0)
    squared = with_modelled_background(
        channel(np.linspace(1, 3, 401) ** 2), points(), "mass_squared", weight=1.0
    )
    np.testing.assert_allclose(squared.sums, in_mass.sums, rtol=1e-3)


@pytest.mark.parametrize("given", [[], points("ok"), points("pooled"), points("too_few_events")])
def test_where_simulation_fills_a_category_its_counts_stay(given):
    before = channel(np.linspace(1, 3, 11), counts=20.0)
    assert with_modelled_background(before, given, "mass", weight=1.0) is before


@pytest.mark.parametrize(("counts", "thin"), [(9.9, True), (10.1, False)])
def test_a_category_with_less_than_a_smooth_model_takes_is_modelled_whatever_its_points_say(counts, thin):
    after = with_modelled_background(
        channel(np.linspace(1, 3, 11), counts=counts), points("pooled"), "mass", weight=1.0
    )
    assert after.modelled is thin  # a smooth model takes 100 effective events


def test_most_of_the_masses_decide_and_numbers_that_are_not_there_are_bridged():
    mixed = points()
    for p in mixed[:10]:
        p["status"] = "ok"
    assert is_thin(mixed, 1e4)
    mixed[10]["status"] = "ok"
    assert not is_thin(mixed, 1e4)
    holes = points()
    holes[3]["n_background"] = None
    masses, density = modelled_density(holes, sigma)
    assert len(masses) == 20
    np.testing.assert_allclose(density, 8 * masses / 0.04)


def test_peaks_that_working_points_count_are_not_counted_twice():
    flat = [p | {"n_background": 10.0} for p in points(n=41)]
    peak = PeakingBackground("eta", CrystalBall(2.0, 0.01, 2.0, 5.0, 2.0, 5.0), 400.0, 0.2)
    of_peak = [
        peak.expected * (peak.shape.cdf(p["mass"] + 0.02) - peak.shape.cdf(p["mass"] - 0.02)) for p in flat
    ]
    with_peak = [p | {"n_background": p["n_background"] + n} for p, n in zip(flat, of_peak, strict=True)]
    masses, density = modelled_density(with_peak, sigma, [peak])
    assert not np.isclose(masses, 2.0).any()  # nearly all of that window is peak
    np.testing.assert_allclose(density, 10 / 0.04, rtol=1e-9)
    given = channel(np.linspace(1, 3, 401), peaks=(peak,))
    modelled = with_modelled_background(given, with_peak, "mass", weight=1.0)
    near = np.abs((np.linspace(1, 3, 401)[1:] + np.linspace(1, 3, 401)[:-1]) / 2 - 2.0) < 0.02
    expected = 10 + float(peak.counts([1.98, 2.02])[0])
    assert modelled.expected_counts[near].sum() == pytest.approx(expected, rel=1e-3)


def test_of_windows_that_are_all_peak_something_smooth_is_left():
    peak = PeakingBackground("eta", CrystalBall(2.0, 0.01, 2.0, 5.0, 2.0, 5.0), 400.0, 0.2)
    _, density = modelled_density([{"mass": 2.0, "n_background": 380.0, "status": "ok"}], sigma, [peak])
    assert density == pytest.approx([0.5 * 380 / 0.04])


N_DRAWS = 100


@pytest.mark.slow
def test_limits_on_pseudo_data_agree_on_average_with_what_the_scan_expects():
    """A category with three simulated events of weight 300: draws and expectation come from one model."""
    rng = np.random.default_rng(8)
    mass = rng.uniform(0.9, 3.1, 6000)
    shape = fit_signal_shape(mass + 0.01 * rng.normal(size=6000), mass, np.ones(6000), position="mass")
    edges = np.linspace(0.95, 3.05, 1261)
    counts = np.histogram([1.2, 2.02, 2.9], edges)[0].astype(float)
    given = ScanChannel(
        "thin", shape, shape.sigma, np.ones_like, 1.0, edges, 300.0 * counts, 300.0**2 * counts
    )
    working_points = [p | {"n_background": 60.0} for p in points()]
    modelled = with_modelled_background(given, working_points, "mass", weight=300.0)
    assert modelled.modelled
    choice = BackgroundChoice("chebyshev", 1, 20.0)

    def limits(documents):
        return answer_documents(documents, confidence_level=0.9, method="asymptotic", look_elsewhere=False)

    def document(channels):
        return build_search_model(channels, [2.0], parameter=("signal events", "1"), background=choice)

    expected = limits([document([modelled])]).expected()[0]
    drawn = [draw_pseudo_data({"thin": modelled}, seed=seed).counts for seed in range(N_DRAWS)]
    assert np.mean([c["thin"].sum() for c in drawn]) == pytest.approx(
        modelled.sums.sum(), abs=5 * np.sqrt(modelled.sums.sum() / N_DRAWS)
    )
    observed = limits([document(with_counts([modelled], c)) for c in drawn]).values("observed")
    assert np.isfinite(observed).all()
    # a median of N has the error 1.25 sigma / sqrt(N); 1 % for the formula at 60 events under the peak
    error = 1.25 * np.std(np.log(observed)) / np.sqrt(N_DRAWS)
    assert abs(np.log(np.median(observed) / expected)) < 4 * error + 0.01
