"""Candidates of h of all channels, out of the objects of the events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.hinv.channels import (
    CHANNELS,
    K_SHORT_PDG,
    KAON_PDG,
    PION_PDG,
    PROTON_PDG,
    SecondaryDecay,
)
from darksieve.datasets.simulation.hinv.charmed import MAX_DAUGHTERS, MeasuredObjects, find_d_s, find_d_zero
from darksieve.datasets.simulation.hinv.objects import PID_ORDER, EventObjects
from darksieve.datasets.simulation.hinv.selection import HSelection
from darksieve.datasets.simulation.phase_space import invariant_mass, with_mass

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CHANNEL_NUMBERS = {name: number for number, name in enumerate(CHANNELS, start=1)}

_PION, _KAON, _PROTON = (PID_ORDER.index(name) for name in ("pion", "kaon", "proton"))
_FIND = {"ds": find_d_s, "d0": find_d_zero}
_HYPOTHESES = {PION_PDG: _PION, KAON_PDG: _KAON, PROTON_PDG: _PROTON}


@dataclass(frozen=True)
class HCandidates:
    """Candidates of h, of one channel after another.

    Attributes:
        event: Shape (n,).
        channel: Number of the channel, see ``CHANNEL_NUMBERS``, shape (n,).
        charge: Shape (n,).
        flavour: Sign of the particle, 1 as its channel has it, -1 conjugate; shape (n,).
        decay: Number of the decay of a charmed h, 0 for a track, shape (n,).
        momentum: Measured four-momenta in the CMS, with the measured mass, GeV, shape (n, 4).
        pid: Least probability of the hypotheses of its charged daughters, shape (n,).
        daughter_mass, cos_helicity: See ``Charmed``; NaN for tracks; shape (n,).
        objects: Positions of what it is made of, -1 where there is less, shape (n, 4).
    """

    event: Integers
    channel: Integers
    charge: Integers
    flavour: Integers
    decay: Integers
    momentum: Floats
    pid: Floats
    daughter_mass: Floats
    cos_helicity: Floats
    objects: Integers

    def __len__(self) -> int:
        return len(self.event)

    def taken(self, rows: Integers) -> HCandidates:
        """Some of them."""
        return HCandidates(*(getattr(self, name)[rows] for name in HCandidates.__dataclass_fields__))


def find_h(objects: EventObjects, channels: Iterable[str], selection: HSelection) -> HCandidates:
    """All candidates of h of these channels inside the selection's windows.

    ``min_momentum`` is not applied here: it belongs to the rest frame of the signal B.
    """
    parts = []
    for name in channels:
        if CHANNELS[name].decays:
            parts.append(_charmed(objects, name, selection))
        else:
            parts.append(_tracks(objects, name, selection))
    return _joined(parts)


def fast_enough(
    candidates: HCandidates, beam_energy: float, min_mbc: float, min_momentum: float
) -> HCandidates:
    """Those that may have the momentum in the rest frame of the signal B, whatever the tag.

    Args:
        beam_energy: Half of √s, GeV.
        min_mbc: Of the tag: bounds the momentum of the signal B.
        min_momentum: Of h in that frame, GeV.
    """
    p_b = np.sqrt(max(beam_energy**2 - min_mbc**2, 0.0))
    b_mass = np.array([1.0, *(channel.b_mass for channel in CHANNELS.values())])[candidates.channel]
    # h flies against the signal B at its slowest in the CMS
    energy_b = np.sqrt(p_b**2 + b_mass**2)
    energy = np.sqrt(min_momentum**2 + invariant_mass(candidates.momentum) ** 2)
    slowest = (energy_b * min_momentum - p_b * energy) / b_mass
    momentum = np.sqrt((candidates.momentum[:, :3] ** 2).sum(axis=1))
    return candidates.taken(np.flatnonzero(momentum >= slowest))


def _joined(parts: list[HCandidates]) -> HCandidates:
    names = HCandidates.__dataclass_fields__
    return HCandidates(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _tracks(objects: EventObjects, name: str, selection: HSelection) -> HCandidates:
    channel = CHANNELS[name]
    probability = objects.pid[:, _HYPOTHESES[channel.h_pdg]]
    chosen = np.flatnonzero((objects.charge != 0) & (probability >= selection.min_pid))
    n = len(chosen)
    made_of = np.full((n, MAX_DAUGHTERS), -1)
    made_of[:, 0] = chosen
    charge = objects.charge[chosen]
    return HCandidates(
        event=objects.event[chosen],
        channel=np.full(n, CHANNEL_NUMBERS[name]),
        charge=charge,
        flavour=charge,
        decay=np.zeros(n, dtype=np.int64),
        momentum=with_mass(objects.momentum[chosen, :3], channel.h_mass),
        pid=probability[chosen],
        daughter_mass=np.full(n, np.nan),
        cos_helicity=np.full(n, np.nan),
        objects=made_of,
    )


def _charmed(objects: EventObjects, name: str, selection: HSelection) -> HCandidates:
    channel = CHANNELS[name]
    likely = objects.pid >= selection.min_pid
    is_track = objects.charge != 0
    # a cluster that is no photon candidate is shut out by a charge that no combination has
    charge = np.where(is_track | (objects.energy_lab >= selection.min_photon_energy), objects.charge, 99)
    measured = MeasuredObjects(
        objects.momentum[:, :3],
        charge,
        likely[:, _KAON] & is_track,
        likely[:, _PION] & is_track,
        objects.displaced & is_track,
        objects.offsets,
    )
    found = _FIND[name](measured, selection.windows)
    hypotheses = np.zeros((len(channel.decays) + 1, MAX_DAUGHTERS), dtype=np.int64)
    for decay in channel.decays:
        hypotheses[decay.number] = _hypotheses(decay)
    wanted = hypotheses[found.decay]
    made_of = found.objects
    asked = (wanted >= 0) & (made_of >= 0)
    probability = np.where(asked, objects.pid[made_of, wanted], 1.0)
    # the kaon of a D̄0 is positive, D_s has its own charge
    return HCandidates(
        event=found.event,
        channel=np.full(len(found.event), CHANNEL_NUMBERS[name]),
        charge=found.charge,
        flavour=found.kaon_charge,
        decay=found.decay,
        momentum=found.momentum,
        pid=probability.min(axis=1),
        daughter_mass=found.daughter_mass,
        cos_helicity=found.cos_helicity,
        objects=made_of,
    )


def _hypotheses(decay: SecondaryDecay) -> list[int]:
    """Hypotheses of the objects of a decay; -1 where PID is not asked: photons, pions of a K_S."""
    if K_SHORT_PDG in decay.daughters:
        order = [-1, -1, _KAON]
    else:
        order = [_HYPOTHESES.get(kind, -1) for kind in decay.objects]
    return order + [-1] * (MAX_DAUGHTERS - len(order))
