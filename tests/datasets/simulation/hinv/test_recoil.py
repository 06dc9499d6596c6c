"""Recoil: exact for exact tags, and with the resolution that error propagation says."""

import numpy as np
import pytest

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.hinv.channels import CHANNELS
from darksieve.datasets.simulation.hinv.recoil import recoil
from darksieve.datasets.simulation.hinv.signal_decays import decay_signals
from darksieve.datasets.simulation.phase_space import boosted, with_mass

BEAMS = Beams.named("belle")
N = 4000


def signal_events(channel, mass, n=N):
    rng = np.random.default_rng(6)
    direction = rng.standard_normal((n, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    p = np.sqrt(BEAMS.sqrt_s**2 / 4 - channel.b_mass**2)
    tag = with_mass(p * direction, channel.b_mass)
    h = np.empty((n, 4))
    for group in decay_signals(rng, channel, np.full(n, mass)):
        h[group.events] = group.four[:, 0]
    return boosted(h, tag * [-1, -1, -1, 1]), tag


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("mass", [0.0, 1.0, 2.5])
def test_exact_tags_give_the_exact_momentum_and_mass(name, mass):
    channel = CHANNELS[name]
    h, tag = signal_events(channel, mass, 200)
    found = recoil(h, tag, channel, BEAMS)
    np.testing.assert_allclose(found.momentum, channel.momentum(mass), atol=1e-9)
    np.testing.assert_allclose(found.mass_squared, mass**2, atol=1e-8)
    np.testing.assert_allclose(found.missing_mass_squared, mass**2, atol=1e-8)
    assert ((found.missing_theta > 0) & (found.missing_theta < np.pi)).all()


def test_smearing_of_the_tag_reaches_the_momentum_through_the_boost():
    channel = CHANNELS["pi"]
    h, tag = signal_events(channel, 1.0)
    sigma = 0.015
    smeared = tag.copy()
    smeared[:, :3] += sigma * np.random.default_rng(1).standard_normal((N, 3))
    # p_h changes by E_h/m_B times the change of the B's momentum along h
    expected = sigma * np.sqrt(channel.momentum(1.0) ** 2 + channel.h_mass**2) / channel.b_mass
    spread = recoil(h, smeared, channel, BEAMS).momentum - channel.momentum(1.0)
    assert spread.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * N) + 0.01)
    # without the boost, in the CMS, it is spread evenly by ± β E
    in_cms = np.linalg.norm(h[:, :3], axis=1) - channel.momentum(1.0)
    assert in_cms.std() > 10 * spread.std()


def test_missing_direction_is_that_of_x_in_the_laboratory():
    channel = CHANNELS["k"]
    h, tag = signal_events(channel, 2.0, 50)
    beam = np.array(BEAMS.four_momentum)
    x = beam - BEAMS.to_lab(tag) - BEAMS.to_lab(h)
    theta = np.arccos(x[:, 2] / np.linalg.norm(x[:, :3], axis=1))
    np.testing.assert_allclose(recoil(h, tag, channel, BEAMS).missing_theta, theta, atol=1e-9)
