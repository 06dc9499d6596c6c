"""Sizes of the nuisances that a correction's covariance makes."""

import numpy as np
import pytest

from darksieve.datasets.corrections import OUTSIDE, CorrectionTable
from darksieve.evaluation.correction_sizes import Correction, signal_sizes, usage, usage_at, yield_sizes

TABLE = CorrectionTable.parse(
    {
        "format": "darksieve-correction/1",
        "name": "photons",
        "source": "illustrative",
        "axes": [{"branch": "E", "unit": "GeV", "edges": [0, 1, 2, 3]}],
        "values": [0.9, 1.0, 1.1],
        "uncorrelated": [0.03, 0.01, 0.02],
        "correlated": {"method": [0.02, 0.02, 0.02]},
    }
)


def correction(keep=1.0):
    return Correction("photon", TABLE, TABLE.variations(keep))


def test_usage_counts_each_object_and_leaves_out_what_is_outside():
    bins = np.array([[0, 0], [1, 2], [OUTSIDE, 2]], np.int32)
    np.testing.assert_allclose(usage(np.array([1.0, 1.0, 2.0]), bins, 3), [0.5, 0.25, 0.75])
    np.testing.assert_array_equal(usage(np.zeros(0), np.zeros((0, 2), np.int32), 3), 0.0)


def test_discrete_masses_are_interpolated():
    mass = np.repeat([1.0, 2.0], 100)
    bins = np.where(mass == 1.0, 0, 1).astype(np.int32)[:, None]
    at = usage_at([0.5, 1.0, 1.25, 2.0, 3.0], mass, np.ones(200), bins, 3)
    np.testing.assert_allclose(at[:, 0], [1, 1, 0.75, 0, 0])
    np.testing.assert_allclose(at[:, 1], [0, 0, 0.25, 1, 1])


def test_flat_signal_is_averaged_around_each_hypothesis():
    rng = np.random.default_rng(1)
    mass = rng.uniform(0, 10, 100_000)
    bins = (rng.random(100_000) < mass / 10).astype(np.int32)[:, None]
    masses = np.array([2.0, 5.0, 8.0])
    found = usage_at(masses, mass, np.ones(100_000), bins, 3)[:, 1]
    # the share p of 4000 candidates, to five standard deviations
    np.testing.assert_allclose(found, masses / 10, atol=5 * np.sqrt(0.25 / 4000))


@pytest.mark.parametrize("keep", [0.5, 0.9, 1.0])
def test_yields_vary_as_the_covariance_says_and_shared_parts_stay_correlated(keep):
    used = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    sizes = correction(keep).sizes(used)
    sensitivity = used / TABLE.values
    expected = sensitivity @ TABLE.covariance @ sensitivity.T
    stacked = np.stack(list(sizes.values()))
    got = stacked.T @ stacked
    np.testing.assert_allclose(np.diag(got), np.diag(expected), rtol=1e-12)
    if keep == 1.0:
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-15)
        assert "photon_rest" not in sizes
    else:
        assert (got >= expected - 1e-15).all(), "what is left out is correlated more than it is"
        assert "photon_rest" in sizes


def test_sizes_of_signal_and_of_one_yield_have_the_same_names():
    mass, weight = np.full(50, 1.0), np.ones(50)
    bins = {"photon": np.zeros((50, 1), np.int32)}
    of_signal = signal_sizes([correction()], mass, weight, bins)([0.9, 1.1])
    of_peak = yield_sizes([correction()], weight, bins)
    assert list(of_signal) == list(of_peak) == ["photon_1", "photon_2", "photon_3"]
    for name, size in of_peak.items():
        np.testing.assert_allclose(of_signal[name], size)
    total = np.sqrt(sum(size**2 for size in of_peak.values()))
    assert total == pytest.approx(np.sqrt(0.03**2 + 0.02**2) / 0.9, rel=1e-12)


def test_correction_without_uncertainty_makes_no_nuisance():
    ones = CorrectionTable.parse(
        {
            "format": "darksieve-correction/1",
            "name": "nothing",
            "source": "illustrative",
            "axes": [{"branch": "E", "edges": [0, 3]}],
            "values": [1.0],
            "uncorrelated": [0.0],
        }
    )
    assert Correction("none", ones, ones.variations()).sizes(np.ones((2, 1))) == {}
