"""Candidates of perfect events: h, right and wrong tags, weights, the rest of the event, the truth."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darksieve.datasets.simulation.hinv.channels import CHANNELS
from darksieve.datasets.simulation.hinv.h_candidates import (
    CHANNEL_NUMBERS,
    HCandidates,
    fast_enough,
    find_h,
)
from darksieve.datasets.simulation.hinv.matching import event_objects, h_is_true, true_bs
from darksieve.datasets.simulation.hinv.pairs import WRONG, pair_with_tags, rest_of_event, select_pairs
from darksieve.datasets.simulation.hinv.selection import HSelection
from darksieve.datasets.simulation.hinv.tag import TagSettings
from darksieve.datasets.simulation.phase_space import boosted, with_mass
from darksieve.errors import InputError

N = 120
TAG = TagSettings(extra_tracks_mean=0.0)


@pytest.fixture(scope="module")
def seen(signal_events, perfect_detector, beams):
    """A function: channel -> batch, objects, candidates, Bs, pairs."""
    made = {}

    def of(name):
        if name not in made:
            batch = signal_events(name, N)
            objects = event_objects(batch, perfect_detector(batch), beams)
            candidates = find_h(objects, [name], HSelection(min_photon_energy=0.0))
            bs = true_bs(batch, beams, TAG)
            pairs = pair_with_tags(np.random.default_rng(1), objects, candidates, bs, beams, TAG)
            made[name] = batch, objects, candidates, bs, pairs
        return made[name]

    return of


@pytest.mark.parametrize("name", CHANNELS)
def test_each_event_has_its_true_h_once_and_only_in_its_channel(seen, name):
    batch, objects, candidates, _, _ = seen(name)
    true = h_is_true(batch, objects, candidates, name)
    np.testing.assert_array_equal(np.bincount(candidates.event[true], minlength=N), 1)
    rows = np.flatnonzero(true)
    np.testing.assert_array_equal(
        candidates.flavour[rows], np.where(np.arange(N) % 2, -1, 1)[candidates.event[rows]]
    )
    for other in set(CHANNELS) - {name}:
        elsewhere = find_h(objects, [other], HSelection(min_photon_energy=0.0))
        assert not h_is_true(batch, objects, elsewhere, name).any()
    assert not h_is_true(batch, objects, candidates, None).any()


@pytest.mark.parametrize("name", CHANNELS)
def test_the_true_h_has_one_right_tag_with_the_efficiency_of_its_decay_as_weight(seen, name):
    batch, objects, candidates, bs, pairs = seen(name)
    true = h_is_true(batch, objects, candidates, name)[pairs.candidate] & (pairs.b != WRONG)
    # every event is kept: the efficiency is never a cut
    np.testing.assert_array_equal(np.bincount(pairs.event[true], minlength=N), 1)
    assert (pairs.b[true] == 1).all()
    bodies = 2 if name == "d0" else 3
    mean, relative = (
        (TAG.efficiency_neutral, TAG.mean_relative_neutral)
        if name == "d0"
        else (TAG.efficiency_charged, TAG.mean_relative_charged)
    )
    np.testing.assert_allclose(
        pairs.weight[true], mean / relative * TAG.per_track**bodies * TAG.per_pi0, rtol=1e-12
    )
    assert (bs.efficiency[:, 0] == 0).all()  # X is never reconstructed
    assert np.median(pairs.tags.mbc[true]) == pytest.approx(5.2795, abs=1e-3)


@pytest.mark.parametrize("name", CHANNELS)
def test_nothing_is_left_beside_the_true_h_and_its_right_tag(seen, name):
    batch, objects, candidates, _, pairs = seen(name)
    rest = rest_of_event(np.random.default_rng(1), objects, pairs, TAG)
    true = h_is_true(batch, objects, candidates, name)[pairs.candidate] & (pairs.b != WRONG)
    assert (rest.tracks[true] == 0).all()
    assert (rest.clusters[true] == 0).all()
    assert (rest.energy[true] == 0).all()
    # h, tag and rest are all there is, and nothing twice
    made_of = candidates.objects[pairs.candidate]
    n_h = (made_of >= 0).sum(axis=1)
    n_tag, n_rest = np.diff(pairs.in_tag[1]), np.diff(pairs.in_rest[1])
    np.testing.assert_array_equal(n_h + n_tag + n_rest, np.diff(objects.offsets)[pairs.event])


def test_a_tag_has_the_charge_against_h(seen):
    _, objects, candidates, _, pairs = seen("k")
    flat, offsets = pairs.in_tag
    charge = np.add.reduceat(objects.charge[flat], offsets[:-1])
    np.testing.assert_array_equal(charge, -candidates.charge[pairs.candidate])


def test_a_kaon_of_the_tag_makes_no_pair_with_that_tag(seen):
    batch, objects, candidates, _, pairs = seen("k")
    of_tag = objects.b[candidates.objects[:, 0]] == 1
    assert of_tag.any()
    assert (pairs.b[of_tag[pairs.candidate]] == WRONG).all()
    assert not h_is_true(batch, objects, candidates, "k")[of_tag].any()


def test_extra_tracks_of_the_beam_background_have_their_mean(seen):
    _, objects, _, _, pairs = seen("pi")
    with_background = replace(TAG, extra_tracks_mean=0.5)
    total = 0
    for seed in range(20):
        rest = rest_of_event(np.random.default_rng(seed), objects, pairs, with_background)
        total += rest.tracks.sum()
    without = 20 * rest_of_event(np.random.default_rng(0), objects, pairs, TAG).tracks.sum()
    n = 20 * len(pairs)
    assert (total - without) / n == pytest.approx(0.5, abs=4 * np.sqrt(0.5 / n))


def test_recoil_of_the_true_pairs_peaks_at_the_momentum_of_the_channel(seen, beams):
    batch, objects, candidates, _, pairs = seen("p")
    rest = rest_of_event(np.random.default_rng(1), objects, pairs, TAG)
    kept, found = select_pairs(candidates, pairs, rest, beams, TAG, HSelection())
    true = h_is_true(batch, objects, candidates, "p")[pairs.candidate[kept]] & (pairs.b[kept] != WRONG)
    # the tag's 15 MeV reach p_h by E_h/m_B, with a tail of three times that in 15 %
    momentum = found.momentum[true]
    assert np.median(momentum) == pytest.approx(CHANNELS["p"].momentum(1.0), abs=3e-3)
    assert np.quantile(np.abs(momentum - np.median(momentum)), 0.68) < 0.012
    assert (pairs.tags.mbc[kept] >= TAG.min_mbc).all()
    assert (found.momentum >= HSelection().min_momentum).all()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(CHANNELS)),
    st.floats(0.7, 2.0),
    st.floats(0, 1),
    st.floats(-1, 1),
    st.floats(-1, 1),
)
def test_no_candidate_that_may_have_the_momentum_is_dropped_before_the_tag(
    name, momentum, share, cosine, other_cosine
):
    channel, half, min_mbc = CHANNELS[name], 5.29, 5.24
    p_b = share * np.sqrt(half**2 - min_mbc**2)
    along = np.array([0.0, np.sqrt(1 - other_cosine**2), other_cosine])
    b = with_mass(p_b * along[None], channel.b_mass)
    h = with_mass(momentum * np.array([[np.sqrt(1 - cosine**2), 0.0, cosine]]), channel.h_mass)
    one, none = np.array([CHANNEL_NUMBERS[name]]), np.array([np.nan])
    zero = np.zeros(1, dtype=np.int64)
    candidate = HCandidates(zero, one, zero, zero, zero, boosted(h, b), none, none, none, np.full((1, 4), -1))
    assert len(fast_enough(candidate, half, min_mbc, momentum - 1e-9)) == 1
    slow = replace(candidate, momentum=with_mass(np.zeros((1, 3)), channel.h_mass))
    assert len(fast_enough(slow, half, min_mbc, 0.7)) == 0


def test_channels_are_numbered_from_one_in_their_order():
    assert CHANNEL_NUMBERS == {"pi": 1, "k": 2, "ds": 3, "p": 4, "d0": 5}


def test_cuts_out_of_range_are_refused_by_name():
    with pytest.raises(InputError, match=r"selection\.min_pid is 1\.5"):
        HSelection(min_pid=1.5)
    with pytest.raises(InputError, match=r"selection\.max_extra_energy is nan"):
        HSelection(max_extra_energy=float("nan"))
