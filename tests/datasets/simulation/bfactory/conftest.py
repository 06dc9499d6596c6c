"""Small batches of every kind, made once."""

import numpy as np
import pytest

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.generation import b_pair_events, continuum_events, signal_events
from darksieve.datasets.simulation.bfactory.rates import Rates
from darksieve.datasets.simulation.bfactory.response import detect
from darksieve.datasets.simulation.bfactory.settings import BFactorySettings
from darksieve.datasets.simulation.bfactory.signals import ALP_PDG, MODES, decay_signals

BELLE = Beams.named("belle")
SPREAD = BFactorySettings().generator.energy_spread


def signal_batch(name, masses, seed=1, spread=SPREAD, beams=BELLE):
    rng = np.random.default_rng(seed)
    mode = MODES[name]
    decays = decay_signals(rng, mode, Rates().submodes(name), ALP_PDG, np.asarray(masses, dtype=float))
    return signal_events(rng, beams, spread, mode.b_pdg, decays)


@pytest.fixture(scope="session")
def make_signal():
    """Signal events of a mode at given masses."""
    return signal_batch


@pytest.fixture(scope="session")
def continuum_batch():
    return continuum_events(np.random.default_rng(1), BELLE, 4.0, 3000)


@pytest.fixture(scope="session")
def pair_batches():
    return {pdg: b_pair_events(np.random.default_rng(pdg), BELLE, SPREAD, pdg, 1500) for pdg in (521, 511)}


@pytest.fixture(scope="session")
def signal_batches():
    return {name: signal_batch(name, np.full(1500, 1.5)) for name in MODES}


@pytest.fixture(scope="session")
def detected_continuum(continuum_batch):
    return detect(np.random.default_rng(2), continuum_batch, BFactorySettings())


@pytest.fixture(scope="session")
def detected_signals(signal_batches):
    return {
        name: detect(np.random.default_rng(3), batch, BFactorySettings())
        for name, batch in signal_batches.items()
    }
