"""Channels of B → hX: endpoints, the way from a momentum to a mass, and branching fractions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darksieve.datasets.simulation.hinv.channels import CHANNELS, channel_named
from darksieve.errors import InputError

# momentum of h in the B's rest frame, GeV, at m_X = 0, 1, 2, 3 GeV, and the largest m_X: the two-body formula
# worked out independently with PDG masses
MOMENTA = {
    "pi": ([2.638, 2.543, 2.258, 1.784], 5.140),
    "k": ([2.617, 2.520, 2.230, 1.742], 4.786),
    "ds": ([2.273, 2.146, 1.741, 0.875], 3.311),
    "p": ([2.556, 2.455, 2.148, 1.618], 4.341),
}


@pytest.mark.parametrize("name", MOMENTA)
def test_momentum_and_endpoint_are_those_of_two_body_kinematics(name):
    momenta, endpoint = MOMENTA[name]
    channel = CHANNELS[name]
    np.testing.assert_allclose(channel.momentum([0.0, 1.0, 2.0, 3.0]), momenta, atol=6e-4)
    assert channel.largest_mass == pytest.approx(endpoint, abs=6e-4)
    assert channel.momentum(channel.largest_mass) == pytest.approx(0, abs=1e-6)
    assert np.isnan(channel.momentum(channel.largest_mass + 0.01))


@given(st.sampled_from(sorted(CHANNELS)), st.floats(0, 1))
def test_the_squared_mass_inverts_the_momentum(name, fraction):
    channel = CHANNELS[name]
    mass = fraction * channel.largest_mass
    assert channel.recoil_mass_squared(channel.momentum(mass)) == pytest.approx(mass**2, abs=1e-9)


def test_a_momentum_above_the_endpoint_is_a_negative_squared_mass():
    for channel in CHANNELS.values():
        assert channel.recoil_mass_squared(channel.momentum(0.0) + 0.05) < 0


def test_fractions_are_the_products_of_the_decays_that_are_reconstructed():
    # D_s: 2.21 % + 1.45 % × 0.692; D0: 3.947 % + 14.4 % × 0.98823 + 8.22 % (PDG 2024, from memory)
    assert CHANNELS["ds"].secondary_fraction == pytest.approx(0.032134, abs=1e-6)
    assert CHANNELS["d0"].secondary_fraction == pytest.approx(0.263975, abs=1e-6)
    assert {CHANNELS[name].secondary_fraction for name in ("pi", "k", "p")} == {1.0}
    assert all(decay.source for channel in CHANNELS.values() for decay in channel.decays)


def test_only_the_d0_comes_with_a_neutral_b():
    assert {name for name, channel in CHANNELS.items() if channel.b_charge == 0} == {"d0"}


def test_an_unknown_channel_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'ds'"):
        channel_named("dss")
