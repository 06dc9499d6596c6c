"""Weights: effective sample sizes, and policies for negative weights with their effect."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darksieve.datasets.cache import Cache
from darksieve.datasets.cached_reader import CachedReader
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role, concatenate
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
from darksieve.datasets.weights import (
    MassWindows,
    PolicyEffect,
    effective_events,
    effective_events_in,
)
from darksieve.errors import InputError

WINDOWS = MassWindows("Mbc", (5.20, 5.26, 5.28, 5.40))
RECIPE = ReadRecipe(("Mbc", "nTracks"), luminosity_fb=30.0, select="nTracks > 1", windows=WINDOWS)


@given(
    st.lists(st.floats(-5, 5).filter(lambda w: abs(w) > 1e-3), min_size=1, max_size=50), st.floats(0.1, 10)
)
@settings(max_examples=50, deadline=None)
def test_effective_events_are_at_most_the_rows_and_do_not_depend_on_the_unit(weights, unit):
    w = np.array(weights)
    assert effective_events(w) <= len(w) * (1 + 1e-12)
    assert effective_events(unit * w) == pytest.approx(effective_events(w), rel=1e-9, abs=1e-12)


def test_equal_weights_are_as_many_events_as_rows():
    assert effective_events(np.full(7, 0.3)) == pytest.approx(7)
    assert effective_events([]) == 0
    mass = np.array([5.21, 5.22, 5.27, 5.5])
    found = effective_events_in(WINDOWS, mass, np.array([1.0, 3.0, 2.0, 9.0]))
    np.testing.assert_allclose(found, [16 / 10, 1, 0])


def test_windows_that_do_not_increase_are_refused():
    with pytest.raises(InputError, match="edges must increase"):
        MassWindows("x", (1.0, 1.0))


@pytest.fixture
def columns(ntuple_columns):
    columns = ntuple_columns(400)
    rng = np.random.default_rng(8)
    return columns | {"w": np.where(rng.random(400) < 0.2, -0.7, 1.3)}


@pytest.fixture
def sample(write_tree, columns):
    half = {name: values[:150] for name, values in columns.items()}
    rest = {name: values[150:] for name, values in columns.items()}
    paths = (write_tree("a.root", half), write_tree("b.root", rest))
    return Sample("qed", Role.BACKGROUND, paths, luminosity_fb=10.0, weight="w")


def with_policy(sample, policy):
    return SampleReader(replace(sample, negative_weights=policy), replace(RECIPE, chunk_rows=70))


def expected_of(columns):
    """Selected weights at 30/fb, and their windows, without darksieve."""
    selected = columns["nTracks"] > 1
    w = 3.0 * columns["w"][selected]
    window = np.digitize(columns["Mbc"][selected].astype(float), WINDOWS.edges) - 1
    return w, np.array([[w[(window == i)].sum(), w[(window == i) & (w > 0)].sum()] for i in range(3)])


@pytest.mark.parametrize("how", ["read", "chunks"])
@pytest.mark.parametrize("policy", ["keep", "drop", "rescale"])
def test_policy_leaves_the_weights_that_it_says(sample, columns, policy, how):
    reader = with_policy(sample, policy)
    events = reader.read() if how == "read" else concatenate(list(reader.chunks()))
    w, in_windows = expected_of(columns)
    leaves = {"keep": w, "drop": w[w > 0], "rescale": np.abs(w) * w.sum() / np.abs(w).sum()}[policy]
    np.testing.assert_allclose(events.weight, leaves, rtol=1e-12)
    effect = reader.policy_effect
    assert (effect.policy, effect.n_rows, effect.n_negative) == (policy, len(w), int((w < 0).sum()))
    assert effect.sum_before == pytest.approx(w.sum())
    assert effect.sum_after == pytest.approx(leaves.sum())
    np.testing.assert_allclose(effect.before, in_windows[:, 0])
    if policy == "keep":
        assert effect.changes == (0, 0, 0)
    if policy == "drop":
        np.testing.assert_allclose(effect.changes, in_windows[:, 1] / in_windows[:, 0] - 1)
        assert reader.cut_flow.cuts[-1].name == "weight not negative"
        assert reader.cut_flow.n_left == len(leaves)
    if policy == "rescale":
        assert effect.change == pytest.approx(0, abs=1e-12), "the total stays"
        assert max(map(abs, effect.changes)) > 0.001, "its windows do not"


def test_effect_says_itself(sample):
    reader = with_policy(sample, "drop")
    reader.read()
    assert "rows have a negative weight: drop; the total changes by +" in str(reader.policy_effect)
    assert "a mass window by up to" in str(reader.policy_effect)
    assert str(PolicyEffect("error", n_rows=3)) == "3 rows, no negative weight"


@pytest.mark.parametrize("policy", ["keep", "drop", "rescale"])
def test_effect_and_weights_come_from_the_cache_as_they_were_read(sample, tmp_path, policy):
    cache = Cache(tmp_path / "cache")
    given_policy = replace(sample, negative_weights=policy)
    first, second = (CachedReader(given_policy, RECIPE, cache) for _ in range(2))
    made, found = first.read(), second.read()
    assert found.digest() == made.digest()
    assert second.policy_effect == first.policy_effect
    assert first.policy_effect.sum_after == pytest.approx(made.weight.sum())
    assert len(cache.entries()) == 1


def test_weights_that_add_up_to_nothing_cannot_be_rescaled(write_tree, ntuple_columns):
    path = write_tree("a.root", ntuple_columns(100) | {"w": np.where(np.arange(100) % 2, 1.0, -1.0)})
    sample = Sample("qed", "background", (path,), luminosity_fb=1.0, weight="w", negative_weights="rescale")
    for read in (SampleReader(sample, RECIPE).read, lambda: list(SampleReader(sample, RECIPE).chunks())):
        with pytest.raises(InputError, match=r"sample qed: its weights add up to .* keep or drop"):
            read()


def test_signal_is_windowed_in_its_generated_mass(write_tree, columns):
    path = write_tree("s.root", columns)
    sample = Sample(
        "s", "signal", (path,), mass="genM_a", n_generated=1000, mass_range=(0.2, 4.7), weight="w",
        negative_weights="drop",
    )  # fmt: skip
    reader = SampleReader(sample, replace(RECIPE, windows=MassWindows("Mbc", (0.2, 2.0, 4.7))))
    events = reader.read()
    for i, (low, high) in enumerate(((0.2, 2.0), (2.0, 4.7))):
        inside = (events.mass >= low) & (events.mass < high)
        assert reader.policy_effect.after[i] == pytest.approx(events.weight[inside].sum())
