"""Beams: the colliding electron and positron, and the way between the laboratory and the centre of mass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.constants import ELECTRON_MASS
from darksieve.errors import InputError, nearest


@dataclass(frozen=True)
class Beams:
    """Electron and positron beams that cross in the x-z plane of the detector.

    Four-vectors are arrays of shape (..., 4), ordered px, py, pz, E, in GeV. The laboratory's z axis is the
    detector axis, which the electron follows but for its share of the crossing angle. The centre-of-mass
    system (CMS) is a pure boost along the collision's momentum, then turned about y so that its z axis is
    the electron's direction.

    Attributes:
        electron_gev: Energy of the electron beam.
        positron_gev: Energy of the positron beam.
        crossing_mrad: Full crossing angle between the beams; 0 is head-on.
        electron_share: Part of the crossing angle by which the electron is off the detector axis; the
            positron has the rest. One half is the bisector (Belle II); 1 puts the positron
            on the axis (Belle).

    Raises:
        InputError: If an energy is not above the electron mass, the angle is not between 0 and 500 mrad, or
            the share is not between 0 and 1.
    """

    electron_gev: float
    positron_gev: float
    crossing_mrad: float = 0.0
    electron_share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("electron_gev", "positron_gev"):
            energy = getattr(self, name)
            if not (np.isfinite(energy) and energy > ELECTRON_MASS):
                raise InputError(f"beams.{name} is {energy}; a beam energy in GeV above 0.000511 is needed")
        if not 0 <= self.crossing_mrad <= 500:
            raise InputError(
                f"beams.crossing_mrad is {self.crossing_mrad}; the full crossing angle lies in 0 to 500 mrad"
            )
        if not 0 <= self.electron_share <= 1:
            raise InputError(f"beams.electron_share is {self.electron_share}; it lies in 0 to 1")

    @classmethod
    def named(cls, name: str) -> Beams:
        """Beams of a collider: ``belle2`` (7.007/4.000 GeV, 83 mrad) or ``belle`` (8.0/3.5 GeV, 22 mrad).

        Raises:
            InputError: If the name is not known.
        """
        try:
            return NAMED_BEAMS[name]
        except KeyError:
            raise InputError(
                f"beams {name!r} are not known; there are {sorted(NAMED_BEAMS)}{nearest(name, NAMED_BEAMS)}"
            ) from None

    @classmethod
    def parse(cls, value: str | Mapping[str, float] | Beams) -> Beams:
        """Beams from a config's value: a collider's name, or a mapping of this class's attributes.

        Raises:
            InputError: If the name or a key is not known, or an energy is missing.
        """
        if isinstance(value, Beams):
            return value
        if isinstance(value, str):
            return cls.named(value)
        fields = ("electron_gev", "positron_gev", "crossing_mrad", "electron_share")
        for key in value:
            if key not in fields:
                raise InputError(f"beams.{key}: unknown key{nearest(key, fields)}")
        missing = [key for key in fields[:2] if key not in value]
        if missing:
            raise InputError(f"beams: {missing[0]} is missing")
        return cls(**{key: float(number) for key, number in value.items()})

    @cached_property
    def electron(self) -> NDArray[np.float64]:
        """Four-momentum of the electron in the laboratory, shape (4,)."""
        angle = 1e-3 * self.crossing_mrad * self.electron_share
        p = np.sqrt(self.electron_gev**2 - ELECTRON_MASS**2)
        return np.array([p * np.sin(angle), 0.0, p * np.cos(angle), self.electron_gev])

    @cached_property
    def positron(self) -> NDArray[np.float64]:
        """Four-momentum of the positron in the laboratory, shape (4,)."""
        angle = 1e-3 * self.crossing_mrad * (1 - self.electron_share)
        p = np.sqrt(self.positron_gev**2 - ELECTRON_MASS**2)
        return np.array([p * np.sin(angle), 0.0, -p * np.cos(angle), self.positron_gev])

    @property
    def four_momentum(self) -> tuple[float, float, float, float]:
        """Four-momentum of the collision in the laboratory: px, py, pz, E in GeV."""
        px, py, pz, energy = (self.electron + self.positron).tolist()
        return px, py, pz, energy

    @cached_property
    def sqrt_s(self) -> float:
        """Centre-of-mass energy in GeV."""
        px, py, pz, energy = self.four_momentum
        return float(np.sqrt(energy**2 - px**2 - py**2 - pz**2))

    @cached_property
    def lab_to_cms(self) -> NDArray[np.float64]:
        """Lorentz matrix that takes laboratory column vectors (px, py, pz, E) to the CMS, shape (4, 4)."""
        momentum = np.array(self.four_momentum)
        boost = np.eye(4)
        velocity = momentum[:3] / momentum[3]
        speed2 = velocity @ velocity
        if speed2 > 0:
            gamma = momentum[3] / self.sqrt_s
            boost[:3, :3] += (gamma - 1) * np.outer(velocity, velocity) / speed2
            boost[:3, 3] = boost[3, :3] = -gamma * velocity
            boost[3, 3] = gamma
        direction = boost @ self.electron
        turn = np.arctan2(direction[0], direction[2])  # the beams have no y component
        rotation = np.eye(4)
        rotation[0, 0] = rotation[2, 2] = np.cos(turn)
        rotation[0, 2], rotation[2, 0] = -np.sin(turn), np.sin(turn)
        return rotation @ boost

    @cached_property
    def cms_to_lab(self) -> NDArray[np.float64]:
        """Inverse of :attr:`lab_to_cms`, shape (4, 4)."""
        metric = np.diag([-1.0, -1.0, -1.0, 1.0])
        return metric @ self.lab_to_cms.T @ metric

    def to_cms(self, four_vectors: ArrayLike) -> NDArray[np.float64]:
        """Laboratory four-vectors of shape (..., 4) in the CMS, same shape."""
        return np.asarray(four_vectors, dtype=np.float64) @ self.lab_to_cms.T

    def to_lab(self, four_vectors: ArrayLike) -> NDArray[np.float64]:
        """CMS four-vectors of shape (..., 4) in the laboratory, same shape."""
        return np.asarray(four_vectors, dtype=np.float64) @ self.cms_to_lab.T


NAMED_BEAMS: dict[str, Beams] = {
    # SuperKEKB: the detector axis is taken as the bisector of the beams; sqrt(s) = 10.579 GeV
    "belle2": Beams(electron_gev=7.007, positron_gev=4.000, crossing_mrad=83.0, electron_share=0.5),
    # KEKB: the positron runs along the detector axis, the electron has the whole angle; sqrt(s) = 10.58 GeV
    "belle": Beams(electron_gev=8.0, positron_gev=3.5, crossing_mrad=22.0, electron_share=1.0),
}
