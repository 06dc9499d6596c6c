"""The photon network against the exact likelihood ratio, on simulated and kinematically fitted candidates.

e+e- -> γγγ against γa(→γγ), at 0.5, 2, 5 and 8 GeV inside ± 3 σ of the candidate's mass. Training and test
are of different seeds. Run: ``python -m benchmarks.networks``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import KINEMATIC_COLUMNS, PairingRecipe, build_candidates, photon_momenta
from darksieve.datasets.kinematic_fit import fit_photons
from darksieve.datasets.simulation.photons.plans import BackgroundPlan, SignalPlan
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.photons.sources import ThreePhotonSource
from darksieve.datasets.simulation.plans import MassSpectrum
from darksieve.models.estimator import PHOTON_FEATURES, make_classifier
from darksieve.models.likelihood_ratio import log_likelihood_ratio
from darksieve.training.mass_matching import match_masses

COMMAND = "python -m benchmarks.networks"
RESOLUTION = {0.5: 0.0104, 2.0: 0.0129, 5.0: 0.0166, 8.0: 0.0177}  # GeV, fitted M(γγ): facts of the toy
WINDOW_SIGMA = 3.0
MASS_RANGE = (0.17, 9.8)
BAR_AUC = 0.002
BAR_SECONDS = 30.0
BLOCK = 50_000
_QED, _SIGNAL = 901, 902  # numbers of these samples' streams, used by no other sample
Columns = dict[str, NDArray]

RECIPE = PairingRecipe(photons=("gamma1", "gamma2", "gamma3"))


def candidates(columns: Columns, beams: Beams, *, signal: bool) -> Columns:
    """Fitted candidates of measured events; of signal the correct pairing alone."""
    fitted = fit_photons(photon_momenta(columns, RECIPE.photons, RECIPE.momentum), beams)
    rows = np.flatnonzero(fitted.converged)
    made = build_candidates(columns, RECIPE, beams, wanted=KINEMATIC_COLUMNS, momenta=fitted.momenta[rows])
    kept = made.pairing == columns["genPair"][rows][made.event] if signal else slice(None)
    return {name: values[kept] for name, values in made.columns.items()}


def _joined(parts: list[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def qed_candidates(settings: PhotonSettings, seed: int) -> Iterator[Columns]:
    """Candidates of three-photon events, block by block, without end."""
    source = ThreePhotonSource(settings.beams.sqrt_s, *settings.generator_cuts)
    block = 0
    while True:
        plan = BackgroundPlan(source, _QED, settings, seed + block, BLOCK)
        yield candidates(plan.make(0).columns, settings.beams, signal=False)
        block += 1


def signal_candidates(settings: PhotonSettings, seed: int, mass: float | None) -> Iterator[Columns]:
    """Correctly paired candidates at one mass, or flat in ``MASS_RANGE``, block by block, without end."""
    block = 0
    while True:
        discrete = () if mass is None else ((mass, BLOCK),)
        mass_range = MASS_RANGE if mass is None else None
        plan = SignalPlan(_SIGNAL, settings, seed + block, BLOCK, MassSpectrum(discrete, mass_range))
        yield candidates(plan.make(0).columns, settings.beams, signal=True)
        block += 1


def collect(blocks: Iterator[Columns], n: int, select: Callable[[Columns], NDArray]) -> Columns:
    """The first n candidates that pass."""
    parts, total = [], 0
    while total < n:
        columns = next(blocks)
        rows = select(columns)
        parts.append({name: values[rows] for name, values in columns.items()})
        total += len(parts[-1]["M_gg"])
    return {name: values[:n] for name, values in _joined(parts).items()}


def _in_range(columns: Columns) -> NDArray[np.bool_]:
    return (columns["M_gg"] > MASS_RANGE[0]) & (columns["M_gg"] < MASS_RANGE[1])


def _in_window(mass: float) -> Callable[[Columns], NDArray]:
    half_width = WINDOW_SIGMA * RESOLUTION[mass]
    return lambda columns: np.abs(columns["M_gg"] - mass) < half_width


def _matrix(columns: Columns) -> NDArray[np.float32]:
    return np.stack([columns[name] for name in PHOTON_FEATURES], axis=1).astype(np.float32)


def train(settings: PhotonSettings, n_rows: int, *, seed: int = 1) -> tuple[Any, float, float]:
    """A network fitted to n rows of each class; wall and CPU seconds of its fit, matching included."""
    background = collect(qed_candidates(settings, 1_000_000 * seed), n_rows, _in_range)
    signal = collect(signal_candidates(settings, 1_000_000 * seed, None), n_rows, _in_range)
    columns = _joined([background, signal])
    X, y = _matrix(columns), np.repeat([0, 1], n_rows)
    start, start_cpu = time.perf_counter(), time.process_time()
    weight = match_masses(columns["M_gg"], y == 1, np.ones(len(y))).factor(columns["M_gg"], y == 1)
    held_out = np.random.default_rng(seed).random(len(y)) < 0.1
    network = make_classifier("photon_network", features=PHOTON_FEATURES, seed=seed, n_threads=1)
    network.fit(
        X[~held_out],
        y[~held_out],
        weight[~held_out],
        validation=(X[held_out], y[held_out], weight[held_out]),
    )
    return network, time.perf_counter() - start, time.process_time() - start_cpu


def resampled_auc(y: NDArray, score: NDArray, multiplicities: NDArray) -> NDArray[np.float64]:
    """AUC for each resampling of the rows, shape (n_resamplings,)."""
    order = np.argsort(score, kind="stable")
    signal = y[order] == 1
    aucs = []
    for multiplicity in multiplicities:
        times = multiplicity[order].astype(float)
        below = np.cumsum(np.where(signal, 0, times))
        aucs.append((times * below)[signal].sum() / (times[signal].sum() * below[-1]))
    return np.array(aucs)


def compare(
    network: Any, background: Columns, signal: Columns, sqrt_s: float, n_bootstraps: int = 50
) -> dict[str, float]:
    """AUCs of network and likelihood ratio on the same candidates; bootstrap error of their difference."""
    columns = _joined([background, signal])
    y = np.repeat([0, 1], [len(background["M_gg"]), len(signal["M_gg"])])
    score = network.predict_proba(_matrix(columns))[:, 1]
    ratio = log_likelihood_ratio(columns, sqrt_s=sqrt_s)
    rng = np.random.default_rng(5)
    multiplicities = np.concatenate(
        [np.ones((1, len(y)), dtype=np.int64), rng.poisson(1, (n_bootstraps, len(y)))]
    )
    of_network = resampled_auc(y, score, multiplicities)
    of_ratio = resampled_auc(y, ratio, multiplicities)
    return {
        "auc_network": float(of_network[0]),
        "auc_likelihood_ratio": float(of_ratio[0]),
        "difference": float(of_network[0] - of_ratio[0]),
        "error": float(np.std((of_network - of_ratio)[1:], ddof=1)),
    }


def measure(n_train: int = 400_000, n_test: int = 100_000) -> list[dict[str, Any]]:
    """Entries of ``figures.json``: the difference of AUCs at each mass, and the time of the fit.

    Args:
        n_train: Training rows of each class.
        n_test: Candidates of each class in each window.
    """
    settings = PhotonSettings()
    network, seconds, cpu_seconds = train(settings, n_train)
    masses = list(RESOLUTION)
    wanted = {mass: n_test for mass in masses}
    found: dict[float, list[Columns]] = {mass: [] for mass in masses}
    for columns in qed_candidates(settings, 50_000_000):
        for mass in masses:
            if wanted[mass] > 0:
                rows = np.flatnonzero(_in_window(mass)(columns))
                found[mass].append({name: values[rows] for name, values in columns.items()})
                wanted[mass] -= len(rows)
        if max(wanted.values()) <= 0:
            break
    entries = []
    for mass in masses:
        background = _joined(found[mass])
        signal = collect(signal_candidates(settings, 70_000_000, mass), n_test, _in_window(mass))
        result = compare(network, background, signal, settings.beams.sqrt_s)
        entries.append(
            {
                "area": "chain",
                "name": f"photon network: loss of AUC against the exact likelihood ratio at {mass:g} GeV",
                "value": -result["difference"],
                "bar": BAR_AUC,
                "peer": result["auc_likelihood_ratio"],
                "ratio": result["auc_network"] / result["auc_likelihood_ratio"],
                "command": COMMAND,
                "passed": bool(abs(result["difference"]) <= BAR_AUC),
                "error": result["error"],
                "n_background": len(background["M_gg"]),
                "n_signal": len(signal["M_gg"]),
            }
        )
    entries.append(
        {
            "area": "chain",
            "name": f"photon network: seconds to fit {n_train} + {n_train} rows with one thread",
            "value": seconds,
            "bar": BAR_SECONDS,
            "peer": None,
            "ratio": None,
            "command": COMMAND,
            "passed": seconds < BAR_SECONDS,
            "cpu_seconds": cpu_seconds,
        }
    )
    return entries


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=1)
    print()
