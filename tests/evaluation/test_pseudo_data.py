"""Pseudo-data: drawn from what they say, seeded by channel, labelled, and refused from coarse histograms."""

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.pseudo_data import (
    EVENTS_LABEL,
    HISTOGRAM_LABEL,
    SMOOTH_LABEL,
    count_events,
    draw_from_histograms,
    draw_pseudo_data,
    inject_signal,
    nearby_signal,
    refuse_coarse_source,
)
from darksieve.evaluation.smooth_background import fit_smooth_background

EDGES = np.linspace(1.0, 5.0, 801)
MIDDLES = (EDGES[1:] + EDGES[:-1]) / 2


@pytest.fixture(scope="module")
def model():
    counts = np.random.default_rng(1).poisson(80 * np.exp(-MIDDLES / 2))
    return fit_smooth_background(EDGES, counts, counts)


def test_draws_scatter_around_the_model_as_poisson_counts(model):
    expected = model.expected_counts
    chi2 = []
    for seed in range(20):
        data = draw_pseudo_data({"c": model}, seed=seed)
        chi2.append(np.sum((data.counts["c"] - expected) ** 2 / expected))
    # 20 draws of 800 bins: the mean of chi2/n scatters by sqrt(2 / 16000) = 0.011, and Poisson counts of 10
    # and more have a variance of chi2 that is larger by up to 1/20
    assert np.mean(chi2) / 800 == pytest.approx(1.0, abs=0.05)
    assert data.label == SMOOTH_LABEL


def test_streams_are_keyed_by_seed_and_channel(model):
    one = draw_pseudo_data({"a": model}, seed=5).counts
    two = draw_pseudo_data({"a": model, "b": model}, seed=5).counts
    np.testing.assert_array_equal(one["a"], two["a"])
    assert not np.array_equal(two["a"], two["b"])
    assert not np.array_equal(one["a"], draw_pseudo_data({"a": model}, seed=6).counts["a"])


def test_histograms_with_fewer_than_ten_effective_events_per_event_are_refused():
    counts = np.random.default_rng(2).poisson(50, 100)
    weight = 0.1 * (1 + 1e-9)
    with pytest.raises(InputError, match="smooth background model"):
        refuse_coarse_source(weight * counts, weight**2 * counts)
    fine = 0.1 * (1 - 1e-9)
    refuse_coarse_source(fine * counts, fine**2 * counts)
    data = draw_from_histograms({"c": fine * counts}, {"c": fine**2 * counts}, seed=1)
    assert data.label == HISTOGRAM_LABEL
    with pytest.raises(InputError, match="cannot be drawn"):
        draw_from_histograms({"c": counts}, {"c": counts}, seed=1)


def test_simulated_events_are_counted_and_labelled():
    data = count_events({"c": [1.5, 1.5, 4.0, 7.0]}, {"c": EDGES})
    assert data.counts["c"].sum() == 3
    assert data.label == EVENTS_LABEL
    with pytest.raises(InputError, match="not finite"):
        count_events({"c": [np.nan]}, {"c": EDGES})


SHAPE = CrystalBall(2.0, 0.02, 1.5, 5.0, 1.5, 5.0)


def _background(model):
    return draw_pseudo_data({"a": model, "b": model}, seed=5)


@pytest.mark.parametrize("source", ["shapes", "events"])
def test_an_injected_signal_has_the_expected_number_and_shape(model, source):
    edges = {"a": EDGES, "b": EDGES}
    rng = np.random.default_rng(3)
    given = (
        {"shapes": {"a": SHAPE, "b": SHAPE}}
        if source == "shapes"
        else {"events": {c: (SHAPE.draw(30_000, rng), np.full(30_000, 0.2)) for c in "ab"}}
    )
    data = _background(model)
    before = {c: n.copy() for c, n in data.counts.items()}
    out = inject_signal(
        data, edges, mass=2.0, strength=4.0, yields_per_unit={"a": 1000.0, "b": 250.0}, seed=9, **given
    )
    added = {c: out.counts[c] - data.counts[c] for c in "ab"}
    assert added["a"].sum() == pytest.approx(4000, abs=5 * np.sqrt(4000))
    assert added["b"].sum() == pytest.approx(1000, abs=5 * np.sqrt(1000))
    mean = np.average(MIDDLES, weights=added["a"])
    assert mean == pytest.approx(2.0, abs=5 * 0.025 / np.sqrt(4000))
    assert out.injection.expected == 5000
    assert out.injection.drawn == pytest.approx(added["a"].sum() + added["b"].sum(), abs=20)
    for c in "ab":
        np.testing.assert_array_equal(data.counts[c], before[c])


def test_a_second_injection_and_an_empty_source_are_refused(model):
    edges = {"a": EDGES, "b": EDGES}
    given = {"mass": 2.0, "yields_per_unit": {"a": 100.0}, "seed": 1}
    once = inject_signal(_background(model), edges, strength=1.0, shapes={"a": SHAPE}, **given)
    with pytest.raises(InputError, match="already"):
        inject_signal(once, edges, strength=1.0, shapes={"a": SHAPE}, **given)
    with pytest.raises(InputError, match="not positive"):
        inject_signal(_background(model), edges, strength=0.0, shapes={"a": SHAPE}, **given)
    with pytest.raises(InputError, match="no simulated signal"):
        inject_signal(_background(model), edges, strength=1.0, events={"a": ([], [])}, **given)


def test_neighbouring_masses_are_shifted_to_the_injected_one():
    mass = np.array([1.9, 1.98, 2.02, 2.4])
    observable, weight = nearby_signal(mass + 0.003, mass, np.arange(4.0), at=2.0, half_width=0.05)
    np.testing.assert_allclose(observable, [2.003, 2.003])
    np.testing.assert_array_equal(weight, [1.0, 2.0])
