"""Signal shapes: toys come back, few events are pooled and flagged, and bad input is refused."""

import json

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.crystal_ball_fit import fit_residuals
from darksieve.evaluation.signal_shape import (
    SignalShape,
    fit_signal_shape,
    fit_signal_shapes,
    position_of,
)

UNIT = CrystalBall(0.0, 1.0, 1.4, 4.0, 1.8, 6.0)
SHIFT = -0.001


def resolution(masses):
    return 0.010 + 0.0045 * np.sqrt(np.asarray(masses) / 2)


@pytest.fixture(scope="module")
def flat_sample():
    rng = np.random.default_rng(11)
    mass = rng.uniform(0.2, 8.0, 60_000)
    residual = SHIFT + resolution(mass) * UNIT.quantile(rng.random(len(mass)))
    return mass, residual


@pytest.fixture(scope="module")
def flat_shape(flat_sample):
    mass, residual = flat_sample
    return fit_signal_shape(mass + residual, mass, np.full(len(mass), 0.3))


def test_resolution_and_shift_come_back_from_a_flat_sample(flat_shape):
    masses = np.linspace(0.3, 7.9, 20)
    # 60k events: each of 32 fits knows sigma to about 2 %, the smooth curve to half of that
    np.testing.assert_allclose(flat_shape.sigma(masses), resolution(masses), rtol=0.03)
    # the error of the shift of one fit is sigma / sqrt(1900) = 0.3 MeV
    np.testing.assert_allclose(flat_shape.parameters(masses)["shift"], SHIFT, atol=5e-4)


def test_smooth_shape_closes_on_its_simulation(flat_shape):
    pulls = [(check.ratio - 1) / check.error for check in flat_shape.closure]
    assert len(pulls) >= 20
    assert np.max(np.abs(pulls)) < 4
    assert abs(np.mean([check.ratio for check in flat_shape.closure]) - 1) < 0.01
    assert flat_shape.flags == ()


def test_fits_describe_the_residuals(flat_shape):
    chi2 = sum(fit.chi2 for fit in flat_shape.fits)
    n_degrees = sum(fit.n_degrees for fit in flat_shape.fits)
    assert chi2 / n_degrees == pytest.approx(1.0, abs=5 * np.sqrt(2 / n_degrees) + 0.05)


def test_a_squared_observable_has_the_same_resolution_in_mass(flat_sample, flat_shape):
    mass, residual = flat_sample
    squared = fit_signal_shape(
        mass**2 + 2 * mass * residual, mass, np.ones(len(mass)), position=position_of("M2_gg")
    )
    masses = np.array([0.5, 2.0, 6.0])
    np.testing.assert_allclose(squared.sigma(masses), flat_shape.sigma(masses), rtol=0.01)
    np.testing.assert_allclose(squared.at(masses).sigma, 2 * masses * squared.sigma(masses))


def test_fraction_between_is_what_the_simulation_has(flat_sample, flat_shape):
    mass, residual = flat_sample
    near = np.abs(mass - 4.0) < 0.3
    low, high = mass[near] - 0.020, mass[near] + 0.035
    seen = np.mean((residual[near] > -0.020) & (residual[near] < 0.035))
    said = np.mean(flat_shape.fraction_between(mass[near], low, high))
    assert said == pytest.approx(seen, abs=4 * np.sqrt(seen * (1 - seen) / near.sum()) + 0.002)
    assert float(flat_shape.fraction_between(4.0, -100, 100)) == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
def test_core_parameters_of_toy_fits_have_unit_pulls():
    rng = np.random.default_rng(8)
    truth = {"shift": 0.0005, "sigma": 0.012}
    pulls = {"shift": [], "sigma": []}
    for _ in range(150):
        residual = truth["shift"] + truth["sigma"] * UNIT.quantile(rng.random(3000))
        fit = fit_residuals(residual, np.full(3000, 2.0), np.ones(3000))
        assert fit.status == "converged"
        pulls["shift"].append((fit.parameters["shift"] - truth["shift"]) / fit.errors["shift"])
        pulls["sigma"].append(np.log(fit.parameters["sigma"] / truth["sigma"]) / fit.errors["sigma"])
    for values in pulls.values():
        # 150 toys: mean known to 0.08, width to 0.06
        assert abs(np.mean(values)) < 0.33
        assert np.std(values) == pytest.approx(1.0, abs=0.25)


def test_discrete_masses_are_fitted_where_they_are_and_interpolated():
    rng = np.random.default_rng(3)
    masses = np.array([0.5, 2.0, 4.0, 6.0, 8.0])
    mass = np.repeat(masses, 3000)
    observable = mass + resolution(mass) * UNIT.quantile(rng.random(len(mass)))
    shape = fit_signal_shape(observable, mass, np.ones(len(mass)))
    np.testing.assert_allclose([fit.mass for fit in shape.fits], masses)
    np.testing.assert_allclose(shape.sigma([1.2, 3.0, 7.0]), resolution([1.2, 3.0, 7.0]), rtol=0.06)
    assert shape.mass_range == (0.5, 8.0)


def test_a_single_mass_gives_constants():
    rng = np.random.default_rng(3)
    shape = fit_signal_shape(2.0 + 0.01 * UNIT.quantile(rng.random(500)), np.full(500, 2.0), np.ones(500))
    assert shape.sigma(1.9) == shape.sigma(2.1)
    assert float(shape.sigma(2.0)) == pytest.approx(0.01, rel=0.2)  # 500 events: 5 % and its tails


def test_scarce_discrete_masses_are_pooled_and_flagged():
    rng = np.random.default_rng(9)
    mass = np.repeat(np.arange(0.5, 8.1, 0.5), 25)
    shape = fit_signal_shape(mass + 0.012 * UNIT.quantile(rng.random(len(mass))), mass, np.ones(len(mass)))
    assert len(shape.fits) < 16
    assert "pooled" in shape.flags[0]


def test_a_category_with_little_signal_shares_the_common_shape(flat_sample):
    mass, residual = flat_sample
    category = np.where(np.arange(len(mass)) % 100 == 0, 2, 1)
    shapes = fit_signal_shapes(
        (mass + residual)[:20000], mass[:20000], np.ones(20000), category[:20000], [1, 2]
    )
    assert any("common shape" in flag for flag in shapes[2].flags)
    assert not any("common shape" in flag for flag in shapes[1].flags)
    np.testing.assert_allclose(shapes[2].sigma([1.0, 5.0]), shapes[1].sigma([1.0, 5.0]), rtol=0.02)


def test_weights_act_through_effective_events():
    rng = np.random.default_rng(6)
    residual = 0.012 * UNIT.quantile(rng.random(4000))
    plain = fit_residuals(residual, np.full(4000, 1.0), np.ones(4000))
    heavy = fit_residuals(residual, np.full(4000, 1.0), np.full(4000, 1e-6))
    assert heavy.parameters["sigma"] == pytest.approx(plain.parameters["sigma"], rel=1e-3)
    assert heavy.errors["sigma"] == pytest.approx(plain.errors["sigma"], rel=0.02)


def test_a_shape_survives_json(flat_shape):
    again = SignalShape.from_dict(json.loads(json.dumps(flat_shape.as_dict())))
    np.testing.assert_array_equal(
        again.at(np.linspace(0.3, 7, 5)).sigma, flat_shape.at(np.linspace(0.3, 7, 5)).sigma
    )
    assert again.fits == flat_shape.fits
    assert again.closure == flat_shape.closure


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": -1.0}, "negative weight"),
        ({"observable": np.nan}, "not finite"),
        ({"mass": np.inf}, "not finite"),
    ],
)
def test_bad_rows_are_refused(change, message):
    rows = {"observable": np.full(100, 1.0), "mass": np.full(100, 1.0), "weight": np.ones(100)}
    for name, value in change.items():
        rows[name][3] = value
    with pytest.raises(InputError, match=message):
        fit_signal_shape(**rows)


def test_too_few_events_and_unknown_positions_are_refused():
    with pytest.raises(InputError, match="too few"):
        fit_signal_shape(np.ones(20), np.ones(20), np.ones(20))
    with pytest.raises(InputError, match="did you mean 'mass_squared'"):
        fit_signal_shape(np.ones(200), np.ones(200), np.ones(200), position="mass_square")
    with pytest.raises(InputError, match="above zero"):
        fit_signal_shape(np.ones(200), np.zeros(200), np.ones(200), position="mass_squared")


def test_an_observable_that_is_the_generated_mass_is_refused():
    mass = np.linspace(1, 3, 500)
    with pytest.raises(InputError, match="no resolution"):
        fit_signal_shape(mass, mass, np.ones(500), position="mass")
