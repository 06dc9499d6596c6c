"""Categories that simulation cannot fill have the background that their working points state."""

import numpy as np
import pytest

from darksieve.evaluation.search_building import ScanChannel
from darksieve.evaluation.thin_background import modelled_density, with_modelled_background


def sigma(masses):
    return 0.01 * np.ones_like(np.asarray(masses, float))


def points(status="beyond_simulation", n=21, events=8.0):
    return [
        {"mass": mass, "n_background": events * mass, "status": status} for mass in np.linspace(1.0, 3.0, n)
    ]


def channel(edges):
    edges = np.asarray(edges, float)
    empty = np.zeros(len(edges) - 1)
    return ScanChannel("c", None, sigma, np.ones_like, 1.0, edges, empty, empty)


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
    before = channel(np.linspace(1, 3, 11))
    assert with_modelled_background(before, given, "mass", weight=1.0) is before


def test_most_of_the_masses_decide_and_numbers_that_are_not_there_are_bridged():
    mixed = points()
    for p in mixed[:10]:
        p["status"] = "ok"
    assert modelled_density(mixed, sigma) is not None
    mixed[10]["status"] = "ok"
    assert modelled_density(mixed, sigma) is None
    holes = points()
    holes[3]["n_background"] = None
    masses, density = modelled_density(holes, sigma)
    assert len(masses) == 20
    np.testing.assert_allclose(density, 8 * masses / 0.04)
