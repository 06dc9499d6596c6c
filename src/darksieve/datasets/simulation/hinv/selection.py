"""Loose selection of candidates: what gets into the ntuple."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from darksieve.datasets.simulation.hinv.charmed import MassWindows
from darksieve.errors import InputError


@dataclass(frozen=True)
class HSelection:
    """Cuts on h, on the tag's window and on the rest of the event; GeV. All are illustrative.

    Attributes:
        min_pid: Smallest probability of the hypothesis of each charged daughter of h, and of h itself.
        phi_window, k_short_window, pi0_window: Half-widths about the masses of the daughters.
        d_s_window, d_zero_window, d_zero_pi0_window: Half-widths about that of h; the last with a π0.
        min_photon_energy: Of photons from π0, in the laboratory.
        min_momentum: Smallest momentum of h in the rest frame of the signal B.
        max_extra_tracks: Tracks that are neither of h nor of the tag.
        max_extra_energy: Sum of such clusters, in the laboratory.
        min_cluster_energy: Of all clusters, in the laboratory.
    """

    min_pid: float = 0.1
    phi_window: float = 0.015
    k_short_window: float = 0.012
    pi0_window: float = 0.020
    d_s_window: float = 0.030
    d_zero_window: float = 0.030
    d_zero_pi0_window: float = 0.045
    min_photon_energy: float = 0.10
    min_momentum: float = 0.7
    max_extra_tracks: int = 2
    max_extra_energy: float = 3.0
    min_cluster_energy: float = 0.05

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"selection.{name} is {value}; it is a finite number of at least 0")
        if self.min_pid > 1:
            raise InputError(f"selection.min_pid is {self.min_pid}; a probability is at most 1")

    @property
    def windows(self) -> MassWindows:
        """The mass windows."""
        return MassWindows(
            phi=self.phi_window,
            k_short=self.k_short_window,
            pi0=self.pi0_window,
            d_s=self.d_s_window,
            d_zero=self.d_zero_window,
            d_zero_with_pi0=self.d_zero_pi0_window,
        )
