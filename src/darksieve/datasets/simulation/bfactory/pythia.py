"""Pythia 8: fragmentation of e+e- → q q̄ and decays of B mesons, as flat arrays in their own frame.

The extra ``pythia`` brings it (GPL). All that is random in it comes from one seed per call, and a call gives
the same particles whatever was generated before.

References:
    C. Bierlich et al., SciPost Phys. Codebases 8 (2022), arXiv:2203.11601.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from darksieve.constants import B_PLUS_MASS, B_ZERO_MASS
from darksieve.datasets.simulation.bfactory.particles import take_events
from darksieve.errors import InputError

INSTALL = "pip install 'darksieve[pythia]'"
B_PLUS_PDG, B_ZERO_PDG = 521, 511
B_MASSES = {B_PLUS_PDG: B_PLUS_MASS, B_ZERO_PDG: B_ZERO_MASS}  # GeV

_CHUNK = 2000  # events of one array out of Pythia: bounds memory; what is generated does not depend on it
_RETRIES = 20  # calls in a row that may give nothing, before it is an error and not an endless loop
_PAIR_MOMENTUM = 0.3  # GeV, of the two mesons of a pair: taken out again
_LARGEST_SEED = 900_000_000  # Pythia's own bound; its seed 0 would mean the clock

# kept besides final particles: what somebody asks for, or decays far away
_KEPT = np.array(
    [
        *(111, 113, 221, 223, 331, 310, 3122, 4112, 313, 323, 333, 411, 421, 431, 413, 423, 433, 511, 521),
        *(441, 443, 10441, 20443, 30443, 100441, 100443),
    ],
    dtype=np.int32,
)


@dataclass(frozen=True)
class Generated:
    """Particles as Pythia gives them; mothers come before daughters (see ``ParticleBatch``).

    Attributes:
        offsets: Bounds of the events (or of the decayed mesons), shape (n + 1,).
        pdg: Particle numbers, shape (m,).
        momenta: px, py, pz, E in GeV, shape (m, 4).
        vertices: x, y, z, t of production in mm, shape (m, 4).
        mother: Place of the nearest kept ancestor, -1 for none, shape (m,).
        is_final: Whether Pythia left it undecayed, shape (m,).
        flavour: Continuum: the primary quark, 1 to 4; mesons: 0, shape (n,).
    """

    offsets: NDArray[np.int64]
    pdg: NDArray[np.int32]
    momenta: NDArray[np.float64]
    vertices: NDArray[np.float64]
    mother: NDArray[np.int64]
    is_final: NDArray[np.bool_]
    flavour: NDArray[np.int32]

    def taken(self, events: NDArray[np.int64]) -> Generated:
        """The chosen events, in that order."""
        offsets, rows, mother = take_events(self.offsets, self.mother, events)
        return Generated(
            offsets,
            self.pdg[rows],
            self.momenta[rows],
            self.vertices[rows],
            mother,
            self.is_final[rows],
            self.flavour[events],
        )


def import_pythia() -> Any:
    """The module ``pythia8mc``.

    Raises:
        InputError: If it is not installed; says how to install it.
    """
    try:
        import pythia8mc
    except ImportError:
        raise InputError(
            f"events at the Υ(4S) are made by Pythia 8, which is not installed: {INSTALL}"
        ) from None
    return pythia8mc


def pythia_seed(rng: np.random.Generator) -> int:
    """A seed for Pythia out of a stream."""
    return int(rng.integers(1, _LARGEST_SEED))


def _started(settings: list[str]) -> Any:
    pythia = import_pythia().Pythia("", False)
    for line in ["Print:quiet = on", "Random:setSeed = on", *settings]:
        if not pythia.readString(line):
            raise RuntimeError(f"Pythia refuses the setting {line!r}")
    return pythia


def continuum(sqrt_s: float, n_events: int, seed: int, *, min_mass: float) -> Generated:
    """e+e- → q q̄ with u, d, s, c and initial-state radiation, in the centre-of-mass system.

    Args:
        sqrt_s: Energy of the collision in GeV.
        seed: 1 to 900 000 000.
        min_mass: Smallest mass of the q q̄ system in GeV: radiation down to it is generated. Pythia's own
            default of 10 would take away radiative return without a word.
    """
    pythia = _started(
        [
            "Beams:idA = 11",
            "Beams:idB = -11",
            "Beams:frameType = 1",
            f"Beams:eCM = {sqrt_s!r}",
            f"Random:seed = {seed}",
            "PDF:lepton = on",
            "WeakSingleBoson:ffbar2gmZ = on",
            "23:onMode = off",
            "23:onIfAny = 1 2 3 4",
            f"23:mMin = {min_mass!r}",
        ]
    )
    # a fresh start for each call: what Pythia learns of its maxima while running must not reach later events
    if not pythia.init():
        raise RuntimeError(f"Pythia does not start at sqrt(s) = {sqrt_s} GeV")
    return _generate(pythia, n_events, of_meson=False)


@dataclass(frozen=True)
class TwoBodyChoice:
    """What becomes of some two-body decays of a meson.

    Attributes:
        decays: Each with the pairs of particle numbers that it goes by, as of the meson, not its
            antiparticle.
        only: The meson of a pair has none but these, each as often as any other, and its antiparticle none of
            them; mixing is off, or it would exchange them. Otherwise neither has them.
    """

    decays: tuple[tuple[tuple[int, int], ...], ...]
    only: bool


def decays_of_pairs(pdg: int, n_pairs: int, seed: int, two_body: TwoBodyChoice | None = None) -> Generated:
    """Decays at rest of ``n_pairs`` B and as many anti-B, in turn, with the B of each pair first.

    Pythia mixes neutral Bs by themselves, incoherently: a meson that oscillated keeps its number, and its
    daughters are those of its antiparticle.

    Args:
        pdg: Number of B+ or B0.
        seed: 1 to 900 000 000.
        two_body: Decays that are left out, or the only ones; None for all in their proportions.
    """
    pythia, _ = _pair_gun(pdg, two_body)
    pythia.rndm.init(seed)  # every decay stands alone, so the stream is all that the next one depends on
    return _generate(pythia, 2 * n_pairs, of_meson=True)


def _choose(pythia: Any, pdg: int, choice: TwoBodyChoice) -> None:
    """Switches the decays of a meson before Pythia starts."""
    particle, antiparticle, neither = 2, 3, 0  # Pythia's onMode
    table = pythia.particleData.particleDataEntryPtr(pdg)
    channels: dict[tuple[int, ...], list[Any]] = {}
    for i in range(table.sizeChannels()):
        channel = table.channel(i)
        if choice.only:
            channel.onMode(antiparticle)
        products = tuple(sorted(channel.product(k) for k in range(channel.multiplicity())))
        channels.setdefault(products, []).append(channel)
    for decay in choice.decays:
        known = [channel for pair in decay for channel in channels.get(tuple(sorted(pair)), [])]
        for channel in known:
            channel.onMode(particle if choice.only else neither)
            if choice.only:
                channel.bRatio(1 / len(known))
        if choice.only and not known:
            table.addChannel(particle, 1.0, 0, *decay[0])


@lru_cache(maxsize=6)
def _pair_gun(pdg: int, two_body: TwoBodyChoice | None) -> tuple[Any, Any]:
    """Pythia that decays back-to-back pairs, handed to it as if by a matrix-element generator.

    Comes with the object that hands them over, which must live as long.
    """
    mass = B_MASSES[pdg]
    energy = float(np.hypot(mass, _PAIR_MOMENTUM))

    class Pairs(import_pythia().LHAup):  # type: ignore[misc]
        def setInit(self) -> bool:
            self.setBeamA(11, energy)
            self.setBeamB(-11, energy)
            self.setStrategy(3)
            self.addProcess(1, 1.0, 0.0, 1.0)
            return True

        def setEvent(self, _process: int = 0) -> bool:
            self.setProcess(1, 1.0, 2 * energy, 1 / 137, 0.1)
            for number, pz in ((11, energy), (-11, -energy)):
                self.addParticle(number, -1, 0, 0, 0, 0, 0.0, 0.0, pz, energy, 0.0, 0.0, 9.0, -1.0)
            for number, pz in ((pdg, _PAIR_MOMENTUM), (-pdg, -_PAIR_MOMENTUM)):
                self.addParticle(number, 1, 1, 2, 0, 0, 0.0, 0.0, pz, energy, mass, 0.0, 9.0, -1.0)
            return True

    pythia = _started(
        [
            "Random:seed = 1",
            "Beams:frameType = 5",
            "PDF:lepton = off",
            "PartonLevel:ISR = off",
            "PartonLevel:FSR = off",
            "PartonLevel:MPI = off",
        ]
    )
    if two_body is not None:
        _choose(pythia, pdg, two_body)
        if two_body.only:
            pythia.readString("ParticleDecays:mixB = off")
    pairs = Pairs()
    if not (pythia.setLHAupPtr(pairs) and pythia.init()):
        raise RuntimeError(f"Pythia does not take pairs of {pdg}")
    return pythia, pairs


def _generate(pythia: Any, n: int, *, of_meson: bool) -> Generated:
    parts: list[Generated] = []
    missing, empty = n, 0
    while missing > 0:
        asked = -(-missing // 2) if of_meson else missing
        batch = pythia.nextBatch(min(asked, _CHUNK))
        if not len(batch):  # Pythia leaves out events that failed
            empty += 1
            if empty >= _RETRIES:
                raise RuntimeError(f"Pythia gives no events any more; {missing} of {n} are missing")
            continue
        empty = 0
        part = _compact(batch, of_meson=of_meson)
        parts.append(part)
        missing -= len(part.offsets) - 1
    return _joined(parts)


def _field(record: Any, *names: str) -> NDArray[Any]:
    for name in names:
        record = record.content(name)
    return np.asarray(record.data)


def _compact(batch: Any, *, of_meson: bool) -> Generated:
    """The kept particles of an array out of Pythia; of mesons each one is an event, at rest."""
    events = batch.layout.content("prt")
    offsets = np.asarray(events.offsets.data).astype(np.int64)
    record = events.content[int(offsets[0]) : int(offsets[-1])]
    offsets = offsets - offsets[0]
    where = record.content("vProd")
    place, vertex = np.asarray(where.index.data), where.content
    pdg, status = _field(record, "id"), _field(record, "status")
    momenta = np.stack([_field(record, "p", axis) for axis in ("px", "py", "pz", "e")], axis=1)
    known = np.stack([_field(vertex, axis) for axis in ("px", "py", "pz", "e")], axis=1)
    vertices = np.zeros((len(pdg), 4))
    vertices[place >= 0] = known[place[place >= 0]]
    keep = (status > 0) | np.isin(np.abs(pdg), _KEPT)
    out = _select(offsets, pdg, status, _field(record, "mother1"), keep, of_meson)
    new_offsets, rows, mother, flavour, frames = out
    new = Generated(
        new_offsets,
        pdg[rows],
        momenta[rows],
        vertices[rows],
        mother,
        status[rows] > 0,
        flavour,
    )
    if of_meson:
        _to_rest(new.momenta, new.vertices, new_offsets, momenta[frames])
    return new


@njit(cache=True)
def _select(offsets, pdg, status, mother1, keep, of_meson):  # type: ignore[no-untyped-def]
    """Rows to keep, event by event, with their mothers; of mesons each of the two chains is an event."""
    n_events = len(offsets) - 1
    n_out = 2 * n_events if of_meson else n_events
    n_rows = keep.sum()
    new_offsets = np.zeros(n_out + 1, np.int64)
    rows = np.empty(n_rows, np.int64)
    mother = np.empty(n_rows, np.int64)
    flavour = np.zeros(n_out, np.int32)
    frames = np.zeros(n_out, np.int64)
    placed = np.full(len(pdg), -1, np.int64)  # where a row went; of a row that is left out, its ancestor
    chain = np.zeros(len(pdg), np.int32)
    n = 0
    for event in range(n_events):
        start, stop = offsets[event], offsets[event + 1]
        first = n
        seen = 0
        for row in range(start, stop):
            above = start + mother1[row]
            if of_meson:
                if abs(status[row]) == 23:
                    seen += 1
                    chain[row] = seen
                    frames[2 * event + seen - 1] = row
                elif mother1[row] > 0:
                    chain[row] = chain[above]
            elif flavour[event] == 0 and abs(status[row]) == 23 and abs(pdg[row]) <= 4:
                flavour[event] = abs(pdg[row])
        for which in range(1, 3) if of_meson else range(1):
            begin = n
            for row in range(start, stop):
                if of_meson and chain[row] != which:
                    continue
                ancestor = placed[start + mother1[row]] if mother1[row] > 0 else -1
                if ancestor < begin:
                    ancestor = -1
                if keep[row]:
                    rows[n] = row
                    mother[n] = ancestor
                    placed[row] = n
                    n += 1
                else:
                    placed[row] = ancestor
            if of_meson:
                new_offsets[2 * event + which] = n
        if not of_meson:
            new_offsets[event + 1] = n
        if n < first:
            break
    return new_offsets, rows[:n], mother[:n], flavour, frames


@njit(cache=True)
def _to_rest(momenta, vertices, offsets, frames):  # type: ignore[no-untyped-def]
    for event in range(len(offsets) - 1):
        frame = frames[event]
        mass = np.sqrt(frame[3] ** 2 - frame[0] ** 2 - frame[1] ** 2 - frame[2] ** 2)
        for row in range(offsets[event], offsets[event + 1]):
            for four in (momenta[row], vertices[row]):
                along = four[0] * frame[0] + four[1] * frame[1] + four[2] * frame[2]
                time = (four[3] * frame[3] - along) / mass
                factor = (four[3] + time) / (mass + frame[3])
                for axis in range(3):
                    four[axis] -= factor * frame[axis]
                four[3] = time


def _joined(parts: list[Generated]) -> Generated:
    counts = np.concatenate([[0], *[np.diff(part.offsets) for part in parts]])
    starts = np.cumsum([0, *[len(part.pdg) for part in parts]])
    mother = [
        np.where(part.mother >= 0, part.mother + at, -1) for part, at in zip(parts, starts[:-1], strict=True)
    ]
    return Generated(
        np.cumsum(counts).astype(np.int64),
        np.concatenate([np.empty(0, np.int32), *[part.pdg for part in parts]]).astype(np.int32),
        np.concatenate([np.empty((0, 4)), *[part.momenta for part in parts]]),
        np.concatenate([np.empty((0, 4)), *[part.vertices for part in parts]]),
        np.concatenate([np.empty(0, np.int64), *mother]).astype(np.int64),
        np.concatenate([np.empty(0, np.bool_), *[part.is_final for part in parts]]),
        np.concatenate([np.empty(0, np.int32), *[part.flavour for part in parts]]).astype(np.int32),
    )
