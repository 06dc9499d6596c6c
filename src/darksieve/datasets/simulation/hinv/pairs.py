"""Pairs of an h and a tag: the candidates of B → h X, each with its weight and the rest of the event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.hinv.channels import CHANNELS
from darksieve.datasets.simulation.hinv.fake_tags import Objects, draw_combinations
from darksieve.datasets.simulation.hinv.h_candidates import CHANNEL_NUMBERS, HCandidates
from darksieve.datasets.simulation.hinv.objects import EventObjects
from darksieve.datasets.simulation.hinv.recoil import Recoil, recoil
from darksieve.datasets.simulation.hinv.selection import HSelection
from darksieve.datasets.simulation.hinv.tag import Tags, TagSettings, smeared_tags, wrong_tags

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WRONG = -1  # in place of the number of the B that a right tag is


@dataclass(frozen=True)
class TrueBs:
    """The Bs of each event, as tags; a continuum event has none.

    Attributes:
        momentum: Four-momenta in the CMS, GeV, shape (n_events, 2, 4).
        charge: Shape (n_events, 2).
        efficiency: Expected number of right tags of each, 0 where there is no B, shape (n_events, 2).
        tracks, photons: Numbers of its stable daughters, shape (n_events, 2).
    """

    momentum: Floats
    charge: Integers
    efficiency: Floats
    tracks: Integers
    photons: Integers


@dataclass(frozen=True)
class Pairs:
    """Candidates: pairs of an h and a tag.

    Attributes:
        candidate: Position of h among the candidates of h, shape (n,).
        event: Shape (n,).
        b: Number of the B that is the tag, ``WRONG`` for a combination, shape (n,).
        weight: Expected number of such tags, shape (n,).
        tags: As measured.
        in_tag, in_rest: Positions of the objects of the tag, and of those of neither h nor tag, flat, and
            their offsets of shape (n + 1,), as pairs (positions, offsets).
    """

    candidate: Integers
    event: Integers
    b: Integers
    weight: Floats
    tags: Tags
    in_tag: tuple[Integers, Integers]
    in_rest: tuple[Integers, Integers]

    def __len__(self) -> int:
        return len(self.event)


def pair_with_tags(
    rng: np.random.Generator,
    objects: EventObjects,
    candidates: HCandidates,
    bs: TrueBs,
    beams: Beams,
    settings: TagSettings,
) -> Pairs:
    """All pairs: of each h with the right tags of its event, and with one wrong tag.

    A right tag shares no particle with h; its charge is that of the channel. No pair is thrown away at
    random: ``weight`` says how many there are.
    """
    right = _right_pairs(rng, objects, candidates, bs, beams, settings)
    wrong = _wrong_pairs(rng, objects, candidates, beams, settings)
    return _sorted(right, wrong)


def _tag_charge(candidates: HCandidates) -> Integers:
    return -candidates.charge


def _used(candidates: HCandidates) -> tuple[Integers, Integers]:
    there = candidates.objects >= 0
    return candidates.objects[there], _offsets(there.sum(axis=1))


def _offsets(counts: Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _right_pairs(
    rng: np.random.Generator,
    objects: EventObjects,
    candidates: HCandidates,
    bs: TrueBs,
    beams: Beams,
    settings: TagSettings,
) -> Pairs:
    there = candidates.objects >= 0
    b_of_objects = np.where(there, objects.b[candidates.objects], -1)
    shared = (b_of_objects[:, :, None] == np.arange(2)).any(axis=1)  # (n, 2)
    event = candidates.event
    fits = (bs.efficiency[event] > 0) & (bs.charge[event] == _tag_charge(candidates)[:, None]) & ~shared
    candidate, b = np.nonzero(fits)
    event = event[candidate]
    tags = smeared_tags(
        rng,
        bs.momentum[event, b],
        bs.tracks[event, b],
        bs.photons[event, b],
        beams.sqrt_s / 2,
        settings,
    )
    flat, rows = _objects_of(objects, event)
    is_tag = (objects.b[flat] == b[rows]) & objects.primary[flat]
    in_tag, in_rest = _split(candidates, candidate, flat, rows, is_tag)
    return Pairs(candidate, event, b, bs.efficiency[event, b], tags, in_tag, in_rest)


def _wrong_pairs(
    rng: np.random.Generator,
    objects: EventObjects,
    candidates: HCandidates,
    beams: Beams,
    settings: TagSettings,
) -> Pairs:
    used, used_offsets = _used(candidates)
    found = draw_combinations(
        rng,
        Objects(objects.momentum, objects.charge, objects.b, objects.offsets),
        candidates.event,
        used,
        used_offsets,
        _tag_charge(candidates),
        beams.sqrt_s / 2,
        settings,
    )
    candidate, event = found.candidate, candidates.event[found.candidate]
    tags = wrong_tags(rng, found.momentum, beams.sqrt_s / 2, settings)
    flat, rows = _objects_of(objects, event)
    of_pair = np.repeat(np.arange(len(event)), np.diff(found.offsets))
    is_tag = np.isin(rows * len(objects) + flat, of_pair * len(objects) + found.objects)
    in_tag, in_rest = _split(candidates, candidate, flat, rows, is_tag)
    b = np.full(len(event), WRONG)
    return Pairs(candidate, event, b, found.share * settings.fake_efficiency, tags, in_tag, in_rest)


def _objects_of(objects: EventObjects, event: Integers) -> tuple[Integers, Integers]:
    """Positions of all objects of the events, one event after another, and the row of each."""
    counts = np.diff(objects.offsets)[event]
    rows = np.repeat(np.arange(len(event)), counts)
    within = np.arange(len(rows)) - np.repeat(_offsets(counts)[:-1], counts)
    return objects.offsets[event][rows] + within, rows


def _split(
    candidates: HCandidates,
    candidate: Integers,
    flat: Integers,
    rows: Integers,
    is_tag: NDArray[np.bool_],
) -> tuple[tuple[Integers, Integers], tuple[Integers, Integers]]:
    """Objects of the tag, and those of neither h nor tag."""
    is_h = (candidates.objects[candidate][rows] == flat[:, None]).any(axis=1)
    out = []
    for chosen in (is_tag & ~is_h, ~is_tag & ~is_h):
        counts = np.bincount(rows[chosen], minlength=len(candidate))
        out.append((flat[chosen], _offsets(counts)))
    return out[0], out[1]


def _jagged_rows(jagged: tuple[Integers, Integers], order: Integers) -> tuple[Integers, Integers]:
    """The same lists in another order, or some of them."""
    values, offsets = jagged
    counts = np.diff(offsets)[order]
    starts = np.repeat(offsets[:-1][order], counts)
    within = np.arange(counts.sum()) - np.repeat(_offsets(counts)[:-1], counts)
    return values[starts + within], _offsets(counts)


def taken(pairs: Pairs, order: Integers) -> Pairs:
    """Pairs in another order, or some of them."""
    return Pairs(
        pairs.candidate[order],
        pairs.event[order],
        pairs.b[order],
        pairs.weight[order],
        Tags(*(values[order] for values in pairs.tags)),
        _jagged_rows(pairs.in_tag, order),
        _jagged_rows(pairs.in_rest, order),
    )


def _sorted(first: Pairs, second: Pairs) -> Pairs:
    """Both together, by event, h and tag."""
    both = Pairs(
        np.concatenate([first.candidate, second.candidate]),
        np.concatenate([first.event, second.event]),
        np.concatenate([first.b, second.b]),
        np.concatenate([first.weight, second.weight]),
        Tags(*(np.concatenate(two) for two in zip(first.tags, second.tags, strict=True))),
        _joined(first.in_tag, second.in_tag),
        _joined(first.in_rest, second.in_rest),
    )
    return taken(both, np.lexsort((-both.b, both.candidate, both.event)))


def _joined(first: tuple[Integers, Integers], second: tuple[Integers, Integers]) -> tuple[Integers, Integers]:
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], first[1][-1] + second[1][1:]])


@dataclass(frozen=True)
class RestOfEvent:
    """What is left beside h and tag: numbers of tracks and clusters, and the clusters' energy in GeV."""

    tracks: Integers
    clusters: Integers
    energy: Floats

    def taken(self, order: Integers) -> RestOfEvent:
        """Those of the pairs in another order, or of some of them."""
        return RestOfEvent(self.tracks[order], self.clusters[order], self.energy[order])


def rest_of_event(
    rng: np.random.Generator, objects: EventObjects, pairs: Pairs, settings: TagSettings
) -> RestOfEvent:
    """Counts of the rest of the event, with tracks of the beam background on top of the measured ones."""
    flat, offsets = pairs.in_rest
    n = len(pairs)
    rows = np.repeat(np.arange(n), np.diff(offsets))
    is_track = objects.charge[flat] != 0
    tracks = np.bincount(rows[is_track], minlength=n) + rng.poisson(settings.extra_tracks_mean, n)
    clusters = np.bincount(rows[~is_track], minlength=n)
    energy = np.zeros(n)
    np.add.at(energy, rows[~is_track], objects.energy_lab[flat[~is_track]])
    return RestOfEvent(tracks, clusters, energy)


def select_pairs(
    candidates: HCandidates,
    pairs: Pairs,
    rest: RestOfEvent,
    beams: Beams,
    tag: TagSettings,
    selection: HSelection,
) -> tuple[Integers, Recoil]:
    """Positions of the pairs that pass the loose selection, and the recoil of those.

    Also cuts on the tag's window, which right tags leave in their tails.
    """
    found = Recoil(*np.full((len(Recoil._fields), len(pairs)), np.nan))
    for name, number in CHANNEL_NUMBERS.items():
        rows = np.flatnonzero(candidates.channel[pairs.candidate] == number)
        momentum = candidates.momentum[pairs.candidate[rows]]
        for whole, part in zip(
            found, recoil(momentum, pairs.tags.momentum[rows], CHANNELS[name], beams), strict=True
        ):
            whole[rows] = part
    kept = np.flatnonzero(
        (found.momentum >= selection.min_momentum)
        & (rest.tracks <= selection.max_extra_tracks)
        & (rest.energy <= selection.max_extra_energy)
        & (pairs.tags.mbc >= tag.min_mbc)
        & (np.abs(pairs.tags.delta_e) <= tag.max_abs_delta_e)
    )
    return kept, Recoil(*(values[kept] for values in found))
