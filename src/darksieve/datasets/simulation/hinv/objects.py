"""EventObjects: the tracks and clusters of many events in one list, with what made them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PID_ORDER = ("electron", "muon", "pion", "kaon", "proton")


@dataclass(frozen=True)
class EventObjects:
    """Tracks and clusters, event by event, tracks first.

    Attributes:
        momentum: Four-momenta in the CMS, GeV, tracks with the mass of their most likely hypothesis, shape
            (n, 4).
        energy_lab: Energy in the laboratory, GeV, shape (n,).
        charge: 0 for clusters, shape (n,).
        pid: Probabilities in the order of ``PID_ORDER``, 0 for clusters, shape (n, 5).
        displaced: Whether a track may come from a K_S, shape (n,).
        particle: Position of the true particle among the generated ones, -1 for none, shape (n,).
        primary: Whether it is the track, or the first cluster of the photon: not a split-off, not a
            hadron's cluster; shape (n,).
        b: 0 or 1 where the true particle comes from the first or second B, else -1, shape (n,).
        offsets: Those of event e are from ``offsets[e]`` up to ``offsets[e + 1]``, shape (n_events + 1,).
    """

    momentum: NDArray[np.float64]
    energy_lab: NDArray[np.float64]
    charge: NDArray[np.int64]
    pid: NDArray[np.float64]
    displaced: NDArray[np.bool_]
    particle: NDArray[np.int64]
    primary: NDArray[np.bool_]
    b: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @property
    def event(self) -> NDArray[np.int64]:
        """Event of each object, shape (n,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def __len__(self) -> int:
        return len(self.charge)
