"""The signal side as generated particles: conservation, charge conjugation, vertices, the chain to h."""

import numpy as np
import pytest

from darksieve.datasets.simulation.bfactory.particles import Position
from darksieve.datasets.simulation.bfactory.signals import KSHORT_LIFETIME_MM, LIFETIME_MM
from darksieve.datasets.simulation.hinv.channels import CHANNELS, INVISIBLE_PDG
from darksieve.datasets.simulation.hinv.signal_side import signal_side
from darksieve.datasets.simulation.phase_space import invariant_mass

CHARGE = {211: 1, 321: 1, 2212: 1, 431: 1, 521: 1}
N = 200


def made(name, n=N, mass=1.0, seed=2):
    return signal_side(np.random.default_rng(seed), CHANNELS[name], np.full(n, mass))


def event(generated):
    return np.repeat(np.arange(len(generated.offsets) - 1), np.diff(generated.offsets))


@pytest.mark.parametrize("name", CHANNELS)
def test_final_particles_add_up_to_the_b_at_rest_in_momentum_and_charge(name):
    seen = made(name).generated
    charge = np.sign(seen.pdg) * np.array([CHARGE.get(abs(pdg), 0) for pdg in seen.pdg.tolist()])
    total, total_charge = np.zeros((N, 4)), np.zeros(N)
    np.add.at(total, event(seen)[seen.is_final], seen.momenta[seen.is_final])
    np.add.at(total_charge, event(seen)[seen.is_final], charge[seen.is_final])
    np.testing.assert_allclose(total, np.tile([0, 0, 0, CHANNELS[name].b_mass], (N, 1)), atol=1e-9)
    np.testing.assert_array_equal(total_charge, CHANNELS[name].b_charge)


@pytest.mark.parametrize("name", CHANNELS)
def test_mothers_lead_to_the_b_and_positions_tell_the_chain(name):
    decays = made(name)
    seen, first = decays.generated, decays.generated.offsets[:-1]
    assert (seen.pdg[first] == CHANNELS[name].b_pdg).all()
    assert (seen.pdg[first + 1] == CHANNELS[name].h_pdg).all()
    assert (seen.pdg[first + 2] == INVISIBLE_PDG).all()
    assert (seen.mother[first] == -1).all()
    others = np.setdiff1d(np.arange(len(seen.pdg)), first)
    assert (seen.mother[others] < others).all()
    assert (event(seen)[seen.mother[others]] == event(seen)[others]).all()
    for shift, position in enumerate((Position.B, Position.MESON, Position.LIGHT)):
        assert (decays.position[first + shift] == position).all()
    np.testing.assert_allclose(invariant_mass(seen.momenta[first + 2]), 1.0, atol=1e-6)


def test_decays_of_h_are_numbered_by_the_submode():
    decays = made("d0", 400)
    seen = decays.generated
    pions = np.bincount(event(seen)[np.abs(seen.pdg) == 211], minlength=400)
    photons = np.bincount(event(seen)[seen.pdg == 22], minlength=400)
    for submode, expected in {1: (1, 0), 2: (1, 2), 3: (3, 0)}.items():
        own = decays.submode == submode
        assert own.any()
        assert set(zip(pions[own].tolist(), photons[own].tolist(), strict=True)) == {expected}
    assert set(made("pi").submode) == {0}


def test_b_and_k_short_live_their_lifetimes():
    n = 6000
    decays = made("ds", n)
    seen = decays.generated
    h = seen.offsets[:-1] + 1
    assert (seen.vertices[h, :3] == 0).all()
    # an exponential's mean is known to 1/√n of it
    assert seen.vertices[h, 3].mean() == pytest.approx(LIFETIME_MM[521], rel=4 / np.sqrt(n))
    k_short = np.flatnonzero(seen.pdg == 310)
    pions = np.flatnonzero(decays.position == Position.KSHORT_PION)
    np.testing.assert_array_equal(seen.mother[pions], np.repeat(k_short, 2))
    ends = seen.vertices[pions].reshape(-1, 2, 4)
    np.testing.assert_array_equal(ends[:, 0], ends[:, 1])
    path = ends[:, 0] - seen.vertices[k_short]
    proper = np.sqrt(path[:, 3] ** 2 - (path[:, :3] ** 2).sum(axis=1))
    assert proper.mean() == pytest.approx(KSHORT_LIFETIME_MM, rel=4 / np.sqrt(len(proper)))
    direction = path[:, :3] / np.linalg.norm(path[:, :3], axis=1)[:, None]
    momentum = seen.momenta[k_short, :3]
    np.testing.assert_allclose(direction, momentum / np.linalg.norm(momentum, axis=1)[:, None], atol=1e-9)
