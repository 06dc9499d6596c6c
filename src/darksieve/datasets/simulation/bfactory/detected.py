"""DetectedBatch: what the toy detector saw, event after event in flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.constants import ELECTRON_MASS, KAON_MASS, MUON_MASS, PION_MASS, PROTON_MASS

HYPOTHESES = ("electron", "muon", "pion", "kaon", "proton")  # order of log_likelihoods
HYPOTHESIS_MASSES = (ELECTRON_MASS, MUON_MASS, PION_MASS, KAON_MASS, PROTON_MASS)
ELECTRON, MUON, PION, KAON, PROTON = range(5)


@dataclass(frozen=True)
class Tracks:
    """Charged tracks; those of event ``i`` are ``offsets[i]:offsets[i + 1]``.

    Attributes:
        offsets: Bounds of the events, shape (n_events + 1,).
        momenta: Measured laboratory momenta at the point nearest to the collision, GeV, shape (n, 3).
        charge: 1 or -1, shape (n,).
        log_likelihoods: Of the particle hypotheses, in the order of ``HYPOTHESES``, shape (n, 5).
        dr: Measured distance from the collision across the beam, cm, shape (n,).
        dz: Measured distance along the beam, cm, shape (n,).
        truth: Place of the particle in the ``ParticleBatch``, shape (n,).
    """

    offsets: NDArray[np.int64]
    momenta: NDArray[np.float64]
    charge: NDArray[np.int8]
    log_likelihoods: NDArray[np.float64]
    dr: NDArray[np.float64]
    dz: NDArray[np.float64]
    truth: NDArray[np.int64]

    def four_momenta(self, hypothesis: int | NDArray[np.int64]) -> NDArray[np.float64]:
        """Laboratory four-momenta under one hypothesis, or one for each track, shape (n, 4)."""
        mass = np.asarray(HYPOTHESIS_MASSES)[hypothesis]
        energy = np.sqrt((self.momenta**2).sum(axis=1) + mass**2)
        return np.concatenate([self.momenta, energy[:, None]], axis=1)

    def four_momenta_of(
        self, places: NDArray[np.int64], hypothesis: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Laboratory four-momenta of chosen tracks, a hypothesis for each, shape (len(places), 4)."""
        momenta = self.momenta[places]
        energy = np.sqrt((momenta**2).sum(axis=1) + np.asarray(HYPOTHESIS_MASSES)[hypothesis] ** 2)
        return np.concatenate([momenta, energy[:, None]], axis=1)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """L_i / ΣL of each hypothesis: electronID, muonID, pionID, kaonID, protonID, shape (n, 5)."""
        relative = np.exp(self.log_likelihoods - self.log_likelihoods.max(axis=1, initial=-np.inf)[:, None])
        return relative / relative.sum(axis=1, keepdims=True)

    @property
    def best_hypothesis(self) -> NDArray[np.int64]:
        """The most probable hypothesis of each track, shape (n,)."""
        return self.log_likelihoods.argmax(axis=1)


@dataclass(frozen=True)
class Clusters:
    """Calorimeter clusters without a track.

    Attributes:
        offsets: Bounds of the events, shape (n_events + 1,).
        momenta: Laboratory four-momenta of photons from the collision, GeV, shape (n, 4).
        theta: Laboratory polar angle, shape (n,).
        phi: Laboratory azimuth, shape (n,).
        region: 1 forward, 2 barrel, 3 backward, shape (n,).
        shapes: Cluster variables in the order of ``photons.clusters.SHAPES``, shape (n, n_shapes).
        kind: What made it, one of ``photons.clusters.KINDS``, shape (n,).
        truth: Place of its particle in the ``ParticleBatch``, -1 for beam background, shape (n,).
        partner: Place of the second of two merged photons, else -1, shape (n,).
    """

    offsets: NDArray[np.int64]
    momenta: NDArray[np.float64]
    theta: NDArray[np.float64]
    phi: NDArray[np.float64]
    region: NDArray[np.int32]
    shapes: NDArray[np.float64]
    kind: NDArray[np.int32]
    truth: NDArray[np.int64]
    partner: NDArray[np.int64]

    @property
    def energy(self) -> NDArray[np.float64]:
        """Measured laboratory energy in GeV, shape (n,)."""
        return self.momenta[:, 3]


@dataclass(frozen=True)
class KShorts:
    """Pairs of opposite tracks with a common vertex, as K_S → π+π-.

    Attributes:
        offsets: Bounds of the events, shape (n_events + 1,).
        momenta: Laboratory four-momenta under the pion hypothesis, GeV, shape (n, 4).
        mass: Invariant mass in GeV, shape (n,).
        flight_cm: Measured distance from the collision across the beam, shape (n,).
        tracks: Places of the two tracks in ``Tracks``, shape (n, 2).
        truth: Place of the true K_S, -1 for a chance pair, shape (n,).
    """

    offsets: NDArray[np.int64]
    momenta: NDArray[np.float64]
    mass: NDArray[np.float64]
    flight_cm: NDArray[np.float64]
    tracks: NDArray[np.int64]
    truth: NDArray[np.int64]


@dataclass(frozen=True)
class DetectedBatch:
    """Everything that was measured of a ``ParticleBatch``."""

    tracks: Tracks
    clusters: Clusters
    kshorts: KShorts

    @property
    def n_events(self) -> int:
        return len(self.tracks.offsets) - 1
