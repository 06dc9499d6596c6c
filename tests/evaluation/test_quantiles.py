import numpy as np
import pytest
from scipy.stats import norm

from darksieve.errors import InputError
from darksieve.evaluation.quantiles import fit_signal_quantiles


def mean_score(mass):
    return 1.5 - 0.1 * mass + 0.5 * np.exp(-mass)


def signal(n, seed, masses=None):
    rng = np.random.default_rng(seed)
    mass = rng.uniform(0.2, 9.8, n) if masses is None else rng.choice(masses, n)
    return mass, mean_score(mass) + rng.normal(size=n)


@pytest.mark.parametrize("masses", [None, np.linspace(0.2, 9.8, 15)], ids=["flat", "discrete"])
def test_boundaries_are_the_quantiles_at_every_mass(masses):
    mass, score = signal(60_000, 1, masses)
    quantiles = fit_signal_quantiles(mass, score, np.ones(len(mass)))
    at = np.linspace(0.2, 9.8, 57)
    for level in (0.1, 0.5, 0.9):
        column = int(level * quantiles.n_bins)
        curve = np.interp(at, quantiles.mass_grid, quantiles.scores[:, column])
        kept = norm.sf(curve - mean_score(at))
        # some 60 000 rows over about ten effective parameters
        assert np.abs(kept - level).max() < 5 * np.sqrt(0.25 / 6000)


def test_another_sample_fills_the_bins_equally():
    mass, score = signal(40_000, 2)
    quantiles = fit_signal_quantiles(mass, score, np.ones(len(mass)), n_bins=50)
    other_mass, other_score = signal(40_000, 3)
    share = np.bincount(quantiles.bins(other_mass, other_score), minlength=50) / 40_000
    # both samples fluctuate: √2 times the Poisson error of 800 rows
    assert np.abs(share * 50 - 1).max() < 4.5 * np.sqrt(2 / 800)


def test_only_the_order_of_scores_matters():
    mass, score = signal(5000, 4)
    probe_mass, probe = signal(500, 5)
    plain = fit_signal_quantiles(mass, score, np.ones(5000)).bins(probe_mass, probe)
    bent = fit_signal_quantiles(mass, np.exp(score), np.ones(5000)).bins(probe_mass, np.exp(probe))
    assert (np.abs(plain - bent) <= 1).all()  # interpolation between scores is linear in the score
    assert (plain == bent).mean() > 0.95


def test_boundaries_between_levels_lie_between_their_scores():
    quantiles = fit_signal_quantiles(*signal(5000, 6), np.ones(5000))
    edges = np.tile([0.001, 0.123, 0.5, 0.999], (len(quantiles.mass_grid), 1))
    boundaries = quantiles.boundaries(edges)
    assert (np.diff(boundaries, axis=1) <= 0).all()
    np.testing.assert_allclose(boundaries[:, 2], quantiles.scores[:, 60])


def test_a_nan_score_passes_nothing():
    quantiles = fit_signal_quantiles(*signal(5000, 7), np.ones(5000))
    assert quantiles.bins([1.0], [np.nan])[0] == quantiles.n_bins
    assert quantiles.bins([1.0, 1.0], [99.0, -99.0]).tolist() == [0, quantiles.n_bins - 1]


def test_scores_with_many_ties_still_make_bins():
    mass, score = signal(20_000, 8)
    quantiles = fit_signal_quantiles(mass, np.round(score, 1), np.ones(20_000))
    kept = np.mean(quantiles.bins(mass, np.round(score, 1)) < quantiles.n_bins // 2)
    assert kept == pytest.approx(0.5, abs=0.05)  # one step of the score holds 4 % of the signal


@pytest.mark.parametrize("n_masses", [1, 2, 3])
def test_few_generated_masses_are_enough(n_masses):
    mass, score = signal(3000, 9, np.linspace(1, 5, n_masses))
    quantiles = fit_signal_quantiles(mass, score, np.ones(3000))
    kept = np.mean(quantiles.bins(mass, score) < quantiles.n_bins // 2)
    assert kept == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("score", "message"),
    [(np.full(100, 0.5), "constant score"), (np.full(100, np.nan), "finite"), (np.zeros(3), "at least 20")],
)
def test_scores_without_quantiles_are_input_errors(score, message):
    with pytest.raises(InputError, match=message):
        fit_signal_quantiles(np.linspace(1, 2, len(score)), score, np.ones(len(score)))


def test_bins_are_filled_equally_up_to_the_ends_where_scores_fall_fast():
    # as a leading-order ratio does where the recoil photon gets soft: by dozens of bins within a resolution
    def edge_scores(mass, rng):
        energy = (10.58**2 - mass**2) / (2 * 10.58)
        return 2 * np.log(energy) - 0.3 * rng.uniform(size=len(mass)) - rng.exponential(0.05, len(mass))

    rng = np.random.default_rng(10)
    mass = rng.uniform(0.2, 9.8, 60_000)
    quantiles = fit_signal_quantiles(mass, edge_scores(mass, rng), np.ones(60_000))
    for low, high in ((0.2, 0.3), (4.9, 5.0), (9.7, 9.8), (9.78, 9.8)):
        probe = rng.uniform(low, high, 50_000)
        kept = np.cumsum(np.bincount(quantiles.bins(probe, edge_scores(probe, rng)), minlength=120)) / 50_000
        for level in (12, 30, 60, 90):
            share = level / 120
            # 60 000 rows over about twenty effective parameters; an end has one side only: √2 of that
            assert abs(kept[level - 1] - share) < 5 * np.sqrt(2 * share * (1 - share) / 3000)


def test_candidates_of_one_score_stay_in_one_bin():
    rng = np.random.default_rng(8)
    mass = rng.uniform(1, 3, 8000)
    values = np.array([0.1, 0.3, 0.5, 0.7, 0.9])  # as of few small trees
    score = rng.choice(values, len(mass), p=[0.1, 0.1, 0.2, 0.2, 0.4])
    quantiles = fit_signal_quantiles(mass, score, np.ones(len(mass)))
    of_purest = quantiles.bins(mass, score)[score == 0.9]
    assert np.bincount(of_purest).max() > 0.95 * len(of_purest)
