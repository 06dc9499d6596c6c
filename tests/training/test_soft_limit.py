import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darksieve.evaluation.counting import expected_limits_floating
from darksieve.evaluation.limits.asimov import expected_limits_counting
from darksieve.evaluation.objectives import punzi_minimum_signal
from darksieve.training.soft_limit import log_expected_limits, log_punzi


def yields(seed=1, n=50, k=4):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.05, 1, (n, k)), 10 ** rng.uniform(-2, 6, (n, k))


@pytest.mark.parametrize("confidence_level", [0.90, 0.95])
def test_the_limit_is_that_of_the_limit_tool(confidence_level):
    signal, background = yields()
    ours, _, _ = log_expected_limits(signal, background, confidence_level=confidence_level)
    np.testing.assert_allclose(
        np.exp(ours), expected_limits_counting(signal, background, confidence_level), rtol=1e-8
    )


def test_an_uncertain_background_is_a_background_known_from_sidebands():
    signal, _ = yields()
    background = np.full_like(signal, 1e6)  # so many that sidebands constrain it like a Gaussian
    ours, _, _ = log_expected_limits(signal, background, background_error=1e-3)
    theirs = expected_limits_floating(signal, background, ratio=1.0)  # 1/√10⁶ = 10⁻³
    np.testing.assert_allclose(np.exp(ours), theirs, rtol=3e-3)


@pytest.mark.parametrize("background_error", [0.0, 0.02, 0.3])
def test_derivatives_of_the_limit_are_those_of_finite_differences(background_error):
    signal, background = yields()
    _, by_signal, by_background = log_expected_limits(signal, background, background_error=background_error)
    for k in range(signal.shape[1]):
        for values, exact in ((signal, by_signal), (background, by_background)):
            step = 1e-4 * values[:, k]
            found = []
            for sign in (1, -1):
                moved = values.copy()
                moved[:, k] += sign * step
                pair = (moved, background) if values is signal else (signal, moved)
                found.append(log_expected_limits(*pair, background_error=background_error)[0])
            numeric = (found[0] - found[1]) / (2 * step)
            np.testing.assert_allclose(exact[:, k] * values[:, k], numeric * values[:, k], atol=2e-7)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.5), st.floats(0.01, 100))
def test_the_limit_grows_with_background_and_its_error_and_falls_with_signal(seed, error, scale):
    signal, background = yields(seed, n=5)
    limit, by_signal, by_background = log_expected_limits(signal, background, background_error=error)
    assert (by_signal < 0).all()
    assert (by_background > 0).all()
    more, _, _ = log_expected_limits(signal, background, background_error=error + 0.1)
    assert (more > limit).all()
    scaled, _, _ = log_expected_limits(scale * signal, background, background_error=error)
    np.testing.assert_allclose(scaled, limit - np.log(scale), atol=1e-7)


@pytest.mark.parametrize("background_error", [0.0, 0.05])
def test_derivatives_of_punzi_are_those_of_finite_differences(background_error):
    efficiency, background = yields(k=1)
    value, by_efficiency, by_background = log_punzi(efficiency, background, background_error=background_error)
    if background_error == 0:
        np.testing.assert_allclose(np.exp(value), punzi_minimum_signal(background) / efficiency)
    for shift, exact in (((1e-6, 0), by_efficiency), ((0, 1e-6), by_background)):
        up, down = (
            log_punzi(
                efficiency * (1 + s * shift[0]),
                background * (1 + s * shift[1]),
                background_error=background_error,
            )[0]
            for s in (1, -1)
        )
        of = efficiency if shift[0] else background
        np.testing.assert_allclose(exact * of, (up - down) / 2e-6, atol=1e-8)
