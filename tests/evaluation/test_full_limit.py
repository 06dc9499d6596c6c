"""The full model as an objective, against search documents written out bin by bin."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import norm

from darksieve.evaluation.full_limit import FullLimit, edges_in_resolutions, objective_at
from darksieve.evaluation.limits.document import FORMAT, SearchModel
from darksieve.evaluation.limits.engine import limits_of_search
from darksieve.evaluation.search_building import BackgroundChoice, Uncertainties

INSIDE = norm.cdf(2) - norm.cdf(-2)
SIZES = Uncertainties(0.01, 0.05, 0.08, 0.15, 1e-3)
S, B = np.array([0.12, 0.2]), np.array([4e3, 6e4])


def written_out(
    s, b, *, sizes=SIZES, sigma=0.02, window=20, order=3, bins=6, tails=None, slope=0.0, mass=3.0
):
    """Median limit of the document with fine bins everywhere; b flat, or falling linearly over the window."""
    n_bins = 2 * window * bins
    edges = np.linspace(mass - window * sigma, mass + window * sigma, n_bins + 1)
    shape = {"shape": "gaussian", "mean": mass, "sigma": sigma}
    inside = INSIDE
    if tails is not None:
        shape = {"shape": "double_sided_crystal_ball", "mean": mass, "sigma": sigma, **tails}
        inside = tails_inside(tails, window)
    channels = {}
    for c, (sc, bc) in enumerate(zip(s, b, strict=True)):
        background = {"family": "chebyshev", "order": order, "yield": bc * window / 2}
        channels[f"c{c}"] = {
            "window": [edges[0], edges[-1]],
            "yield_per_unit": sc / inside,
            **shape,
            "background": background | {"coefficients": [slope] + [0.0] * (order - 1)},
            "spurious_signal": sizes.spurious_signal * bc,
        }
    nuisances = [
        {"name": "luminosity", "on": "yield", "kind": "log_normal", "size": sizes.luminosity},
        {"name": "efficiency", "on": "yield", "kind": "log_normal", "size": sizes.efficiency},
        {"name": "width", "on": "sigma", "kind": "linear", "size": sizes.width},
        {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": sizes.scale_sigma},
    ]
    heads = [{"name": name, "data": {"edges": edges.tolist()}} for name in channels]
    document = {"format": FORMAT, "channels": heads, "points": [{"label": "p", "channels": channels}]}
    model = SearchModel.parse(document | {"nuisances": nuisances})
    return float(limits_of_search(model).expected[0, 2])


def tails_inside(tails, window):
    """Share of the peak within ±2 resolutions, of that in the window, by summing its density."""
    x = np.linspace(-window, window, 200_001)
    density = np.exp(-0.5 * x**2)
    for side, sign in (("left", -1), ("right", 1)):
        alpha, n = tails[f"alpha_{side}"], tails[f"n_{side}"]
        beyond = sign * x > alpha
        base = n / alpha - alpha + sign * x[beyond]
        density[beyond] = np.exp(-0.5 * alpha**2) * (n / alpha / base) ** n
    return density[np.abs(x) < 2].sum() / density.sum()


def test_coarse_sides_give_the_limit_of_the_document_with_fine_bins_everywhere():
    # bins of a third of the resolution under the peak cost 0.3 %, bins of a sixth 0.08 % (Gaussian, measured)
    assert FullLimit(uncertainties=SIZES)(S, B) == pytest.approx(written_out(S, B), rel=4e-3)


@pytest.mark.parametrize(("window", "order"), [(12, 2), (12, 5), (20, 1)])
def test_any_window_and_order_give_the_limit_of_the_document(window, order):
    choice = BackgroundChoice("chebyshev", order, float(window))
    limit = FullLimit(background=choice, uncertainties=SIZES)(S, B)
    assert limit == pytest.approx(written_out(S, B, window=window, order=order), rel=6e-3)


def test_peak_and_background_that_vary_with_mass_are_those_of_the_document():
    tails = {"alpha_left": 1.2, "n_left": 4.0, "alpha_right": 1.7, "n_right": 6.0}

    def peak(masses):
        own = {name: np.full(len(masses), value) for name, value in tails.items()}
        return {"shift": np.zeros(len(masses)), "sigma": 0.01 + 0.003 * masses, **own}

    def coefficients(masses):
        return np.stack([-0.1 * masses, np.zeros(len(masses)), np.zeros(len(masses))], axis=1)

    masses = np.array([1.0, 3.0])
    limit = FullLimit(uncertainties=SIZES, peak=peak, coefficients=coefficients)
    found = objective_at(limit, masses)(np.stack([S, S]), np.stack([B, B]))
    for mass, value in zip(masses, found, strict=True):
        wanted = written_out(S, B, tails=tails, slope=-0.1 * mass, sigma=0.01 + 0.003 * mass, mass=mass)
        assert value == pytest.approx(wanted, rel=4e-3)
    with pytest.raises(ValueError, match="depends on the mass"):
        limit(S, B)
    with pytest.raises(ValueError, match="for 2 masses"):
        objective_at(limit, masses)(np.stack([S, S, S]), np.stack([B, B, B]))


def test_choices_stand_in_the_same_order_for_the_shortcut():
    # where a cut is best, of N(2,1) against N(0,1), for backgrounds from few events to many
    cuts = np.linspace(0.3, 3.2, 59)
    for sizes in (Uncertainties(), SIZES):
        limit = FullLimit(uncertainties=sizes)
        for b0 in (30.0, 1e3, 1e6):
            s, b = 0.3 * norm.sf(cuts - 2)[:, None], b0 * norm.sf(cuts)[:, None]
            full, fast = limit(s, b), limit.shortcut()(s, b)
            assert full[np.argmin(fast)] < 1.003 * full.min()
            ratio = full / fast
            near = full < 1.05 * full.min()
            assert np.ptp(ratio[near]) < 0.05 * ratio[near].mean()


def test_limit_is_positive_and_finite_without_background_and_infinite_without_signal():
    limit = FullLimit(uncertainties=SIZES)
    values = limit(np.array([[0.1, 0.0], [0.0, 0.0]]), np.array([[0.0, 10.0], [1.0, 1.0]]))
    assert 2.5 / 0.1 < values[0] < 4.0 / 0.1
    assert np.isinf(values[1])


def test_spurious_signal_makes_the_purer_cut_win():
    cuts = np.linspace(0, 4, 81)
    s, b = 0.3 * norm.sf(cuts - 2)[:, None], 1e6 * norm.sf(cuts)[:, None]
    for of in (lambda limit: limit, FullLimit.shortcut):
        plain, spurious = (
            cuts[np.argmin(of(FullLimit(uncertainties=Uncertainties(spurious_signal=size)))(s, b))]
            for size in (0.0, 0.02)
        )
        assert spurious > plain + 0.2


def test_limits_scale_with_the_signal_and_do_not_depend_on_the_order_of_categories():
    limit = FullLimit(uncertainties=SIZES)
    value = limit(S, B)
    assert limit(3 * S, B) == pytest.approx(value / 3, rel=1e-5)
    assert limit(S[::-1], B[::-1]) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("family", ["chebyshev", "bernstein", "exponential", "power"])
def test_every_background_family_has_a_limit(family):
    limit = FullLimit(background=BackgroundChoice(family, 2, 15.0))
    order = 1 if family in ("exponential", "power") else 2  # a small slope is a straight line
    wanted = written_out(S, B, sizes=Uncertainties(), window=15, order=order)
    assert limit(S, B) == pytest.approx(wanted, rel=0.01)


def test_the_window_of_counting_is_whole_bins():
    for peak_sigma in (1.5, 2.0, 2.5, 3.7):
        edges = edges_in_resolutions(20.0, peak_sigma)
        assert np.isclose(edges, peak_sigma).any()
        assert np.isclose(edges, -peak_sigma).any()
        assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("family", ["exponential", "chebyshev"])
def test_a_choice_made_on_a_flat_background_costs_little_where_it_falls(family):
    # by 0.1 for each resolution: by a factor of 55 over the window
    window, slope = 20.0, -0.1
    nodes = np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    fitted = np.polynomial.chebyshev.chebfit(nodes, np.exp(slope * window * nodes), 3)
    given = np.array([slope]) if family == "exponential" else fitted[1:] / fitted[0]
    background = BackgroundChoice(family, 1 if family == "exponential" else 3, window)
    flat = FullLimit(background=background, uncertainties=SIZES)
    falling = FullLimit(background=background, uncertainties=SIZES, coefficients=lambda m: given[None])
    cuts = np.linspace(0.3, 3.2, 59)
    for b0 in (30.0, 1e3, 1e6):
        s, b = 0.3 * norm.sf(cuts - 2)[:, None], b0 * norm.sf(cuts)[:, None]
        true = objective_at(falling, [1.0])(s[:, None], b[:, None])[:, 0]
        assert true[np.argmin(flat.shortcut()(s, b))] < 1.005 * true.min()
        assert true[np.argmin(flat(s, b))] < 1.001 * true.min()


def test_a_spurious_signal_by_mass_is_that_of_each_mass():
    masses, sizes = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1e-3, 1e-2])
    s, b = np.tile(S, (3, 1)), np.tile(100 * B, (3, 1))
    by_mass = FullLimit(uncertainties=SIZES, spurious=partial(np.interp, xp=masses, fp=sizes))
    full, fast = by_mass.at(masses)(s, b), by_mass.shortcut().at(masses)(s, b)
    for i, size in enumerate(sizes):
        alone = FullLimit(uncertainties=replace(SIZES, spurious_signal=size))
        assert full[i] == pytest.approx(float(alone(S, 100 * B)), rel=1e-4)
        assert fast[i] == pytest.approx(float(alone.shortcut()(S, 100 * B)), rel=1e-12)
    replicates = by_mass.shortcut().at(masses)(np.stack([s, 2 * s]), np.stack([b, b]))
    np.testing.assert_allclose(replicates[1], replicates[0] / 2)


def test_a_spurious_signal_by_mass_needs_masses_and_sizes_that_are_none_below_zero():
    limit = FullLimit(spurious=lambda m: np.full(len(m), -0.1))
    with pytest.raises(ValueError, match="depends on the mass"):
        limit(S, B)
    with pytest.raises(ValueError, match="depends on the mass"):
        limit.shortcut()(S, B)
    with pytest.raises(ValueError, match="finite and >= 0"):
        limit.shortcut().at(np.ones(1))
