"""The photon networks against the exact likelihood ratio, on simulated and kinematically fitted candidates.

e+e- -> γγγ against γa(→γγ) at leading order, where the ratio is the ceiling of any classifier. Training and
test are of different seeds; tests are windows of ± 3 σ about a mass with at least 10⁵ effective candidates of
each class. In a window the background has the signal's masses and the ratio is that of densities at each
mass, so that neither score gains by selecting in mass.

    python -m benchmarks.networks                   all parts (some ten minutes)
    python -m benchmarks.networks ceiling speed     some of them: ceiling, sculpting, interpolation, speed
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.entries import entry
from benchmarks.network_sculpting import best_cuts, difference_on_same_events, spurious_signals
from benchmarks.network_speed import fit_against_bare_loop, rates
from benchmarks.photon_samples import (
    MASS_RANGE,
    Columns,
    Window,
    collect,
    in_range,
    joined,
    qed_candidates,
    resolution,
    signal_candidates,
    window,
)
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.evaluation.score_comparison import ScoreComparison, compare_scores
from darksieve.models.estimator import PHOTON_FEATURES, make_classifier
from darksieve.models.likelihood_ratio import log_likelihood_ratio, mean_ratio_in_mass
from darksieve.models.photon_columns import SET_FEATURES
from darksieve.models.photon_network import PhotonNetwork
from darksieve.training.mass_matching import match_masses

COMMAND = "python -m benchmarks.networks"
MASSES = (0.2, 0.35, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 9.8)  # GeV
SCULPTING_MASSES = {0.5: 0.2, 2.0: 0.2, 5.0: 0.2, 8.0: 1.0}  # GeV: largest difference in σ
NODES = tuple(float(mass) for mass in range(1, 10))  # GeV, 1 apart
MIDWAY = tuple(mass + 0.5 for mass in NODES[:-1])
FOUR_MASSES = (0.5, 2.0, 5.0, 8.0)  # GeV
NODE_REACH = 0.08  # GeV, of background about a node
ARCHITECTURES: dict[str, tuple[tuple[str, ...], dict[str, Any], int, float]] = {
    # features, options, threads, and the seconds it may take
    "mlp": (PHOTON_FEATURES, {}, 1, 30.0),
    "attention": (SET_FEATURES, {"architecture": "attention", "epochs": 4}, 2, 120.0),
}
PARTS = ("ceiling", "sculpting", "interpolation", "speed")
PROCESSES = 2
LARGEST_ERROR = 0.4  # of a difference of spurious signals, in units of what it is held to
Entry = dict[str, Any]


def matrix(columns: Columns, features: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([columns[name] for name in features], axis=1).astype(np.float32)


def train(
    background: Columns,
    signal: Columns,
    architecture: str = "mlp",
    *,
    weight: NDArray | None = None,
    seed: int = 1,
) -> tuple[Any, float, float]:
    """A fitted network; wall and CPU seconds of its fit, matching included.

    Args:
        weight: Of the background.
    """
    features, options, n_threads, _ = ARCHITECTURES[architecture]
    columns = joined([background, signal])
    n_background = len(background["M_gg"])
    X, y = matrix(columns, features), np.arange(len(columns["M_gg"])) >= n_background
    weights = np.ones(len(y))
    if weight is not None:
        weights[:n_background] = weight / weight.mean()
    start, start_cpu = time.perf_counter(), time.process_time()
    weights *= match_masses(columns["M_gg"], y, weights).factor(columns["M_gg"], y)
    held_out = np.random.default_rng(seed).random(len(y)) < 0.1
    network = make_classifier("photon_network", options, features=features, seed=seed, n_threads=n_threads)
    network.fit(
        X[~held_out],
        y[~held_out].astype(int),
        weights[~held_out],
        validation=(X[held_out], y[held_out].astype(int), weights[held_out]),
    )
    return network, time.perf_counter() - start, time.process_time() - start_cpu


def compared(network: Any, test: Window, sqrt_s: float) -> ScoreComparison:
    """A network against the likelihood ratio at the candidate's own mass, in a window."""
    columns = joined([test.background, test.signal])
    mass = columns["M_gg"]
    is_signal = np.arange(len(mass)) >= len(test.weight)
    weight = np.where(is_signal, 1.0, np.pad(test.weight / test.weight.mean(), (0, len(test.signal["M_gg"]))))
    ratio = log_likelihood_ratio(columns, sqrt_s=sqrt_s)
    ratio -= mean_ratio_in_mass(ratio[~is_signal], mass[~is_signal], test.weight)(mass)
    weight *= match_masses(mass, is_signal, weight).factor(mass, is_signal)
    return compare_scores(logits(network, columns), ratio, is_signal, weight)


def logits(network: Any, columns: Columns) -> NDArray[np.float64]:
    """Scores before the last function, which has no ties near 0 and 1."""
    probability = network.predict_proba(matrix(columns, network.features))[:, 1].astype(np.float64)
    return np.log(probability / (1 - probability))


def _worst(
    name: str,
    found: dict[float, ScoreComparison],
    of: Callable[[ScoreComparison], float],
    bar: float,
    sign: int,
    part: str,
) -> Entry:
    """The entry of the mass with the worst value; ``sign`` 1 where small is good."""
    worst = max(found, key=lambda mass: sign * of(found[mass]))
    value = of(found[worst])
    made = entry(
        "networks",
        f"{COMMAND} {part}",
        f"{name} (worst of {len(found)} masses: {worst:g} GeV)",
        value,
        bar,
        peer=found[worst].reference_auc,
        ratio=found[worst].auc / found[worst].reference_auc,
        passed=sign * value <= sign * bar,
        by_mass={
            str(mass): {
                "auc_loss": c.auc_loss,
                "auc_loss_error": c.auc_loss_error,
                "limit_ratio": c.limit_ratio,
                "limit_ratio_error": c.limit_ratio_error,
            }
            for mass, c in found.items()
        },
    )
    say(made)
    return made


def _number(
    name: str,
    value: float,
    bar: float,
    *,
    above: bool,
    part: str,
    peer: float | None = None,
    **more: Any,
) -> Entry:
    ratio = None if peer is None else value / peer
    passed = value >= bar if above else value <= bar
    return entry("networks", f"{COMMAND} {part}", name, value, bar, peer, ratio, passed, **more)


def ceiling(name: str, network: Any, windows: dict[float, Window], sqrt_s: float) -> list[Entry]:
    """Losses against the likelihood ratio of a network that was trained at all masses."""
    found = {mass: compared(network, test, sqrt_s) for mass, test in windows.items()}
    return [
        _worst(
            f"{name}: loss of AUC against the likelihood ratio",
            found, lambda c: c.auc_loss, 0.001, 1, "ceiling",
        ),
        _worst(
            f"{name}: likelihood ratio's expected limit over the score's, in full",
            found, lambda c: c.limit_ratio, 0.995, -1, "ceiling",
        ),
    ]  # fmt: skip


def near_nodes(
    settings: PhotonSettings, nodes: Sequence[float], n: int, seed: int
) -> tuple[Columns, NDArray]:
    """Background about each of the nodes, n effective candidates of each, all nodes with the same weight."""
    made = [
        window(
            settings, node, n_background=n, n_signal=1, seed=seed + i, n_sigma=NODE_REACH / resolution(node)
        )
        for i, node in enumerate(nodes)
    ]
    return joined([w.background for w in made]), np.concatenate([w.weight / w.weight.sum() for w in made])


def interpolation(
    settings: PhotonSettings, windows: dict[float, Window], n_node: int, n_test: int
) -> list[Entry]:
    """Losses between masses of networks that were trained at a few."""
    sqrt_s = settings.beams.sqrt_s
    entries = []
    for nodes, at, bar, name in (
        (
            NODES,
            tests(settings, MIDWAY, n_test),
            0.001,
            "trained 1 GeV apart, midway between",
        ),
        (FOUR_MASSES, windows, 0.0015, "trained at 0.5, 2, 5 and 8 GeV"),
    ):
        background, weight = near_nodes(settings, nodes, n_node, 400_000_000)
        signal = collect(
            signal_candidates(settings, 410_000_000, masses=nodes), n_node * len(nodes), in_range
        )
        network, _, _ = train(background, signal, weight=weight)
        found = {mass: compared(network, test, sqrt_s) for mass, test in at.items()}
        entries += [
            _worst(f"mlp {name}: loss of AUC", found, lambda c: c.auc_loss, bar, 1, "interpolation"),
            _worst(
                f"mlp {name}: expected limit, in full",
                found,
                lambda c: c.limit_ratio,
                0.995,
                -1,
                "interpolation",
            ),
        ]
    return entries


def _test(settings: PhotonSettings, mass: float, *, n: int) -> Window:
    return window(settings, mass, n_background=n, n_signal=n, seed=70_000_000 + round(1000 * mass))


def sculpting(
    settings: PhotonSettings, network: Any, n: int, share_of_bar: float = LARGEST_ERROR
) -> list[Entry]:
    """Spurious signals of the best cut at a few masses.

    Args:
        n: Effective background candidates within ± 20 σ for the spurious signal itself.
        share_of_bar: Largest Monte-Carlo error of the difference, in units of what it is held to.
    """
    with tempfile.TemporaryDirectory() as folder:
        network.save(folder)
        at = partial(_sculpting_at, settings=settings, folder=folder, n=n, share_of_bar=share_of_bar)
        return spread(at, SCULPTING_MASSES)


def _sculpting_at(
    mass: float, *, settings: PhotonSettings, folder: str, n: int, share_of_bar: float
) -> Entry:
    network, bar = PhotonNetwork.load(folder), SCULPTING_MASSES[mass]
    width, seed = resolution(mass), 80_000_000 + round(1000 * mass)
    test = window(settings, mass, n_background=n, n_signal=50_000, seed=seed, n_sigma=20)
    cuts, efficiency, mean = best_cuts(test, width, partial(logits, network), settings.beams.sqrt_s)
    found = spurious_signals(test, cuts, width)
    difference, error, n_events = difference_on_same_events(
        settings, test, cuts, mean, width, largest_error=share_of_bar * bar, seed=seed
    )
    entry = _number(
        f"sculpting at {mass:g} GeV: spurious signal of the network less the likelihood ratio's (σ)",
        abs(difference), bar, above=False, part="sculpting",
        difference=difference, error=error, n_events=n_events,
        signal_efficiency=efficiency, n_effective=test.n_effective,
        network=found["network"][0], network_error=found["network"][1],
        likelihood_ratio=found["likelihood_ratio"][0],
        likelihood_ratio_error=found["likelihood_ratio"][1],
    )  # fmt: skip
    say(entry)
    return entry


def spread(function: Callable[[float], Any], masses: Iterable[float]) -> list[Any]:
    """A function of each mass, two at a time in processes of their own."""
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(function, masses))


def tests(settings: PhotonSettings, masses: Sequence[float], n: int) -> dict[float, Window]:
    """Windows with so many (effective) candidates of each class."""
    return dict(zip(masses, spread(partial(_test, settings, n=n), masses), strict=True))


def speed(network: Any, n: int) -> list[Entry]:
    """Candidates a second through ONNX, and the fit beside a bare loop."""
    real = matrix(collect(qed_candidates(PhotonSettings(), 3_000_000), n, in_range), PHOTON_FEATURES)
    one_thread, _, _ = rates(network, real, 1)
    of_graph, of_torch, difference = rates(network, real, 2)
    entries = [
        _number(
            "mlp: candidates a second through ONNX, two threads; peer: torch",
            of_graph, 5e6, above=True, peer=of_torch, part="speed",
            one_thread=one_thread, largest_difference=difference,
        )
    ]  # fmt: skip
    say(entries[-1])
    ours, bare = fit_against_bare_loop()
    entries.append(
        _number(
            "mlp: CPU time of the fit over that of a bare loop", ours / bare, 1.1, above=False, part="speed"
        )
    )
    say(entries[-1])
    return entries


def say(entry: Entry) -> None:
    """Show an entry as soon as it is there."""
    print(json.dumps(entry, ensure_ascii=False), file=sys.stderr, flush=True)


def measure(
    parts: Sequence[str] = PARTS,
    n_train: int = 400_000,
    n_test: int = 100_000,
    n_node: int = 60_000,
    n_sculpting: int = 300_000,
) -> list[Entry]:
    """Entries of ``figures.json``.

    Args:
        parts: Which figures; each part makes what it needs.
        n_train: Training rows of each class.
        n_test: (Effective) candidates of each class in each window.
        n_node: The same at each mass of a training at a few masses.
        n_sculpting: Effective background candidates within ± 20 σ.
    """
    settings = PhotonSettings()
    sqrt_s = settings.beams.sqrt_s
    entries: list[Entry] = []
    windows: dict[float, Window] = {}
    if {"ceiling", "interpolation"} & set(parts):
        windows = tests(settings, MASSES, n_test)
    networks = {}
    if {"ceiling", "sculpting", "speed"} & set(parts):
        background = collect(qed_candidates(settings, 1_000_000), n_train, in_range)
        signal = collect(signal_candidates(settings, 1_000_000, mass_range=MASS_RANGE), n_train, in_range)
        for name, (_, _, n_threads, bar) in ARCHITECTURES.items():
            if name != "mlp" and "ceiling" not in parts:
                continue
            networks[name], seconds, cpu_seconds = train(background, signal, name)
            if "ceiling" in parts:
                entries += ceiling(name, networks[name], windows, sqrt_s)
                entries.append(
                    _number(
                        f"{name}: seconds to fit {n_train} + {n_train} rows, {n_threads} threads",
                        seconds, bar, above=False, part="ceiling", cpu_seconds=cpu_seconds,
                    )
                )  # fmt: skip
                say(entries[-1])
    if "sculpting" in parts:
        entries += sculpting(settings, networks["mlp"], n_sculpting)
    if "interpolation" in parts:
        entries += interpolation(settings, windows, n_node, n_test)
    if "speed" in parts:
        entries += speed(networks["mlp"], n_test)
    return entries


if __name__ == "__main__":
    wanted = tuple(sys.argv[1:]) or PARTS
    if unknown := set(wanted) - set(PARTS):
        raise SystemExit(f"no part {sorted(unknown)[0]!r}; there are {', '.join(PARTS)}")
    json.dump(measure(wanted), sys.stdout, indent=1)
    print()
