"""Two-body decays by Pythia: each as often as any other, none in generic B decays, weights of mean one."""

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("pythia8mc")

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.generation import b_pair_events
from darksieve.datasets.simulation.hinv.channels import CHANNELS
from darksieve.datasets.simulation.hinv.two_body import (
    TWO_BODY_DECAYS,
    two_body_choice,
    two_body_decays,
    two_body_events,
)
from darksieve.datasets.simulation.phase_space import invariant_mass, to_rest_frame

BEAMS = Beams.named("belle")
SPREAD = 0.005
N = 1600
PDGS = {1: 521, 0: 511}
LISTED = {
    tuple(sorted((decay.products[0], m)))
    for decay in TWO_BODY_DECAYS
    for m in ({311: (310, 130), -311: (310, 130)}.get(decay.pdg, (decay.pdg,)))
}


@pytest.fixture(scope="module", params=[1, 0])
def made(request):
    return request.param, two_body_events(np.random.default_rng(2), BEAMS, SPREAD, request.param, N)


def daughters(batch, which):
    """Particle numbers of the daughters of each event's first (0) or second (1) B, if there are two."""
    b = np.flatnonzero(
        np.isin(np.abs(batch.pdg), (511, 521)) & (batch.mother < 0) & (batch.ancestor == which)
    )
    assert len(b) == batch.n_events
    rows = np.flatnonzero(np.isin(batch.mother, b))
    counts = np.bincount(batch.event[rows], minlength=batch.n_events)
    pairs = {}
    for event in np.flatnonzero(counts == 2):
        own = rows[np.searchsorted(batch.event[rows], event) :][:2]
        pairs[int(event)] = tuple(batch.pdg[own].tolist()), own, int(batch.pdg[b[event]])
    return pairs


def test_each_decay_is_as_frequent_as_any_other(made):
    b_charge, batch = made
    own = [TWO_BODY_DECAYS.index(decay) + 1 for decay in two_body_decays(b_charge)]
    counts = np.bincount(batch.submode, minlength=len(TWO_BODY_DECAYS) + 1)[own]
    assert counts.sum() == N
    assert stats.chisquare(counts).pvalue > 1e-3


def test_weights_are_the_branching_fractions_with_mean_one(made):
    b_charge, batch = made
    fractions = np.array([decay.fraction for decay in two_body_decays(b_charge)])
    spread = fractions.std() / fractions.mean()
    assert batch.weight.mean() == pytest.approx(1, abs=4 * spread / np.sqrt(N))
    for number in np.unique(batch.submode):
        of_decay = batch.weight[batch.submode == number]
        expected = TWO_BODY_DECAYS[number - 1].fraction / fractions.mean()
        np.testing.assert_allclose(of_decay, expected)


def test_h_flies_off_with_the_momentum_against_the_mass_of_m(made):
    b_charge, batch = made
    pairs = daughters(batch, 0)
    assert len(pairs) == N
    for event, (pdg, rows, b_pdg) in list(pairs.items())[:200]:
        decay = TWO_BODY_DECAYS[batch.submode[event] - 1]
        channel = CHANNELS[decay.channel]
        sign = 1 if event % 2 == 0 else -1
        assert b_pdg == sign * PDGS[b_charge]
        h = pdg.index(sign * channel.h_pdg)
        four = batch.momenta[rows]
        total = four.sum(axis=0)[None]
        p = np.linalg.norm(to_rest_frame(four[h][None], total)[0, :3])
        assert p == pytest.approx(channel.momentum(invariant_mass(four[1 - h])), abs=3e-3)


def test_neither_the_other_b_nor_generic_ones_decay_so(made):
    b_charge, batch = made
    generic = b_pair_events(
        np.random.default_rng(3), BEAMS, SPREAD, PDGS[b_charge], N, two_body_choice(b_charge, only=False)
    )
    for found in (daughters(batch, 1), daughters(generic, 0), daughters(generic, 1)):
        assert found
        for pdg, _, _ in found.values():
            conjugate = tuple(-p if p not in {310, 130, 111, 113, 221, 223, 331, 333} else p for p in pdg)
            assert tuple(sorted(pdg)) not in LISTED
            assert tuple(sorted(conjugate)) not in LISTED


def test_without_a_choice_pythia_makes_them():
    # B(B+ → D̄0π+, D̄*0π+, D_s D̄0, D_s D̄*0) is 3.5 % in Pythia's table
    generic = b_pair_events(np.random.default_rng(3), BEAMS, SPREAD, 521, 400)
    found = [tuple(sorted(pdg)) in LISTED for pdg, _, b_pdg in daughters(generic, 0).values() if b_pdg > 0]
    assert sum(found) >= 3
