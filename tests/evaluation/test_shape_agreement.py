"""Whether two weighted histograms have the same shape."""

import numpy as np
import pytest
from scipy.stats import kstest

from darksieve.evaluation.shape_agreement import compare_shapes


def histogram(rng, n, weight, edges, tilt=0.0):
    values = rng.random(n) ** (1 + tilt)
    content = np.histogram(values, edges)[0] * weight
    return content, content * weight


def test_p_values_of_equal_shapes_are_uniform_whatever_the_weights():
    rng, edges = np.random.default_rng(9), np.linspace(0, 1, 21)
    p_values = [
        compare_shapes(*histogram(rng, 2000, 1.0, edges), *histogram(rng, 3000, 7.0, edges)).p_value
        for _ in range(300)
    ]
    assert kstest(p_values, "uniform").pvalue > 1e-3


def test_different_shapes_are_told_apart():
    rng, edges = np.random.default_rng(9), np.linspace(0, 1, 21)
    found = compare_shapes(*histogram(rng, 2000, 1.0, edges), *histogram(rng, 2000, 1.0, edges, tilt=0.5))
    assert found.p_value < 1e-6


def test_scaling_the_weights_changes_nothing():
    rng, edges = np.random.default_rng(9), np.linspace(0, 1, 21)
    first, second = histogram(rng, 500, 1.0, edges), histogram(rng, 700, 1.0, edges)
    scaled = compare_shapes(*first, 3 * second[0], 9 * second[1])
    assert scaled.chi2 == pytest.approx(compare_shapes(*first, *second).chi2)


def test_bins_with_few_events_are_merged_and_too_few_give_no_answer():
    edges = np.linspace(0, 1, 21)
    rng = np.random.default_rng(9)
    assert compare_shapes(*histogram(rng, 60, 1.0, edges), *histogram(rng, 60, 1.0, edges)).n_degrees < 8
    nothing = compare_shapes(*histogram(rng, 8, 1.0, edges), *histogram(rng, 60, 1.0, edges))
    assert nothing.p_value is None
