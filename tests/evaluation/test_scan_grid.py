"""The grid of hypotheses, the binning that follows the resolution, and the windows."""

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.scan_grid import data_range, mass_grid, place_windows, scan_edges

# 68 % half-widths of the toy after the kinematic fit
MASSES = np.array([0.0, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 9.5, 10.0])
WIDTHS = np.array([10.2, 10.2, 10.4, 11.2, 12.9, 14.5, 16.6, 17.7, 13.9, 11.5]) * 1e-3


def sigma(masses):
    return np.interp(masses, MASSES, WIDTHS)


def test_half_resolution_steps_give_more_than_a_thousand_hypotheses():
    masses = mass_grid((0.17, 9.80), sigma, 0.5)
    assert len(masses) > 1000
    assert masses[0] == 0.17
    assert masses[-1] == 9.80
    steps = np.diff(masses) / sigma((masses[1:] + masses[:-1]) / 2)
    assert steps.max() <= 0.5 * 1.001
    assert steps.min() > 0.49


@pytest.mark.parametrize("position", ["mass", "mass_squared"])
def test_bins_follow_the_resolution(position):
    edges = scan_edges((0.1, 9.9), sigma, bins_per_sigma=6, position=position)
    in_mass = edges if position == "mass" else np.sqrt(edges)
    assert in_mass[0] == pytest.approx(0.1)
    assert in_mass[-1] == pytest.approx(9.9)
    np.testing.assert_allclose(np.diff(in_mass) / sigma((in_mass[1:] + in_mass[:-1]) / 2), 1 / 6, rtol=2e-3)


def test_windows_near_the_ends_are_trimmed_not_dropped():
    edges = scan_edges((0.1, 9.9), sigma)
    windows = place_windows([0.17, 5.0, 9.8], sigma, edges, window_sigma=20)
    np.testing.assert_allclose(windows.low, [0.1, 5 - 20 * sigma(5.0), 9.8 - 20 * sigma(9.8)], atol=2e-3)
    np.testing.assert_allclose(windows.high, [0.17 + 20 * sigma(0.17), 5 + 20 * sigma(5.0), 9.9], atol=2e-3)
    assert np.isin(windows.low, edges).all()
    assert np.isin(windows.high, edges).all()


def test_windows_of_a_squared_observable_are_squares():
    edges = scan_edges((0.0, 9.9), sigma, position="mass_squared")
    windows = place_windows(
        [0.1, 5.0], sigma, edges, window_sigma=20, position="mass_squared", exclude=[(4.8, 4.9)]
    )
    assert windows.low[0] == 0
    assert windows.high[1] == pytest.approx((5 + 20 * sigma(5.0)) ** 2, abs=0.03)
    assert windows.excluded_in(0) == ()
    assert windows.excluded_in(1) == (pytest.approx((4.8**2, 4.9**2)),)


def test_no_kept_bin_touches_an_excluded_interval():
    edges = scan_edges((0.1, 3.0), sigma)
    veto = (0.5003, 0.5998)
    windows = place_windows([0.45, 0.62, 2.0], sigma, edges, window_sigma=20, exclude=[veto])
    bins, kept = windows.padded()
    for i in range(2):
        low, high = edges[bins[i][kept[i]]], edges[bins[i][kept[i]] + 1]
        assert not np.any((high > veto[0]) & (low < veto[1]))
        width = windows.high[i] - windows.low[i] - (veto[1] - veto[0])
        # at most the two bins at the edges of the veto are lost with it
        assert np.sum(high - low) == pytest.approx(width, abs=2 * sigma(0.6) / 6)
    assert kept[2].sum() == windows.last[2] - windows.first[2]
    assert windows.excluded_in(2) == ()


def test_data_range_adds_margins_within_limits():
    low, high = data_range((0.17, 9.8), sigma, margin_sigma=8, limits=(0.12, 20.0))
    assert low == 0.12
    assert high == pytest.approx(9.8 + 8 * sigma(9.8))


def test_bad_grids_are_refused():
    with pytest.raises(InputError, match="empty"):
        mass_grid((2.0, 1.0), sigma, 0.5)
    with pytest.raises(InputError, match="step_sigma is 0"):
        mass_grid((1.0, 2.0), sigma, 0)
    with pytest.raises(InputError, match="not positive"):
        mass_grid((1.0, 2.0), np.zeros_like, 0.5)
    with pytest.raises(InputError, match="outside the data"):
        place_windows([5.0], sigma, np.linspace(1, 2, 11), window_sigma=5)
