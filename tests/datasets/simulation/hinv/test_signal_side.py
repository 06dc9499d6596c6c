"""The signal side as generated particles: conservation, charge conjugation, vertices, the chain to h."""

import numpy as np
import pytest

from darksieve.constants import K_SHORT_CTAU_MM
from darksieve.datasets.simulation.bfactory.particles import Position
from darksieve.datasets.simulation.hinv.channels import CHANNELS, INVISIBLE_PDG
from darksieve.datasets.simulation.hinv.signal_side import signal_side
from darksieve.datasets.simulation.phase_space import invariant_mass, with_mass

CHARGE = {211: 1, 321: 1, 2212: 1, 431: 1, 521: 1}
N = 200


def made(name, n=N, mass=1.0, seed=2):
    rng = np.random.default_rng(seed)
    channel = CHANNELS[name]
    b = with_mass(np.stack([*rng.uniform(-0.3, 0.3, (2, n)), rng.uniform(1, 3, n)], axis=1), channel.b_mass)
    sign = np.where(np.arange(n) % 2, -1, 1)
    return signal_side(rng, channel, np.full(n, mass), b, sign), b, sign


@pytest.mark.parametrize("name", CHANNELS)
def test_final_particles_add_up_to_the_b_in_momentum_and_charge(name):
    batch, b, sign = made(name)
    charge = np.sign(batch.pdg) * np.array([CHARGE.get(abs(pdg), 0) for pdg in batch.pdg.tolist()])
    total, total_charge = np.zeros((N, 4)), np.zeros(N)
    np.add.at(total, batch.event[batch.is_final], batch.momenta[batch.is_final])
    np.add.at(total_charge, batch.event[batch.is_final], charge[batch.is_final])
    np.testing.assert_allclose(total, b, atol=1e-9)
    np.testing.assert_array_equal(total_charge, sign * CHANNELS[name].b_charge)


@pytest.mark.parametrize("name", CHANNELS)
def test_conjugate_events_have_the_antiparticles(name):
    batch, _, sign = made(name)
    first = batch.offsets[:-1]
    np.testing.assert_array_equal(batch.pdg[first], sign * CHANNELS[name].b_pdg)
    np.testing.assert_array_equal(batch.pdg[first + 1], sign * CHANNELS[name].h_pdg)
    assert (batch.pdg[first + 2] == INVISIBLE_PDG).all()


@pytest.mark.parametrize("name", CHANNELS)
def test_mothers_lead_to_the_b_and_positions_tell_the_chain(name):
    batch, _, _ = made(name)
    first = batch.offsets[:-1]
    assert (batch.mother[first] == -1).all()
    others = np.setdiff1d(np.arange(len(batch)), first)
    assert (batch.mother[others] < others).all()
    assert (batch.event[batch.mother[others]] == batch.event[others]).all()
    assert (batch.position[first] == Position.B).all()
    assert (batch.position[first + 1] == Position.MESON).all()
    assert (batch.position[first + 2] == Position.LIGHT).all()
    assert (batch.ancestor == 0).all()
    np.testing.assert_allclose(invariant_mass(batch.momenta[first + 2]), 1.0, atol=1e-6)


def test_decays_of_h_are_numbered_by_the_submode():
    batch, _, _ = made("d0", 400)
    pions = np.bincount(batch.event[np.abs(batch.pdg) == 211], minlength=400)
    photons = np.bincount(batch.event[batch.pdg == 22], minlength=400)
    for submode, expected in {1: (1, 0), 2: (1, 2), 3: (3, 0)}.items():
        own = batch.submode == submode
        assert own.any()
        assert set(zip(pions[own].tolist(), photons[own].tolist(), strict=True)) == {expected}


def test_pions_of_a_k_short_start_together_an_exponential_path_away():
    batch, _, _ = made("ds", 6000)
    k_short = np.flatnonzero(batch.pdg == 310)
    pions = np.flatnonzero(batch.position == Position.KSHORT_PION)
    np.testing.assert_array_equal(batch.mother[pions], np.repeat(k_short, 2))
    vertices = batch.vertices[pions].reshape(-1, 2, 3)
    np.testing.assert_array_equal(vertices[:, 0], vertices[:, 1])
    path = np.linalg.norm(vertices[:, 0], axis=1)
    momentum = batch.momenta[k_short]
    proper = path * invariant_mass(momentum) / np.linalg.norm(momentum[:, :3], axis=1)
    # an exponential's mean is known to 1/√n of it
    assert proper.mean() == pytest.approx(K_SHORT_CTAU_MM, rel=4 / np.sqrt(len(proper)))
    others = np.setdiff1d(np.arange(len(batch)), pions)
    assert (batch.vertices[others] == 0).all()
