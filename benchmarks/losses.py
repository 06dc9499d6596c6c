"""Where a sensitivity as the loss pays, and where cross-entropy is as good: a small study with errors.

Toy events of e+e- -> γγγ against γa(→γγ), and invented classes with a rare background of few, heavy rows.
Each case is fitted by cross-entropy until that no longer falls, then fine-tuned, with several seeds, and
judged on test events that had no part in either. Run: ``python -m benchmarks.losses`` (some minutes).
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.entries import entry
from benchmarks.photon_samples import (
    MASS_RANGE,
    collect,
    in_range,
    joined,
    qed_candidates,
    resolution,
    signal_candidates,
)
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.models.estimator import PHOTON_FEATURES, PhotonNetworkOptions, make_classifier
from darksieve.training.fine_tuning import fine_tune, held_out_gain, mass_hypotheses
from darksieve.training.limit_rows import LimitRows
from darksieve.training.losses import Boundaries, MassHypotheses, SensitivityLoss
from darksieve.training.mass_matching import match_masses

COMMAND = "python -m benchmarks.losses"
LOSSES = ("expected_limit", "punzi")
N_FINE_TUNING = 20  # epochs
Entry = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of both classes.

    Attributes:
        X: Features, the own mass first, shape (n, n_features).
        y: 1 for signal.
        yields: Expected events of background, any unit for signal.
        true_mass: Of signal, GeV; NaN for background.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    yields: NDArray[np.float64]
    true_mass: NDArray[np.float64]

    @property
    def expected_background(self) -> float:
        return float(self.yields[self.y == 0].sum())

    def part(self, first: int, last: int) -> Sample:
        """Some rows of each class, with the yields of all."""
        rows = np.sort(np.concatenate([np.flatnonzero(self.y == c)[first:last] for c in (0, 1)]))
        yields = self.yields[rows].copy()
        yields[self.y[rows] == 0] *= self.expected_background / yields[self.y[rows] == 0].sum()
        return Sample(self.X[rows], self.y[rows], yields, self.true_mass[rows])


@dataclass(frozen=True, eq=False)
class Case:
    """One question.

    Attributes:
        sample: Train and test rows, the first ``n_train`` of each class to train.
        features: Their names.
        options: Of the network.
        background_error: Relative.
    """

    name: str
    sample: Sample
    n_train: int
    features: tuple[str, ...]
    options: dict[str, Any]
    background_error: float = 0.0


def photons(n: int, expected_background: float, seed: int = 2_000_000) -> Sample:
    """Simulated and fitted candidates of both classes, n of each."""
    settings = PhotonSettings()
    background = collect(qed_candidates(settings, seed), n, in_range)
    signal = collect(signal_candidates(settings, seed + 500_000, mass_range=MASS_RANGE), n, in_range)
    columns = joined([background, signal])
    y = (np.arange(2 * n) >= n).astype(np.int64)
    own = columns["M_gg"]
    sigma = np.array([resolution(mass) for mass in np.linspace(0, 10, 200)])
    # what a true mass is needed for is the resolution, which is known
    smear = np.random.default_rng(seed).normal(size=2 * n) * np.interp(own, np.linspace(0, 10, 200), sigma)
    true = np.where(y == 1, own - smear, np.nan)
    yields = np.where(y == 0, expected_background / n, 1.0)
    X = np.stack([columns[name] for name in PHOTON_FEATURES], axis=1).astype(np.float32)
    return Sample(X, y, yields, true)


def two_backgrounds(n: int, n_heavy: int, expected_background: float, seed: int = 3) -> Sample:
    """Invented classes: one feature against a common background, another against a rare one of heavy rows."""
    rng = np.random.default_rng(seed)
    y = (np.arange(2 * n) >= n).astype(np.int64)
    own = rng.uniform(1, 9, 2 * n)
    heavy = np.zeros(2 * n, bool)
    heavy[: n : max(1, n // n_heavy)] = True
    first = rng.normal(size=2 * n) + 2.0 * y + 2.0 * heavy
    second = rng.normal(size=2 * n) + 2.0 * y
    third = rng.normal(size=2 * n) - 0.5 * (y == 0) * (own > 5)
    yields = np.ones(2 * n)
    yields[heavy] = 0.5 * (n - heavy.sum()) / heavy.sum()  # a third of the background
    yields[y == 0] *= expected_background / yields[y == 0].sum()
    true = np.where(y == 1, own - 0.02 * rng.normal(size=2 * n), np.nan)
    return Sample(np.stack([own, first, second, third], axis=1).astype(np.float32), y, yields, true)


def cases(n: int) -> list[Case]:
    """What is asked."""
    many = photons(2 * n, 1e8)
    tiny_features = ("M_gg", "E_pair1", "cosThetaRecoil", "cosHelicity")
    columns = [PHOTON_FEATURES.index(name) for name in tiny_features]
    tiny = replace(many, X=np.ascontiguousarray(many.X[:, columns]))
    few_events = replace(many, yields=np.where(many.y == 0, many.yields * 1e-5, many.yields))
    invented = ("M_gg", "first", "second", "third")
    common = {"batch_size": 1024, "epochs": 30, "patience": 0}
    return [
        Case("3γ, 48-48 network", many, n, PHOTON_FEATURES, common),
        Case("3γ, a tenth of the training events", many, n // 10, PHOTON_FEATURES, common),
        Case("3γ, 8-4 network, 4 inputs (trigger)", tiny, n, tiny_features, common | {"hidden": (8, 4)}),
        Case("3γ, a single neuron, 4 inputs", tiny, n, tiny_features, common | {"hidden": (1,)}),
        Case("3γ, few events (10³)", few_events, n, PHOTON_FEATURES, common | {"hidden": (16,)}),
        Case("3γ, systematic of 1 % of the background", many, n, PHOTON_FEATURES, common, 0.01),
        Case("3γ, single neuron, systematic of 1 %", tiny, n, tiny_features, common | {"hidden": (1,)}, 0.01),
        Case("two backgrounds, one of 200 heavy rows", two_backgrounds(2 * n, 400, 1e6), n, invented, common),
    ]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """One fit: gains on test rows, of what has been fine-tuned, whether accepted or not."""

    categories: float
    common_cut: float
    held_out: float
    accepted: bool


def outcomes(case: Case, seed: int) -> dict[str, Outcome]:
    """Fit by cross-entropy, fine-tune by each loss, and compare."""
    train, test = case.sample.part(0, case.n_train), case.sample.part(case.n_train, len(case.sample.y))
    rng = np.random.default_rng(seed)
    own, signal = train.X[:, 0], train.y == 1
    validation = rng.random(len(train.y)) < 0.3
    judges = rng.random(len(train.y)) < 0.5
    weight = train.yields * match_masses(own, signal, train.yields).factor(own, signal)
    network: Any = make_classifier("photon_network", case.options, features=case.features, seed=seed)
    stop = validation & ~judges
    network.fit(
        train.X[~validation],
        train.y[~validation],
        weight[~validation],
        validation=(train.X[stop], train.y[stop], weight[stop]),
    )
    rows = LimitRows(train.yields, train.true_mass, judges, train.expected_background)
    own, signal = test.X[:, 0], test.y == 1
    hypotheses = mass_hypotheses(own[signal], test.true_mass[signal], signal_rows_of_a_batch=1e5)
    found = {}
    for loss in LOSSES:
        options = PhotonNetworkOptions(
            **case.options,
            fine_tune=loss,
            fine_tune_epochs=N_FINE_TUNING,
            background_error=case.background_error,
        )
        tuned, record = fine_tune(network, train.X, train.y, weight, validation, rows, options)
        scores = network.logits(test.X), tuned.logits(test.X)
        gains = [
            held_out_gain(
                *scores, own, signal, test.yields, hypotheses, expected_background=test.expected_background,
                background_error=case.background_error, common_cut=common_cut,
            ).value
            for common_cut in (False, True)
        ]  # fmt: skip
        found[loss] = Outcome(gains[0], gains[1], record["gain_log_limit"], record["accepted"])
    return found


def study(n: int, n_seeds: int) -> list[Entry]:
    """Mean gain of each loss in each case over seeds, in per cent of the limit, in what the loss aims at."""
    entries = []
    for case in cases(n):
        of_seeds = [outcomes(case, seed) for seed in range(1, n_seeds + 1)]
        for loss in LOSSES:
            found = [of_seed[loss] for of_seed in of_seeds]
            aims = np.array([o.categories if loss == "expected_limit" else o.common_cut for o in found])
            others = np.array([o.common_cut if loss == "expected_limit" else o.categories for o in found])
            aim, other = ("six categories", "common cut")[:: 1 if loss == "expected_limit" else -1]
            kept = np.array([a if o.accepted else 0.0 for a, o in zip(aims, found, strict=True)])
            # what is kept must not be worse than cross-entropy by more than what seeds scatter by
            entries.append(
                entry(
                    "networks",
                    COMMAND,
                    f"{case.name}: limit gained by {loss} as the loss where it is kept, {aim} (%)",
                    100 * float(kept.mean()),
                    -0.3,
                    peer=0.0,
                    passed=kept.mean() >= -0.003,
                    gain_percent=100 * float(aims.mean()),
                    gain_error_percent=_error(aims),
                    gain_error_percent_other=_error(others),
                    held_out_percent=[100 * o.held_out for o in found],
                    accepted=[o.accepted for o in found],
                )
                | {f"gain_percent_{other.replace(' ', '_')}": 100 * float(others.mean())}
            )
            print(json.dumps(entries[-1]), file=sys.stderr, flush=True)
    return entries


def _error(gains: NDArray) -> float | None:
    """Of the mean over seeds, per cent."""
    return 100 * float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else None


def step_time(loss_name: str, n: int = 65_536, n_masses: int = 1300, repeats: int = 30) -> Entry:
    """CPU milliseconds of value and gradient of the loss alone, one thread."""
    rng = np.random.default_rng(1)
    labels = (np.arange(n) % 2).astype(np.float32)
    own = rng.uniform(0.17, 9.8, n).astype(np.float32)
    logits = (rng.normal(size=n) + labels).astype(np.float32)
    masses = np.linspace(0.2, 9.7, n_masses)
    widths = np.array([2 * resolution(mass) for mass in masses])
    thresholds = [0.0, 0.7, 1.4] if loss_name == "expected_limit" else [0.7]
    loss = SensitivityLoss(
        "punzi" if loss_name == "punzi" else "expected_limit",
        MassHypotheses(masses, widths, np.ones(n_masses)),
        Boundaries.of(np.array([0.1, 10.0]), np.tile(thresholds, (2, 1))),
        1e8,
        background_error=0.001,
    )
    columns = logits, labels, own, np.ones(n, np.float32)
    loss.of_batch(*columns)
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        loss.of_batch(*columns)
        taken.append(1000 * (time.process_time() - start))
    value = float(np.median(taken))
    name = f"{loss_name} as the loss at {n_masses} masses, {n} events: CPU ms a step"
    return entry("networks", COMMAND, name, value, 5.0, passed=value < 5.0)


def measure(n: int = 40_000, n_seeds: int = 3) -> list[Entry]:
    """Entries of ``figures.json``.

    Args:
        n: Training rows of each class, and as many to test.
        n_seeds: Fits of each case and loss.
    """
    return [*(step_time(loss) for loss in LOSSES), *study(n, n_seeds)]


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=1)
    print()
