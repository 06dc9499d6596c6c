"""Wrong tags: random combinations of what is measured beside h, in the window of tag candidates.

They follow the event's own particles, so in continuum they are as jet-like as it is. What is a stand-in is
how often one is taken for a B: each candidate h has one wrong tag, whose weight is the share of tried
combinations inside the window times ``TagSettings.fake_efficiency``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from darksieve.datasets.simulation.hinv.tag import TagSettings

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Objects(NamedTuple):
    """Measured tracks and clusters of many events.

    Attributes:
        momentum: Four-momenta in the CMS, GeV, shape (n, 4).
        charge: 0 for clusters, shape (n,).
        b: 0 or 1 where the true particle comes from the first or second B, else -1, shape (n,).
        offsets: Those of event e are from ``offsets[e]`` up to ``offsets[e + 1]``, shape (n_events + 1,).
    """

    momentum: Floats
    charge: Integers
    b: Integers
    offsets: Integers


class Combinations(NamedTuple):
    """One wrong tag of each candidate h that has any.

    Attributes:
        candidate: Positions of the candidates, shape (n,).
        momentum: CMS four-momenta, GeV, shape (n, 4).
        share: Share of the tried combinations that lay in the window, shape (n,).
        objects: Positions of the objects in it, flat.
        offsets: Of those, shape (n + 1,).
    """

    candidate: Integers
    momentum: Floats
    share: Floats
    objects: Integers
    offsets: Integers


def draw_combinations(
    rng: np.random.Generator,
    objects: Objects,
    event: Integers,
    used: Integers,
    used_offsets: Integers,
    tag_charge: Integers,
    beam_energy: float,
    settings: TagSettings,
) -> Combinations:
    """A random combination in the tag window for each candidate h.

    Combinations have the charge of the tag and at least two tracks; the whole of what was measured of one
    B, and nothing else, is no wrong tag.

    Args:
        objects: What is measured.
        event: Event of each candidate, shape (n_candidates,).
        used: Positions of the objects that h is made of, flat; those of candidate c are from
            ``used_offsets[c]`` up to ``used_offsets[c + 1]``.
        tag_charge: Charge that the tag must have, shape (n_candidates,).
        beam_energy: Half of √s, GeV.
    """
    n = len(event)
    sizes = objects.offsets[event + 1] - objects.offsets[event]
    places = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    chosen = np.zeros(places[-1], dtype=np.bool_)
    found = np.zeros(n, dtype=np.int64)
    _draw(
        rng,
        np.ascontiguousarray(objects.momentum),
        objects.charge.astype(np.int64),
        objects.b.astype(np.int64),
        objects.offsets.astype(np.int64),
        event.astype(np.int64),
        used.astype(np.int64),
        used_offsets.astype(np.int64),
        tag_charge.astype(np.int64),
        float(beam_energy),
        int(settings.trials),
        float(settings.track_share),
        float(settings.cluster_share),
        float(settings.max_abs_delta_e),
        float(max(beam_energy**2 - settings.min_mbc**2, 0.0)),
        places,
        chosen,
        found,
    )
    candidate = np.flatnonzero(found)
    of_candidate = np.repeat(np.arange(n), sizes)
    index = np.arange(places[-1]) - np.repeat(places[:-1], sizes) + np.repeat(objects.offsets[event], sizes)
    rows = np.flatnonzero(chosen)
    counts = np.bincount(of_candidate[rows], minlength=n)[candidate]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    momentum = (
        np.add.reduceat(objects.momentum[index[rows]], offsets[:-1]) if len(candidate) else np.empty((0, 4))
    )
    return Combinations(candidate, momentum, found[candidate] / settings.trials, index[rows], offsets)


@njit(cache=True)
def _draw(  # type: ignore[no-untyped-def]
    rng, momentum, charge, b, offsets, event, used, used_offsets, tag_charge, beam_energy, trials,
    track_share, cluster_share, max_abs_delta_e, max_p2, places, chosen, found,
):  # fmt: skip
    for c in range(len(event)):
        low, high = offsets[event[c]], offsets[event[c] + 1]
        n = high - low
        is_free = np.ones(n, dtype=np.bool_)
        for i in range(used_offsets[c], used_offsets[c + 1]):
            is_free[used[i] - low] = False
        of_b = np.zeros(2, dtype=np.int64)  # free objects of each B: a right tag holds all of them
        for i in range(n):
            if is_free[i] and b[low + i] >= 0:
                of_b[b[low + i]] += 1
        trial = np.zeros(n, dtype=np.bool_)
        for _ in range(trials):
            total_charge = 0
            n_tracks = 0
            n_objects = 0
            own = np.zeros(2, dtype=np.int64)
            px = py = pz = energy = 0.0
            for i in range(n):
                trial[i] = False
                if not is_free[i]:
                    continue
                k = low + i
                share = cluster_share if charge[k] == 0 else track_share
                if rng.random() >= share:
                    continue
                trial[i] = True
                n_objects += 1
                if charge[k] != 0:
                    n_tracks += 1
                    total_charge += charge[k]
                if b[k] >= 0:
                    own[b[k]] += 1
                px += momentum[k, 0]
                py += momentum[k, 1]
                pz += momentum[k, 2]
                energy += momentum[k, 3]
            if n_tracks < 2 or total_charge != tag_charge[c]:
                continue
            if abs(energy - beam_energy) > max_abs_delta_e or px * px + py * py + pz * pz > max_p2:
                continue
            if (own[0] == n_objects and own[0] == of_b[0]) or (own[1] == n_objects and own[1] == of_b[1]):
                continue
            found[c] += 1
            if rng.random() * found[c] < 1:  # each of those in the window is kept with the same probability
                for i in range(n):
                    chosen[places[c] + i] = trial[i]
