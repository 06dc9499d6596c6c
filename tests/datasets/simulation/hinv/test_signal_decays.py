"""Decays of the signal B: conservation, momenta of h, shares of the decays of a charmed h, refusals."""

import numpy as np
import pytest

from darksieve.datasets.simulation.hinv.channels import CHANNELS, INVISIBLE_PDG
from darksieve.datasets.simulation.hinv.signal_decays import FROM_B, decay_signals
from darksieve.datasets.simulation.phase_space import invariant_mass
from darksieve.errors import InputError


@pytest.mark.parametrize("name", CHANNELS)
def test_four_momentum_is_conserved_down_to_what_is_seen(name):
    channel = CHANNELS[name]
    masses = np.linspace(0, channel.largest_mass - 0.01, 200)
    events = []
    for group in decay_signals(np.random.default_rng(3), channel, masses):
        events.append(group.events)
        final = [i for i in range(len(group.pdg)) if i not in group.mother]
        total = group.four[:, final].sum(axis=1)
        np.testing.assert_allclose(total, np.tile([0, 0, 0, channel.b_mass], (len(total), 1)), atol=1e-9)
        h, x = group.four[:, 0], group.four[:, 1]
        np.testing.assert_allclose(invariant_mass(x), masses[group.events], atol=1e-6)
        np.testing.assert_allclose(
            np.linalg.norm(h[:, :3], axis=1), channel.momentum(masses[group.events]), atol=1e-9
        )
        assert group.pdg.tolist()[:2] == [channel.h_pdg, INVISIBLE_PDG]
        assert group.mother.tolist()[:2] == [FROM_B, FROM_B]
        for parent in set(group.mother.tolist()) - {FROM_B}:
            own = group.four[:, np.flatnonzero(group.mother == parent)].sum(axis=1)
            np.testing.assert_allclose(own, group.four[:, parent], atol=1e-9)
    np.testing.assert_array_equal(np.sort(np.concatenate(events)), np.arange(200))


@pytest.mark.parametrize("name", ["ds", "d0"])
def test_decays_of_h_come_in_the_ratio_of_their_branching_fractions(name):
    channel = CHANNELS[name]
    n = 4000
    counts = [len(g.events) for g in decay_signals(np.random.default_rng(5), channel, np.full(n, 1.0))]
    share = np.array([decay.fraction for decay in channel.decays]) / channel.secondary_fraction
    np.testing.assert_allclose(np.array(counts) / n, share, atol=4 * np.sqrt(0.25 / n))


def test_too_heavy_or_negative_masses_are_refused_with_the_range():
    for wrong in (3.4, -0.1, np.nan):
        with pytest.raises(InputError, match=r"0 to 3\.311 GeV"):
            decay_signals(np.random.default_rng(1), CHANNELS["ds"], np.array([1.0, wrong]))
