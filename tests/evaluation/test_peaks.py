"""Peaks of a sample with several are found at their known places, and what is not of them stays smooth."""

from dataclasses import replace

import numpy as np
import pytest

from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.peaks import PEAK_SIGMA, KnownPeak, peak_shares, shape_of_peak, split_peaks
from darksieve.evaluation.scan_channels import CommonResolution, ScanCandidates
from darksieve.evaluation.signal_shape import fit_signal_shape

UNIT = CrystalBall(0.0, 1.0, 1.4, 4.0, 1.8, 6.0)
SIGMA = 0.2  # GeV², of a squared recoil mass
PLACES = {1: 1.865, 2: 3.097}  # GeV, D0 and J/ψ
PEAKS = [KnownPeak(f"peak_{value}", "two_body", "decay", value, mass) for value, mass in PLACES.items()]


@pytest.fixture(scope="module")
def shape():
    rng = np.random.default_rng(1)
    mass = rng.uniform(0.5, 4.0, 20_000)
    observable = mass**2 + SIGMA * UNIT.quantile(rng.random(20_000))
    return fit_signal_shape(observable, mass, np.ones(20_000), position="mass_squared")


@pytest.fixture(scope="module")
def common(shape):
    return CommonResolution(shape, np.linspace(0.0, 16.0, 481), (8.0, 8.0))


def candidates(rng, in_peak, beside, weight=2.0, category=1):
    """Two decays with so many candidates in their peaks and beside them, and a smooth sample."""
    values, family = [], []
    for value, mass in PLACES.items():
        values += [mass**2 + SIGMA * UNIT.quantile(rng.random(in_peak)), rng.uniform(0, 16, beside)]
        family += [value] * (in_peak + beside)
    observable = np.concatenate([*values, rng.uniform(0, 16, 1000)])
    n, n_two_body = len(observable), len(family)
    return ScanCandidates(
        observable=observable,
        mass=np.full(n, np.nan),
        weight=np.full(n, weight),
        label=np.zeros(n),
        is_data=np.zeros(n, bool),
        sample=np.array(["two_body"] * n_two_body + ["other"] * 1000),
        category=np.full(n, category),
        families={"decay": np.concatenate([family, np.full(1000, np.nan)])},
    )


@pytest.mark.parametrize(("in_peak", "beside"), [(400, 0), (400, 800), (25, 60)])
def test_each_peak_has_its_yield_and_place(common, in_peak, beside):
    given = candidates(np.random.default_rng(in_peak + beside), in_peak, beside)
    weights, peaks = split_peaks(given, common, 1, known=PEAKS, uncertainty=0.1)
    flat_under_peak = beside * 2 * PEAK_SIGMA * SIGMA / 16
    for peak, mass in zip(peaks[1], PLACES.values(), strict=True):
        error = 2.0 * np.sqrt(in_peak + flat_under_peak * 0.3)  # about a third of the flat part is under it
        assert peak.expected == pytest.approx(2.0 * in_peak, abs=4 * error)
        assert peak.shape.mean == pytest.approx(mass**2, abs=0.05)
        assert peak.shape.sigma == pytest.approx(SIGMA, rel=0.1)
    # nothing is lost and nothing counted twice
    assert weights.sum() + sum(p.expected for p in peaks[1]) == pytest.approx(given.weight.sum())
    np.testing.assert_array_equal(weights[given.sample == "other"], 2.0)


def test_the_uncertainty_holds_that_of_few_simulated_candidates(common):
    few, many = (
        split_peaks(candidates(np.random.default_rng(3), n, 0), common, 1, known=PEAKS, uncertainty=0.2)[1][1]
        for n in (16, 1600)
    )
    assert few[0].uncertainty == pytest.approx(np.hypot(0.2, 1 / 4), rel=0.05)
    assert many[0].uncertainty == pytest.approx(np.hypot(0.2, 1 / 40), rel=0.01)


def test_a_decay_that_does_not_peak_is_left_to_the_smooth_part(common):
    given = candidates(np.random.default_rng(4), 0, 4000)
    weights, peaks = split_peaks(given, common, 1, known=PEAKS)
    in_window = 4000 * 2 * PEAK_SIGMA * SIGMA / 16
    for peak in peaks[1]:
        assert peak.expected / 2 < 5 * np.sqrt(in_window * 0.3)
    assert weights.sum() > 0.9 * given.weight.sum()


def test_without_a_candidate_there_is_no_peak(common):
    weights, peaks = split_peaks(candidates(np.random.default_rng(5), 0, 0), common, 2, known=PEAKS)
    assert peaks == {1: (), 2: ()}
    assert weights.sum() == 2000


def test_peaks_are_counted_category_by_category(common):
    given = candidates(np.random.default_rng(6), 300, 0, category=2)
    _, peaks = split_peaks(given, common, 2, known=PEAKS)
    assert peaks[1] == ()
    assert [peak.name for peak in peaks[2]] == ["peak_1", "peak_2"]


def test_a_peak_below_the_simulated_masses_has_the_nearest_shape_at_its_place(shape):
    low = shape_of_peak(shape, 0.1)
    lowest = shape_of_peak(shape, shape.mass_range[0])
    assert low.sigma == lowest.sigma
    assert lowest.mean - low.mean == pytest.approx(shape.mass_range[0] ** 2 - 0.1**2)


def test_shares_look_only_where_there_are_data():
    peak = CrystalBall(1.0, 0.1, 1.5, 4, 1.5, 4)
    values, weights = np.array([0.95, 1.0, 5.0]), np.ones(3)
    outside = peak_shares(values, weights, peak, (3.0, 6.0))
    np.testing.assert_array_equal(outside, 0)
    inside = peak_shares(values, weights, peak, (0.0, 6.0))
    assert (inside[:2] > 0.9).all()
    assert inside[2] == 0
    np.testing.assert_array_equal(peak_shares(values, -weights, peak, (0.0, 6.0)), 0)


def test_a_peak_of_too_few_candidates_to_be_fitted_has_the_shape_of_a_signal(common):
    rng = np.random.default_rng(5)
    few = candidates(rng, 16, 0)
    of_first = (few.sample != "two_body") | (few.families["decay"] == 1)
    few = replace(
        few,
        **{
            name: getattr(few, name)[of_first]
            for name in ("observable", "mass", "weight", "label", "is_data", "sample", "category")
        },
        families={},
    )
    weights, peaks = split_peaks(few, common, 1, peaking=["two_body"], uncertainty=0.2)
    (peak,) = peaks[1]
    assert peak.shape.sigma == pytest.approx(SIGMA, rel=0.1)
    assert peak.shape.mean == pytest.approx(PLACES[1] ** 2, abs=5 * SIGMA / np.sqrt(16))
    assert peak.expected == pytest.approx(2.0 * 16)
    assert peak.uncertainty == pytest.approx(np.hypot(0.2, 1 / 4), rel=0.05)
    assert weights.sum() == pytest.approx(2.0 * 1000)
