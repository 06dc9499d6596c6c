"""ParticleBatch: what was generated, event after event in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Position(IntEnum):
    """Where a particle stands in the chain of the signal B; all else in the event is ``NONE``."""

    NONE = 0
    B = 1
    MESON = 2  # the K, K*, π, D_s, p or D of B → meson + light particle
    LIGHT = 3  # the ALP, X, π0, η or η' itself
    LIGHT_PHOTON = 4  # a photon of LIGHT → γγ
    MESON_DAUGHTER = 5  # a charged daughter or a K_S of MESON
    MESON_PI0 = 6  # the π0 of MESON
    MESON_PI0_PHOTON = 7  # a photon of that π0
    KSHORT_PION = 8  # a pion of the K_S of the signal side


@dataclass(frozen=True)
class ParticleBatch:
    """Generated particles of many events: stable ones, and those between that somebody asks for.

    The particles of event ``i`` are ``offsets[i]:offsets[i + 1]``; mothers come before their daughters. Final
    particles of an event, neutrinos and invisible ones included, add up to the collision's four-momentum
    (continuum: without photons that were radiated along the beams, unless the generator keeps them).

    Attributes:
        offsets: Bounds of the events, shape (n_events + 1,).
        pdg: Particle numbers, shape (n,).
        momenta: Laboratory four-momenta px, py, pz, E in GeV, shape (n, 4).
        vertices: Where each was produced, laboratory, mm from the collision, shape (n, 3).
        mother: Place of the nearest kept ancestor in the batch, -1 for none, shape (n,).
        ancestor: The B that it descends from, 0 or 1 (0 is the signal B where there is one); -1 in continuum,
            shape (n,).
        position: A ``Position``, shape (n,).
        is_final: Whether it lives long enough to be detected as itself, shape (n,).
        mass: Generated mass of the light particle in GeV, NaN for none, shape (n_events,).
        weight: Factor of the event's weight, shape (n_events,).
        submode: Number of the decay or quark flavour, as the process numbers them, shape (n_events,).
    """

    offsets: NDArray[np.int64]
    pdg: NDArray[np.int32]
    momenta: NDArray[np.float64]
    vertices: NDArray[np.float64]
    mother: NDArray[np.int64]
    ancestor: NDArray[np.int8]
    position: NDArray[np.int8]
    is_final: NDArray[np.bool_]
    mass: NDArray[np.float64]
    weight: NDArray[np.float64]
    submode: NDArray[np.int32]

    @property
    def n_events(self) -> int:
        return len(self.offsets) - 1

    def __len__(self) -> int:
        """Number of particles."""
        return len(self.pdg)

    @property
    def event(self) -> NDArray[np.int64]:
        """Event of each particle, shape (n,)."""
        return np.repeat(np.arange(self.n_events), np.diff(self.offsets))

    def taken(self, events: NDArray[np.int64]) -> ParticleBatch:
        """The chosen events, in that order."""
        offsets, rows, mother = take_events(self.offsets, self.mother, events)
        return replace(
            self,
            offsets=offsets,
            mother=mother,
            **{name: getattr(self, name)[rows] for name in _OF_PARTICLES},
            **{name: getattr(self, name)[events] for name in _OF_EVENTS},
        )


def take_events(
    offsets: NDArray[np.int64], mother: NDArray[np.int64], events: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """New offsets, the old rows in their new order, and their mothers' new places, of chosen events."""
    counts = np.diff(offsets)[events]
    new_offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    shift = np.repeat(offsets[:-1][events] - new_offsets[:-1], counts)
    rows = np.arange(new_offsets[-1]) + shift
    return new_offsets, rows, np.where(mother[rows] >= 0, mother[rows] - shift, -1)


_OF_PARTICLES = ("pdg", "momenta", "vertices", "ancestor", "position", "is_final")
_OF_EVENTS = ("mass", "weight", "submode")


def side_by_side(parts: Sequence[ParticleBatch]) -> ParticleBatch:
    """Batches of equally many events merged event by event: event i has the particles of all events i.

    What belongs to an event (mass, weight, submode) is the first batch's.

    Raises:
        ValueError: If the batches have different numbers of events.
    """
    first = parts[0]
    if any(part.n_events != first.n_events for part in parts):
        raise ValueError(f"batches of {[part.n_events for part in parts]} events cannot be merged")
    counts = [np.diff(part.offsets) for part in parts]
    offsets = np.concatenate([[0], np.cumsum(np.sum(counts, axis=0))])
    merged = {
        name: np.empty((offsets[-1], *getattr(first, name).shape[1:]), getattr(first, name).dtype)
        for name in (*_OF_PARTICLES, "mother")
    }
    before = np.zeros(first.n_events, np.int64)
    for part, count in zip(parts, counts, strict=True):
        shift = np.repeat(offsets[:-1] + before - part.offsets[:-1], count)
        rows = np.arange(len(part)) + shift
        for name in _OF_PARTICLES:
            merged[name][rows] = getattr(part, name)
        merged["mother"][rows] = np.where(part.mother >= 0, part.mother + shift, -1)
        before += count
    return replace(first, offsets=offsets, **merged)


def no_events() -> ParticleBatch:
    """A batch without events."""
    return ParticleBatch(
        offsets=np.zeros(1, np.int64),
        pdg=np.empty(0, np.int32),
        momenta=np.empty((0, 4)),
        vertices=np.empty((0, 3)),
        mother=np.empty(0, np.int64),
        ancestor=np.empty(0, np.int8),
        position=np.empty(0, np.int8),
        is_final=np.empty(0, np.bool_),
        mass=np.empty(0),
        weight=np.empty(0),
        submode=np.empty(0, np.int32),
    )
