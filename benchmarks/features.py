"""Speed of the event shapes beside the same quantities in plain numpy, and how far the two agree."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.entries import entry
from darksieve.datasets.beams import Beams
from darksieve.datasets.features.event_shapes import EVENT_SHAPES, LARGEST_ROE_MOMENTUM, event_shapes
from darksieve.datasets.features.particles import Particles

COMMAND = "python -m benchmarks.features"
N_CANDIDATES = 100_000
N_PEER = 4_000
CHUNK = 200  # candidates that the peer handles at a time: larger arrays fall out of the cache
REPETITIONS = 5
BEAMS = Beams.named("belle2")


def _particles(rng: np.random.Generator, n: int, mean: float, scale: float) -> Particles:
    """Random particles, a Poisson number of them but at least one; Gaussian momenta of ``scale`` GeV."""
    counts = np.maximum(rng.poisson(mean, n), 1)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    p = rng.normal(0, scale, (offsets[-1], 3))
    energy = np.sqrt((p**2).sum(axis=1) + 0.02)
    return Particles(np.column_stack([p, energy]), rng.choice([-1.0, 0.0, 1.0], offsets[-1]), offsets)


def _padded(particles: Particles, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Momenta (n, N, 4) and charges (n, N) of some candidates, filled up with zeros."""
    counts = np.diff(particles.offsets[start : stop + 1])
    there = np.arange(counts.max()) < counts[:, None]
    momenta, charge = np.zeros((*there.shape, 4)), np.zeros(there.shape)
    rows = slice(particles.offsets[start], particles.offsets[stop])
    momenta[there], charge[there] = particles.momenta[rows], particles.charge[rows]
    return momenta, charge


def _length(p: np.ndarray) -> np.ndarray:
    return np.sqrt((p**2).sum(axis=-1))


def _unit(p: np.ndarray) -> np.ndarray:
    length = _length(p)[..., None]
    return np.divide(p, length, out=np.zeros_like(p), where=length > 0)


def _thrust(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thrust and axis of momenta (n, N, 3), through every plane of two momenta."""
    best, axis = np.zeros(len(p)), np.zeros((len(p), 3))
    trials = [_unit(p)[:, i] for i in range(p.shape[1])]  # of one particle there is no plane
    for i in range(p.shape[1]):
        for j in range(i):
            normal = np.cross(p[:, i], p[:, j])
            sign = np.where(np.einsum("nc,nkc->nk", normal, p) > 0, 1.0, -1.0)
            sign[:, [i, j]] = 0
            rest = np.einsum("nk,nkc->nc", sign, p)
            trials += [rest + a * p[:, i] + b * p[:, j] for a in (-1, 1) for b in (-1, 1)]
    for trial in trials:
        size = np.abs(np.einsum("nc,nkc->nk", _unit(trial), p)).sum(axis=1)
        better = size > best
        best, axis = np.where(better, size, best), np.where(better[:, None], _unit(trial), axis)
    return best / _length(p).sum(axis=1), axis


def _legendre(c: np.ndarray) -> list[np.ndarray]:
    return [np.ones_like(c), c, 1.5 * c**2 - 0.5, 2.5 * c**3 - 1.5 * c, 4.375 * c**4 - 3.75 * c**2 + 0.375]


def _in_numpy(signal: Particles, rest: Particles, start: int, stop: int) -> dict[str, np.ndarray]:
    """The event shapes of some candidates whose final-state particles are their direct daughters."""
    (b, q_b), (o, q_o) = _padded(signal, start, stop), _padded(rest, start, stop)
    kept = _length(o[..., :3]) <= LARGEST_ROE_MOMENTUM
    o, q_o = o * kept[..., None], q_o * kept
    out: dict[str, np.ndarray] = {}
    out["thrustBm"], axis_b = _thrust(b[..., :3])
    out["thrustOm"], axis_o = _thrust(o[..., :3])
    out["cosTBTO"], out["cosTBz"] = np.abs((axis_b * axis_o).sum(axis=1)), np.abs(axis_b[:, 2])
    everything = np.concatenate([b, o], axis=1)
    p, unit = _length(everything[..., :3]), _unit(everything[..., :3])
    legendre = _legendre(unit @ unit.transpose(0, 2, 1))
    h = [np.einsum("ni,nj,nij->n", p, p, order) for order in legendre]
    for k, name in enumerate(("foxWolframR1", "R2", "foxWolframR3", "foxWolframR4"), 1):
        out[name] = h[k] / h[0]
    angle = np.degrees(np.arccos(np.clip(np.abs(np.einsum("nc,nkc->nk", axis_b, unit)), 0, 1)))
    cone = np.minimum((angle / 10).astype(int), 8)
    for i in range(9):
        inside = np.where(cone == i, p, 0)
        out[f"CleoConeCS({i + 1})"] = inside.sum(axis=1)
        out[f"CleoConeCS({i + 1},ROE)"] = inside[:, b.shape[1] :].sum(axis=1)
    seen = everything.sum(axis=1)
    missing = np.array([0, 0, 0, BEAMS.sqrt_s]) - seen
    p_b, p_o, p_miss = p[:, : b.shape[1]], p[:, b.shape[1] :], _length(missing[:, :3])
    present = p_b > 0
    so = [order[:, : b.shape[1], b.shape[1] :] for order in legendre]
    oo = [order[:, b.shape[1] :, b.shape[1] :] for order in legendre]
    to_missing = _legendre(np.einsum("nkc,nc->nk", unit, _unit(missing[:, :3])))
    maximum = 2 * (BEAMS.sqrt_s - b[..., 3].sum(axis=1))
    moments = {"et": np.hypot(everything[..., 0], everything[..., 1]).sum(axis=1)}
    moments["mm2"] = np.sign(missing[:, 3]) * missing[:, 3] ** 2 - p_miss**2
    for k in range(5):
        charges = [q_b, q_o] if k % 2 else [present, q_o != 0]
        moments[f"hso0{k}"] = np.einsum("ni,nj,nj,nij->n", charges[0], charges[1], p_o, so[k]) / maximum
        pairs = np.einsum("ni,nj,nij->n", *([p_o * q_o] * 2 if k % 2 else [p_o] * 2), oo[k])
        pairs -= ((p_o * (q_o if k % 2 else 1)) ** 2).sum(axis=1)
        pairs /= 2
        if k % 2 == 0:
            moments[f"hso1{k}"] = np.einsum("ni,nj,nij->n", present, p_o * (q_o == 0), so[k]) / maximum
            moments[f"hso2{k}"] = (to_missing[k][:, : b.shape[1]] * present).sum(axis=1) * p_miss / maximum
            pairs += (to_missing[k][:, b.shape[1] :] * p_o).sum(axis=1) * p_miss
        moments[f"hoo{k}"] = pairs / maximum**2
    out |= {f"KSFWVariables({name})": values for name, values in moments.items()}
    out |= {f"KSFWVariables({name},FS1)": values for name, values in moments.items()}
    tensor = np.einsum("nki,nkj->nij", everything[..., :3], everything[..., :3])
    eigenvalues = np.linalg.eigvalsh(tensor) / (p**2).sum(axis=1)[:, None]
    out["sphericity"], out["aplanarity"] = 1.5 * eigenvalues[:, :2].sum(axis=1), 1.5 * eigenvalues[:, 0]
    out["visibleEnergyOfEventCMS"], out["missingEnergyOfEventCMS"] = seen[:, 3], missing[:, 3]
    out["missingMomentumOfEventCMS"] = p_miss
    out["missingMass2OfEvent"] = missing[:, 3] ** 2 - p_miss**2
    return out


def measure() -> list[dict[str, Any]]:
    """Seconds of one core for 10⁵ candidates of about 5 + 15 particles, ours and numpy's in turns."""
    rng = np.random.default_rng(1)
    signal, rest = _particles(rng, N_CANDIDATES, 5, 0.2), _particles(rng, N_CANDIDATES, 15, 0.35)
    ours = event_shapes(signal, rest, BEAMS)  # compiled now, if not before
    seconds, peer_seconds = [], []
    for repetition in range(REPETITIONS):
        start = time.process_time()
        event_shapes(signal, rest, BEAMS)
        seconds.append(time.process_time() - start)
        start = time.process_time()
        first = repetition * N_PEER
        parts = [_in_numpy(signal, rest, i, i + CHUNK) for i in range(first, first + N_PEER, CHUNK)]
        peer_seconds.append((time.process_time() - start) * N_CANDIDATES / N_PEER)
        peer = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        assert set(peer) == set(EVENT_SHAPES)
    rows = slice(first, first + N_PEER)
    difference = max(float(np.abs(peer[name] - ours[name][rows]).max()) for name in EVENT_SHAPES)
    value, peer_value = statistics.median(seconds), statistics.median(peer_seconds)
    return [
        entry(
            "features",
            COMMAND,
            "event shapes of 10^5 candidates, 5 + 15 particles, 68 columns (CPU s)",
            value,
            "< 2 s",
            peer=f"numpy on padded arrays, thrust exact too, {N_PEER} at a time: {peer_value:.3g} s",
            ratio=peer_value / value,
            passed=value < 2.0,
        ),
        entry(
            "features",
            COMMAND,
            "greatest difference of any event shape from numpy's",
            difference,
            "< 1e-9",
            passed=difference < 1e-9,
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
