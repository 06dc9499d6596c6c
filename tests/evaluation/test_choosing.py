"""Choosing on candidates whose score is the exact likelihood ratio of a case with a known answer."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from darksieve.datasets.folds import choice_fold_of
from darksieve.errors import InputError
from darksieve.evaluation.choosing import choose_working_points
from darksieve.evaluation.landscape import cut_landscape
from darksieve.evaluation.objectives import make_objective

LOW, HIGH = 0.5, 5.0
EFFICIENCY = 0.3
INSIDE = 0.9544997  # of a Gaussian within ±2σ
SIGMA = 0.02


@dataclass(frozen=True)
class Scored:
    key: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    mass: np.ndarray
    observable: np.ndarray
    score: np.ndarray


def resolution(masses):
    return np.full(np.shape(masses), SIGMA)


def gaussian_case(n_signal, n_background, *, d=2.0, in_window=1e3, slope=0.0, seed=0):
    """N(d,1) against N(0,1), d falling with mass by ``slope``; ``in_window`` events expected in ±2σ."""
    rng = np.random.default_rng(seed)
    mass = rng.uniform(LOW, HIGH, n_signal)
    observable = np.concatenate(
        [mass + SIGMA * rng.normal(size=n_signal), rng.uniform(LOW - 0.5, HIGH + 0.5, n_background)]
    )
    label = np.repeat([1.0, 0.0], [n_signal, n_background])
    distance = separation(np.concatenate([mass, observable[n_signal:]]), d, slope)
    latent = rng.normal(size=len(label)) + label * distance
    score = 1 / (1 + np.exp(-(distance * latent - distance**2 / 2)))
    per_row = in_window * (HIGH - LOW + 1) / (4 * SIGMA) / n_background
    key = rng.integers(0, 2**63, len(label)).astype(np.uint64)
    return Scored(
        key=key,
        label=label,
        weight=np.where(label == 1, EFFICIENCY * (HIGH - LOW) / n_signal, per_row),
        mass=np.where(label == 1, np.concatenate([mass, np.zeros(n_background)]), np.nan),
        observable=observable,
        score=score,
    )


def separation(masses, d, slope):
    return d - slope * (np.asarray(masses) - LOW)


def true_limit(points, masses, objective, *, d=2.0, in_window=1e3, slope=0.0):
    """What the boundaries really reach, from the Gaussians' integrals."""
    distance = separation(masses, d, slope)[:, None]
    signal, background = 0.0, 0.0
    for fold in range(points.n_folds):
        score = points.boundaries_at(masses, fold)
        x = (np.log(score / (1 - score)) + distance**2 / 2) / distance
        share = 1 / points.n_folds
        signal = signal + share * EFFICIENCY * INSIDE * -np.diff(norm.sf(x - distance), append=0, axis=1)
        background = background + share * in_window * -np.diff(norm.sf(x), append=0, axis=1)
    return objective(signal, background)


def best_single_cut(masses, objective, *, d=2.0, in_window=1e3, slope=0.0):
    out = []
    for distance in separation(masses, d, slope):

        def at(x, distance=distance):
            return objective(
                np.array([EFFICIENCY * INSIDE * norm.sf(x - distance)]), np.array([in_window * norm.sf(x)])
            )

        out.append(minimize_scalar(at, bounds=(-2, 6), method="bounded").fun)
    return np.array(out)


MASSES = np.linspace(0.7, 4.8, 21)


@pytest.mark.parametrize("name", ["punzi", "expected_limit", "expected_limit_counting"])
def test_threshold_reaches_the_limit_of_the_true_optimum_within_a_percent(name):
    case = gaussian_case(40_000, 400_000)
    points = choose_working_points(
        case, MASSES, resolution, kind="threshold", objective=name, mass_range=(LOW, HIGH), n_bootstrap=0
    )
    objective = make_objective(name)
    reached = true_limit(points, MASSES, objective)
    if name == "punzi":  # G. Punzi's formula: S_min/ε = 46.90527 at cut 2.37439
        assert best_single_cut(MASSES, objective)[0] * EFFICIENCY * INSIDE == pytest.approx(
            46.90527, rel=1e-5
        )
    assert (reached / best_single_cut(MASSES, objective) < 1.01).all()


@pytest.mark.slow
def test_threshold_from_300_events_a_mass_is_within_a_percent_by_pooling():
    # 300 background events in ±2σ of each part: 600 · 5.5 GeV / 0.08 GeV
    ratios = []
    for seed in range(5):
        case = gaussian_case(20_000, 41_250, in_window=1e4, d=1.5, seed=10 + seed)
        points = choose_working_points(
            case, MASSES, resolution, kind="threshold", mass_range=(LOW, HIGH), n_bootstrap=0
        )
        objective = make_objective("expected_limit")
        reached = true_limit(points, MASSES, objective, in_window=1e4, d=1.5)
        ratios.append(reached / best_single_cut(MASSES, objective, in_window=1e4, d=1.5))
    assert np.mean(ratios) < 1.01


@pytest.mark.slow
def test_quoted_figures_are_true_within_their_errors():
    options = {"d": 1.6, "in_window": 1e4, "slope": 0.12}
    case = gaussian_case(60_000, 600_000, seed=3, **options)
    points = choose_working_points(case, MASSES, resolution, mass_range=(LOW, HIGH), n_bootstrap=60)
    figures = points.figures
    truth = true_limit(points, MASSES, make_objective("expected_limit"), **options)
    pull = (figures.expected_limit - truth) / figures.errors["expected_limit"]
    # windows 0.2 GeV apart and 0.08 GeV wide share no background, but the efficiency's fit and pooled shares
    assert abs(pull.mean()) < 4 / np.sqrt(len(MASSES)) + 0.5
    assert 0.4 < pull.std() < 1.7
    assert (figures.percent_of_ceiling < 100 + 3 * figures.errors["percent_of_ceiling"]).all()
    total = figures.signal_efficiency.sum(axis=1)
    assert (total < EFFICIENCY * INSIDE * 1.03).all()


def test_categories_reach_what_the_best_edges_reach_and_beat_one_cut():
    options = {"d": 1.0, "in_window": 1e5}
    case = gaussian_case(60_000, 500_000, seed=4, **options)
    limits = {}
    for kind, n in (("threshold", 1), ("categories", 4), ("categories", 6)):
        points = choose_working_points(
            case, MASSES, resolution, kind=kind, n_categories=n, mass_range=(LOW, HIGH), n_bootstrap=20
        )
        limits[n] = true_limit(points, MASSES, make_objective("expected_limit"), **options)
        percent = points.figures.percent_of_ceiling
        error = points.figures.errors["percent_of_ceiling"].mean()
        # Σs²/b of N(1,1) and N(0,1) is e: the ceiling in the Gaussian limit
        floating = make_objective("expected_limit")(np.array([EFFICIENCY * INSIDE]), np.array([1e5]))
        truth = 100 * floating * np.exp(-0.5) / limits[n]
        assert percent.mean() == pytest.approx(truth.mean(), abs=1 + error)
        # the best n edges for N(1,1) against N(0,1), by maximising Σs²/b directly
        assert truth.mean() > 0.988 * {1: 76.346, 4: 95.266, 6: 97.473}[n]
    assert (limits[4] < limits[1]).all()
    assert (limits[6] <= limits[4] * 1.002).all()


def test_optimism_is_small_where_simulation_is_plenty():
    points = choose_working_points(
        gaussian_case(60_000, 600_000, d=1.5, seed=5), MASSES, resolution, mass_range=(LOW, HIGH)
    )
    optimism, error = points.choice["mean_optimism"], points.choice["mean_optimism_error"]
    assert error < 0.02
    assert abs(optimism - 1) < 4 * error


def test_optimism_is_seen_where_every_mass_looks_for_its_own_luck():
    # the best of 100 cuts at each mass, in plain counts of a few hundred events, on one part and on the other
    flattery = []
    for seed in range(4):
        case = gaussian_case(20_000, 20_000, d=1.5, seed=20 + seed)
        chosen, other = (
            cut_landscape(
                Scored(**{n: getattr(case, n)[half] for n in Scored.__dataclass_fields__}),
                MASSES,
                resolution,
                mass_range=(LOW, HIGH),
                min_effective_events=5,
            )
            for half in (choice_fold_of(case.key) == 1, choice_fold_of(case.key) == 0)
        )
        row = np.arange(len(MASSES))
        own = np.log(chosen.value[row, chosen.best_cut])
        flattery.append(np.log(other.value[row, chosen.best_cut]) - own)
    flattery = np.concatenate(flattery)
    flattery = flattery[np.isfinite(flattery)]
    assert flattery.mean() > 3 * flattery.std() / np.sqrt(len(flattery))
    assert flattery.mean() > 0.03


def test_order_of_candidates_changes_nothing():
    case = gaussian_case(5000, 20_000, d=1.5)
    order = np.random.default_rng(0).permutation(len(case.key))
    shuffled = Scored(**{name: getattr(case, name)[order] for name in Scored.__dataclass_fields__})
    one, two = (
        choose_working_points(c, MASSES, resolution, mass_range=(LOW, HIGH), n_bootstrap=5)
        for c in (case, shuffled)
    )
    np.testing.assert_allclose(one.boundaries, two.boundaries, rtol=1e-6)
    np.testing.assert_allclose(one.figures.expected_limit, two.figures.expected_limit, rtol=1e-6)
    np.testing.assert_allclose(one.figures.tail_spread, two.figures.tail_spread, atol=1e-6)
    for name, errors in one.figures.errors.items():
        np.testing.assert_allclose(errors, two.figures.errors[name], rtol=1e-3)


def test_more_luminosity_scales_the_background_and_the_limit_by_its_root():
    case = gaussian_case(5000, 50_000, d=1.0, in_window=1e6)
    more = replace(case, weight=np.where(case.label == 0, 100 * case.weight, case.weight))
    one, two = (
        choose_working_points(c, MASSES, resolution, mass_range=(LOW, HIGH), n_bootstrap=0)
        for c in (case, more)
    )
    objective = make_objective("expected_limit")
    # the optimum is flat, so boundaries may move a little; what they truly reach may not
    np.testing.assert_allclose(
        true_limit(two, MASSES, objective, d=1.0, in_window=1e8),
        10 * true_limit(one, MASSES, objective, d=1.0, in_window=1e6),
        rtol=0.015,
    )
    np.testing.assert_allclose(
        two.figures.expected_limit_no_cut, 10 * one.figures.expected_limit_no_cut, rtol=0.01
    )


def test_a_unit_divides_the_limits():
    case = gaussian_case(5000, 20_000, d=1.5)
    options = {"mass_range": (LOW, HIGH), "n_bootstrap": 5}
    plain = choose_working_points(case, MASSES, resolution, **options).figures
    in_fb = choose_working_points(case, MASSES, resolution, yield_per_efficiency=10.0, **options).figures
    np.testing.assert_allclose(in_fb.expected_limit, plain.expected_limit / 10)
    np.testing.assert_allclose(in_fb.errors["expected_limit"], plain.errors["expected_limit"] / 10)
    np.testing.assert_allclose(in_fb.percent_of_ceiling, plain.percent_of_ceiling)


def test_discrete_masses_give_nearly_the_boundaries_of_flat_ones():
    flat = gaussian_case(40_000, 100_000, d=1.5, slope=0.1, in_window=1e4)
    signal = flat.label == 1
    nodes = np.linspace(LOW, HIGH, 10)
    mass = nodes[np.digitize(flat.mass, (nodes[1:] + nodes[:-1]) / 2)]
    n_at = {m: np.sum(signal & (mass == m)) for m in nodes}
    weight = flat.weight.copy()
    weight[signal] = [EFFICIENCY / n_at[m] for m in mass[signal]]
    rng = np.random.default_rng(1)
    latent = rng.normal(size=signal.sum()) + (distance := separation(mass[signal], 1.5, 0.1))
    score = flat.score.copy()
    score[signal] = 1 / (1 + np.exp(-(distance * latent - distance**2 / 2)))
    observable = np.where(signal, mass + SIGMA * rng.normal(size=len(mass)), flat.observable)
    discrete = replace(
        flat, mass=np.where(signal, mass, np.nan), weight=weight, score=score, observable=observable
    )
    one = choose_working_points(flat, MASSES, resolution, mass_range=(LOW, HIGH), n_bootstrap=0)
    two = choose_working_points(discrete, MASSES, resolution, n_bootstrap=0)
    options = {"d": 1.5, "slope": 0.1, "in_window": 1e4}
    of_flat, of_discrete = (
        true_limit(points, MASSES, make_objective("expected_limit"), **options) for points in (one, two)
    )
    np.testing.assert_allclose(of_discrete, of_flat, rtol=0.02)
    np.testing.assert_allclose(
        two.figures.expected_limit.mean(), one.figures.expected_limit.mean(), rtol=0.06
    )


def test_thin_background_is_pooled_and_flagged():
    thick, thin = (
        choose_working_points(
            gaussian_case(10_000, n, d=2.0), MASSES, resolution, mass_range=(LOW, HIGH), n_bootstrap=5
        ).figures
        for n in (600_000, 3000)
    )
    assert (thick.status[:, 0] == "ok").all()
    assert np.isin(thin.status, ["too_few_events", "beyond_simulation"]).any(axis=1).all()
    assert (thin.more_simulation > 10 * thick.more_simulation).all()
    assert (thin.pooled_effective_events >= thin.effective_events).all()
    assert np.isfinite(thin.expected_limit).all()


def test_no_background_above_a_threshold_gives_no_infinite_merit():
    case = gaussian_case(5000, 5000, d=1.0)
    top = np.where((case.label == 1) & (np.arange(len(case.label)) % 2 == 0), 0.999, case.score * 0.9)
    figures = choose_working_points(
        replace(case, score=top), MASSES, resolution, mass_range=(LOW, HIGH), n_bootstrap=5
    ).figures
    assert np.isfinite(figures.expected_limit).all()
    assert (
        figures.expected_limit > 3 / EFFICIENCY
    ).all()  # no counting search excludes less than three events
    assert (figures.status[:, -1] == "beyond_simulation").all()


def test_thousand_masses_give_thousand_points():
    case = gaussian_case(5000, 30_000, d=1.5)
    masses = np.linspace(0.6, 4.9, 1000)
    points = choose_working_points(
        case, masses, resolution, n_categories=2, mass_range=(LOW, HIGH), n_bootstrap=5
    )
    assert points.figures.expected_limit.shape == (1000,)
    assert np.isfinite(points.figures.expected_limit).all()
    assert np.abs(np.diff(points.boundaries, axis=1)).max() < 0.1  # smooth in mass


def test_landscape_has_its_minimum_at_the_known_cut():
    case = gaussian_case(40_000, 400_000)
    landscape = cut_landscape(case, MASSES, resolution, objective="punzi", mass_range=(LOW, HIGH), n_cuts=50)
    assert landscape.value.shape == (len(MASSES), 50)
    judged = np.isfinite(landscape.value).all(axis=0)
    mean = np.log(landscape.value[:, judged]).mean(axis=0)
    assert landscape.kept_signal[judged][np.argmin(mean)] == pytest.approx(0.35406, abs=0.1)  # a flat minimum
    # some 25 rows pass in each of 21 windows: 2 % for √B
    assert np.exp(mean.min()) * EFFICIENCY * INSIDE == pytest.approx(46.905, rel=0.06)


SMALL = gaussian_case(2000, 4000)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"score": np.full(6000, 0.5)}, {}, "constant score"),
        ({"score": np.full(6000, np.nan)}, {}, "NaN or infinite"),
        ({"weight": np.where(np.arange(6000) == 5, -1.0, SMALL.weight)}, {}, "weights go down to -1"),
        ({"key": np.full(6000, 7, np.uint64)}, {}, "in 1 of 2 folds"),
        ({}, {"n_folds": 1}, "from 2 to 10"),
        ({"label": np.zeros(6000)}, {}, "no signal candidate"),
        ({"label": np.ones(6000), "mass": np.ones(6000)}, {}, "no background candidate"),
        ({"observable": SMALL.observable + 3}, {}, "lies within"),
        ({}, {"objective": "expectd_limit"}, "did you mean 'expected_limit'"),
        ({}, {"kind": "cuts"}, "'categories' or 'threshold'"),
        ({}, {"n_categories": 11}, "from 1 to 10"),
        ({}, {"masses": [1.0, 6.0]}, r"no signal efficiency at 6 GeV.*0\.5 to 5"),
        ({}, {"masses": [2.0, 1.0]}, "increasing"),
        ({}, {"resolution": 0.0}, "resolution must be positive"),
    ],
)
def test_bad_input_is_named(changes, options, message):
    given = {"masses": [1.0, 2.0], "resolution": resolution, "mass_range": (LOW, HIGH)} | options
    with pytest.raises(InputError, match=message):
        choose_working_points(replace(SMALL, **changes), **given)


def test_beyond_the_simulation_the_families_of_the_tail_are_stated():
    # some 60 simulated events in a window, each worth 17: a good cut passes less than one
    options = {"d": 3.0, "in_window": 1e3}
    case = gaussian_case(10_000, 4000, seed=8, **options)
    points = choose_working_points(
        case, MASSES, resolution, kind="threshold", mass_range=(LOW, HIGH), n_bootstrap=5
    )
    figures = points.figures
    assert (figures.effective_events < 1.5).mean() > 0.5
    assert np.isin(figures.status, ["too_few_events", "beyond_simulation"]).all()
    assert (figures.status == "beyond_simulation").any()
    assert figures.tail_spread.max() > 0.02
    assert points.choice["more_simulation"] > 50
    # the tail is known from some ten events of all masses together: a factor of about 1.3 in √b
    truth = true_limit(points, MASSES, make_objective("expected_limit"), **options)
    assert np.abs(np.log(figures.expected_limit / truth)).max() < 0.4 + figures.tail_spread.max()


def test_where_no_simulated_event_is_near_nothing_is_claimed_of_the_tail():
    case = gaussian_case(5000, 6000, d=1.5)
    far = (case.label == 1) | (case.observable < 2.5)
    empty = replace(
        case, **{n: getattr(case, n)[far] for n in ("key", "label", "weight", "mass", "observable", "score")}
    )
    figures = choose_working_points(
        empty, MASSES, resolution, kind="threshold", mass_range=(LOW, HIGH), n_bootstrap=0
    ).figures
    nothing, something = MASSES > 4, MASSES < 2
    assert np.isnan(figures.tail_spread[nothing]).all()
    assert np.isnan(figures.tail_background[:, nothing]).all()
    assert (figures.status[nothing] == "beyond_simulation").all()
    assert np.isnan(figures.percent_of_ceiling[nothing]).all()
    # one event is what may have been missed, and the limit stays finite
    one_event = case.weight[case.label == 0][0]
    np.testing.assert_allclose(figures.n_background[nothing, 0], one_event)
    assert np.isfinite(figures.expected_limit).all()
    assert np.isfinite(figures.more_simulation).all()
    assert (figures.more_simulation[nothing] > 100).all()
    assert np.isfinite(figures.tail_spread[something]).all()
    assert np.isfinite(figures.percent_of_ceiling[something]).all()
