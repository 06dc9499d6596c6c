"""What a cut adds to the signal that a fit finds in background alone, with its error from simulation."""

import numpy as np
import pytest

from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.spurious_signal import Spectrum, spurious_signals
from darksieve.evaluation.sculpting import combine, measure_sculpting, nuisance_sizes
from darksieve.evaluation.search_building import BackgroundChoice
from darksieve.evaluation.signal_shape import fit_signal_shape

SIGMA = 0.02  # GeV
EDGES = np.linspace(0.2, 3.2, 751)  # 5 bins a resolution
MASSES = np.array([0.8, 1.2, 1.6, 2.0, 2.4])


def resolution(masses):
    return np.full(np.shape(masses), SIGMA)


@pytest.fixture(scope="module")
def shape():
    rng = np.random.default_rng(5)
    mass = rng.uniform(0.2, 3.2, 20_000)
    unit = CrystalBall(0.0, 1.0, 1.4, 4.0, 1.8, 6.0)
    return fit_signal_shape(mass + SIGMA * unit.quantile(rng.random(20_000)), mass, np.ones(20_000))


def falling(rng, n):
    """Masses of a density that a parabola describes."""
    return 0.2 + 3.0 * (1 - np.sqrt(rng.random(n)))


def measured(shape, x, passed, weight=None, key=None, **more):
    n = len(x)
    weight = np.ones(n) if weight is None else weight
    key = np.arange(n) if key is None else key
    settings = {"masses": MASSES, "shape": shape, "sigma": resolution, "edges": EDGES} | more
    settings.setdefault("choice", BackgroundChoice("chebyshev", 2, 20.0))
    return measure_sculpting(x, weight, passed, key, **settings)


def test_a_cut_that_knows_no_mass_sculpts_nothing_and_its_error_is_the_spread(shape):
    pulls, differences = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x = falling(rng, 8000)
        found = measured(shape, x, rng.random(8000) < 0.3)
        pulls.append(found.events / found.events_error)
        differences.append(found.difference / found.difference_error)
        # the simulation has the size of the data here, and a quarter to a half of the window is a peak's side
        assert found.in_sigma_error == pytest.approx(1, abs=0.35)
    # windows of 0.8 GeV overlap little: 150 pulls, some 90 of them independent
    for values in (pulls, differences):
        assert np.mean(values) == pytest.approx(0, abs=4 / np.sqrt(90))
        assert np.std(values) == pytest.approx(1, abs=4 / np.sqrt(2 * 90))


def test_a_cut_that_makes_a_bump_is_found_where_it_makes_it(shape):
    rng = np.random.default_rng(1)
    x = falling(rng, 400_000)
    keep = rng.random(len(x)) < 0.2 + 0.1 * np.exp(-0.5 * ((x - 1.6) / SIGMA) ** 2)
    found = measured(shape, x, keep)
    assert found.is_worrying.tolist() == [False, False, True, False, False]
    at = 2
    density = 400_000 * 2 / 3 * (1 - (1.6 - 0.2) / 3)
    made = 0.1 * density * SIGMA * np.sqrt(2 * np.pi)
    # the peak that is fitted has tails which the bump lacks: events agree within a fifth
    assert found.events[at] == pytest.approx(made, rel=0.2)
    assert found.difference[at] == pytest.approx(found.events[at], abs=3 * found.events_error[at])


def test_a_bias_of_the_function_is_no_fault_of_the_cut(shape):
    rng = np.random.default_rng(2)
    x = falling(rng, 300_000)
    bump = rng.normal(1.6, 0.05, 6000)  # narrower than what a line can follow, before any cut
    x = np.concatenate([x, bump])
    keep = rng.random(len(x)) < 0.4
    found = measured(shape, x, keep, choice=BackgroundChoice("chebyshev", 1, 20.0))
    at = 2
    assert found.in_sigma[at] > 5
    assert abs(found.difference[at]) < 4 * found.difference_error[at]
    # the difference of a cut and no cut on the same events is known better than either
    independent = np.hypot(found.events_error[at], 0.4 * found.events_error[at] / np.sqrt(0.4))
    assert found.difference_error[at] < independent


def test_two_cuts_on_the_same_events_are_compared_better_than_each_is_known(shape):
    rng = np.random.default_rng(10)
    x = falling(rng, 60_000)
    score = rng.random(len(x))
    other = score + rng.normal(0, 0.01, len(x))
    found = measured(shape, x, score > 0.7, reference=other > 0.7)
    alone = measured(shape, x, score > 0.7)
    np.testing.assert_allclose(found.events, alone.events)
    # the two differ in some 2 % of their events, of either side: sqrt(0.02 + 0.02) of the error at most
    assert (found.difference_error < 0.3 * found.events_error).all()
    assert (np.abs(found.difference) < 4 * found.difference_error).all()
    same = measured(shape, x, score > 0.7, reference=score > 0.7)
    np.testing.assert_allclose(same.difference, 0, atol=1e-9)


@pytest.mark.parametrize("family", ["chebyshev", "bernstein", "exponential", "power"])
def test_the_linear_fit_agrees_with_the_limit_engine(shape, family):
    rng = np.random.default_rng(3)
    x = np.concatenate([0.2 + rng.exponential(0.9, 200_000), rng.normal(1.6, 0.04, 400)])
    weight = np.full(len(x), 0.5)
    choice = BackgroundChoice(family, 2, 12.0)
    found = measured(shape, x, np.ones(len(x), bool), weight, masses=[1.6], choice=choice)
    spectrum = Spectrum.from_events(x, weight, EDGES)
    low, high = 1.6 - 12 * SIGMA, 1.6 + 12 * SIGMA
    background = {"family": family} | ({"order": 2} if family in ("chebyshev", "bernstein") else {})
    signal = {"shape": "double_sided_crystal_ball", "window": [low, high], "yield_per_unit": 1.0}
    signal |= shape.at(np.array([1.6])).one(0).as_dict()
    data = {"edges": EDGES.tolist(), "counts": spectrum.contents.tolist()}
    model = SearchModel.parse(
        {
            "format": "darksieve-search/1",
            "channels": [{"name": "c", "data": data, "background": background}],
            "points": [{"label": "m", "mass": 1.6, "channels": {"c": signal}}],
        }
    )
    [engine] = spurious_signals(model, {"mc": {"c": spectrum}})
    # the engine's weights are those of its fit with signal, and its unit is the whole peak in the window
    assert found.events == pytest.approx(engine.events, rel=0.08)
    assert found.sigma == pytest.approx(engine.sigma, rel=0.08)
    assert found.events_error == pytest.approx(engine.events_error, rel=0.08)


def test_numbers_scale_with_the_luminosity_as_they_must(shape):
    rng = np.random.default_rng(4)
    x = falling(rng, 40_000)
    keep = rng.random(len(x)) < 0.5
    one, ten = (measured(shape, x, keep, np.full(len(x), w)) for w in (1.0, 10.0))
    np.testing.assert_allclose(ten.events, 10 * one.events, rtol=1e-6)
    np.testing.assert_allclose(ten.events_error, 10 * one.events_error, rtol=1e-6)
    np.testing.assert_allclose(ten.sigma, np.sqrt(10) * one.sigma, rtol=1e-6)
    order = rng.permutation(len(x))
    again = measured(shape, x[order], keep[order], key=order)
    np.testing.assert_allclose(again.events, one.events, rtol=1e-9, atol=1e-9)


def test_candidates_of_one_event_fluctuate_together(shape):
    rng = np.random.default_rng(6)
    x = falling(rng, 20_000)
    twice = np.concatenate([x, x])  # every candidate twice, of the same event: half the information
    keep = np.ones(len(twice), bool)
    alone = measured(shape, twice, keep)
    together = measured(shape, twice, keep, key=np.tile(np.arange(20_000), 2))
    np.testing.assert_allclose(together.events, alone.events, rtol=1e-9)
    np.testing.assert_allclose(together.events_error, np.sqrt(2) * alone.events_error, rtol=1e-6)


def test_where_simulation_is_too_thin_nothing_is_invented(shape):
    rng = np.random.default_rng(7)
    x = falling(rng, 40_000)
    found = measured(shape, x, rng.random(len(x)) < np.where(x < 1.3, 0.5, 1e-4))
    assert found.is_measured.tolist() == [True, True, False, False, False]
    assert not found.is_worrying[~found.is_measured].any()
    document = found.to_json()
    assert document["in_sigma"][-1] is None
    assert document["effective_events"][-1] < 30
    assert document["masses"] == MASSES.tolist()


def test_spectra_that_are_fitted_together_weigh_as_they_measure(shape):
    rng = np.random.default_rng(8)
    x = falling(rng, 60_000)
    category = rng.choice([1, 2], len(x), p=[0.2, 0.8])
    parts = [measured(shape, x, category == c) for c in (1, 2)]
    alone = combine(parts[:1], [np.full(5, 30.0)])
    np.testing.assert_allclose(alone.events, parts[0].events)
    np.testing.assert_allclose(alone.sigma, parts[0].sigma)
    both = combine(parts, [np.full(5, 30.0), np.full(5, 70.0)])
    assert (both.sigma / 100 < np.minimum(parts[0].sigma / 30, parts[1].sigma / 70)).all()
    strength = both.events / 100
    separate = [part.events / y for part, y in zip(parts, (30, 70), strict=True)]
    assert ((strength > np.min(separate, axis=0)) & (strength < np.max(separate, axis=0))).all()
    np.testing.assert_allclose(both.in_sigma_error, 1, atol=0.4)


def test_a_nuisance_is_the_largest_bias_nearby_and_never_a_fluctuation(shape):
    rng = np.random.default_rng(9)
    x = np.concatenate([falling(rng, 200_000), rng.normal(1.6, SIGMA, 800)])
    keep = np.ones(len(x), bool)
    masses = np.array([1.2, 1.565, 1.58, 1.6, 1.62, 1.635, 2.0])
    rich = measured(shape, x, keep, np.full(len(x), 0.25), masses=masses)  # four times the data
    sizes = nuisance_sizes(rich, resolution)
    assert sizes[1:6] == pytest.approx(np.full(5, np.abs(rich.events).max()))
    assert sizes[[0, 6]] == pytest.approx(np.abs(rich.events[[0, 6]]))
    poor = measured(shape, x, keep, np.full(len(x), 4.0), masses=masses)  # a quarter of the data
    assert poor.is_measured.all()
    assert np.isnan(nuisance_sizes(poor, resolution)).all()
