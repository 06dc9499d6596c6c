"""Fine-tuning: a fitted network goes on with the sensitivity as its loss, kept only where that pays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError
from darksieve.models.estimator import EpochCallback, PhotonNetworkOptions
from darksieve.models.penalty import Penalty
from darksieve.models.photon_network import PhotonNetwork
from darksieve.training.limit_rows import LimitRows
from darksieve.training.losses import Boundaries, MassHypotheses, Objective, SensitivityLoss
from darksieve.training.soft_limit import log_expected_limits, log_punzi

MOST_MASSES = 2000
_ROWS_OF_A_WINDOW = 100.0  # signal rows of a batch that a window should hold
_ROWS_OF_A_NODE = 400  # signal rows of a mass at which a sample is judged
_N_CATEGORIES = 4  # of the loss
_N_JUDGED = 6  # equal-signal categories, in which scores are judged
_N_REPLICATES = 100
_LEAST_ROWS = 100  # of each class in the held-out part


@dataclass(frozen=True)
class Gain:
    """Mean over mass of the fall of the log expected limit, on held-out rows.

    Attributes:
        value: Positive where the limit is better.
        error: By a bootstrap in which both scores see the same rows.
    """

    value: float
    error: float

    @property
    def accepted(self) -> bool:
        """Whether it is a gain by more than twice its error."""
        return self.value > 2 * self.error


def fine_tune(
    network: PhotonNetwork,
    X: NDArray,
    y: NDArray,
    weight: NDArray,
    validation: NDArray[np.bool_],
    rows: LimitRows,
    options: PhotonNetworkOptions,
    *,
    penalty: Penalty | None = None,
    on_epoch: EpochCallback | None = None,
    checkpoint: Path | None = None,
    confidence_level: float = 0.95,
) -> tuple[PhotonNetwork, dict[str, Any]]:
    """The network that is to be used, and a record of why.

    Half of the validation part chooses the epoch, the other half accepts or rejects by the expected limit.

    Args:
        network: Fitted by cross-entropy; it is left as it is.
        X, y, weight, validation: As of its fit, all rows.
        rows: Of the same rows.
        options: With ``fine_tune`` "expected_limit" or "punzi".
        penalty: Of the rows that are not in the validation part.

    Raises:
        InputError: If the held-out part has too few rows, or the mass resolution is not known.
    """
    objective: Objective = "punzi" if options.fine_tune == "punzi" else "expected_limit"
    fit, stop, judge = ~validation, validation & ~rows.judges, validation & rows.judges
    for part, name in ((stop, "stops the fine-tuning"), (judge, "judges it")):
        n = min(np.count_nonzero(y[part] == 1), np.count_nonzero(y[part] == 0))
        if n < _LEAST_ROWS:
            raise InputError(
                f"fine_tune: the part of the validation rows that {name} has {n} rows of a class; at least"
                f" {_LEAST_ROWS} are needed: give more events, or leave fine_tune out"
            )
    own = network.own_mass(X)
    logits = network.logits(X)
    is_signal = y == 1
    batch = int(np.clip(np.count_nonzero(fit) // 8, options.batch_size, 32_768))
    hypotheses = mass_hypotheses(
        own[fit & is_signal],
        rows.true_mass[fit & is_signal],
        signal_rows_of_a_batch=batch * np.count_nonzero(fit & is_signal) / np.count_nonzero(fit),
    )
    loss = SensitivityLoss(
        objective,
        hypotheses,
        _boundaries(objective, logits[fit], own[fit], is_signal[fit], rows, fit, hypotheses, options),
        rows.expected_background,
        confidence_level=confidence_level,
        background_error=options.background_error,
    )
    tuned = network.fine_tuned(
        X[fit],
        y[fit],
        weight[fit],
        validation=(X[stop], y[stop], weight[stop]),
        loss=loss,
        beside=(rows.yields[fit], rows.yields[stop]),
        epochs=options.fine_tune_epochs,
        learning_rate=options.fine_tune_rate,
        batch_size=batch,
        penalty=penalty,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
    )
    gain = held_out_gain(
        logits[judge],
        tuned.logits(X[judge]),
        own[judge],
        is_signal[judge],
        rows.yields[judge],
        hypotheses,
        expected_background=rows.expected_background,
        confidence_level=confidence_level,
        background_error=options.background_error,
    )
    record = {
        "loss": objective,
        "n_masses": len(hypotheses.masses),
        "batch_size": batch,
        "n_held_out": int(np.count_nonzero(judge)),
        "gain_log_limit": gain.value,
        "gain_error": gain.error,
        "accepted": gain.accepted,
        "epochs": tuned.history_[len(network.history_) :],
    }
    return (tuned if gain.accepted else network), record


def mass_hypotheses(
    own: NDArray, true: NDArray, *, signal_rows_of_a_batch: float, most: int = MOST_MASSES
) -> MassHypotheses:
    """Windows of ±2σ every σ/2 over the masses of the signal, wider where a batch has few rows in them.

    Args:
        own: Reconstructed masses of signal, GeV, shape (n,).
        true: True ones.
        signal_rows_of_a_batch: Rows of signal in one batch.
        most: Hypotheses at most; then they lie farther apart.

    Raises:
        InputError: If true masses are not known.
    """
    if not np.isfinite(true).all():
        raise InputError("fine_tune: signal without true mass; its sample needs 'mass'")
    centres, sigmas = _resolution(own, true)
    low, high = np.quantile(own, [0.0005, 0.9995])
    if not high > low:
        high = low + 1e-6
    fine = np.linspace(low, high, 20_000)
    sigma = np.interp(fine, centres, sigmas)
    steps = np.concatenate([[0.0], np.cumsum(np.diff(fine) / (0.5 * sigma[1:]))])
    n = int(np.clip(round(steps[-1]) + 1, 1, most))
    masses = np.interp(np.linspace(0, steps[-1], n), steps, fine)
    sigma = np.interp(masses, centres, sigmas)
    in_order = np.sort(own)
    needed = _ROWS_OF_A_WINDOW / signal_rows_of_a_batch * len(own)  # rows of the sample
    place = np.searchsorted(in_order, masses)
    first = np.clip(place - int(needed / 2), 0, len(own) - 1)
    last = np.clip(place + int(needed / 2), 0, len(own) - 1)
    reach = (in_order[last] - in_order[first]) / 2
    half_width = np.maximum(2 * sigma, reach)
    return MassHypotheses(masses, half_width, 2 * sigma / half_width)


def _resolution(own: NDArray, true: NDArray) -> tuple[NDArray, NDArray]:
    """Half of the central 68 % of own − true mass, in bins of the own mass: centres and widths, GeV."""
    order = np.argsort(own, kind="stable")
    parts = np.array_split(order, max(1, min(20, len(own) // 200)))
    centres = np.array([own[part].mean() for part in parts])
    spans = np.array([np.subtract(*np.quantile((own - true)[part], [0.84, 0.16])) / 2 for part in parts])
    least = max(float(np.ptp(own)) / 20_000, 1e-6)  # a simulation without resolution
    return centres, np.maximum(spans, least)


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Wide neighbouring mass ranges with equal numbers of signal rows."""

    edges: NDArray[np.float64]
    to_window: NDArray[np.float64]  # from the background of a node to that within ±2σ

    @classmethod
    def of(cls, own_of_signal: NDArray, hypotheses: MassHypotheses) -> _Nodes:
        n = int(np.clip(len(own_of_signal) // _ROWS_OF_A_NODE, 1, 24))
        edges = np.quantile(own_of_signal, np.linspace(0, 1, n + 1))
        width = np.maximum(np.diff(edges), 1e-9)
        centres = edges[:-1] + width / 2
        window = np.interp(centres, hypotheses.masses, 2 * hypotheses.half_width * hypotheses.share)
        return cls(edges, np.minimum(window / width, 1.0))

    def __len__(self) -> int:
        return len(self.to_window)

    def node(self, own: NDArray) -> NDArray[np.intp]:
        """Node of each row; −1 outside all."""
        node = np.searchsorted(self.edges, own, side="right") - 1
        node[own == self.edges[-1]] = len(self) - 1
        return np.where(node < len(self), node, -1)


def _boundaries(
    objective: Objective, logits: NDArray, own: NDArray, is_signal: NDArray, rows: LimitRows, fit: NDArray,
    hypotheses: MassHypotheses, options: PhotonNetworkOptions,
) -> Boundaries:  # fmt: skip
    """Equal-signal thresholds at each mass for the limit; the best single threshold for Punzi."""
    nodes = _Nodes.of(own[is_signal], hypotheses)
    node = nodes.node(own)
    yields = rows.yields[fit]
    scale = rows.expected_background / yields[~is_signal].sum()
    found = []
    for i in range(len(nodes)):
        here = node == i
        z = logits[here & is_signal]
        if objective == "expected_limit":
            found.append(np.quantile(z, np.arange(1, _N_CATEGORIES) / _N_CATEGORIES))
            continue
        efficiencies = np.linspace(0.2, 0.98, 40)
        cuts = np.quantile(z, 1 - efficiencies)
        b = here & ~is_signal
        order = np.argsort(logits[b])
        summed = np.concatenate([[0.0], np.cumsum(yields[b][order][::-1])])
        passing = summed[len(order) - np.searchsorted(logits[b][order], cuts)]
        passing = np.maximum(passing * scale * nodes.to_window[i], 1e-3)
        merit = log_punzi(efficiencies, passing, background_error=options.background_error)[0]
        found.append(cuts[[int(np.argmin(merit))]])
    centres = (nodes.edges[:-1] + nodes.edges[1:]) / 2
    return Boundaries.of(centres, np.array(found))


def held_out_gain(
    before: NDArray,
    after: NDArray,
    own: NDArray,
    is_signal: NDArray[np.bool_],
    yields: NDArray,
    hypotheses: MassHypotheses,
    *,
    expected_background: float,
    confidence_level: float = 0.95,
    background_error: float = 0.0,
    seed: int = 0,
) -> Gain:
    """What a second score gains over a first in the expected limit, each in six equal-signal categories.

    Args:
        before, after: Scores of the same rows, which trained neither, shape (n,).
        own: Reconstructed masses, GeV.
        yields: As of ``LimitRows``.
        hypotheses: Their windows are what background is scaled to.
        expected_background: Events of the whole sample.
        seed: Of the bootstrap.
    """
    nodes = _Nodes.of(own[is_signal], hypotheses)
    node = nodes.node(own)
    inside = node >= 0
    cells = []
    for score in (before, after):
        category = np.zeros(len(own), np.int64)
        for i in range(len(nodes)):
            here = node == i
            cuts = np.quantile(score[here & is_signal], np.arange(1, _N_JUDGED) / _N_JUDGED)
            category[here] = np.searchsorted(cuts, score[here], side="right")
        cells.append(node * _N_JUDGED + category)
    typical = yields[~is_signal].sum() / np.count_nonzero(~is_signal)

    def mean_log_limit(cell: NDArray, counts: NDArray) -> float:
        tables = []
        for of_class in (is_signal, ~is_signal):
            pick = inside & of_class
            weight = counts[pick] * yields[pick]
            summed = np.bincount(cell[pick], weight, len(nodes) * _N_JUDGED)
            tables.append(summed.reshape(len(nodes), _N_JUDGED))
        signal, background = tables
        scale = expected_background / (counts * yields)[~is_signal].sum()
        background = (background + 0.5 * typical) * scale * nodes.to_window[:, None]
        limits, _, _ = log_expected_limits(
            signal / signal.sum(axis=1, keepdims=True), background,
            confidence_level=confidence_level, background_error=background_error,
        )  # fmt: skip
        return float(limits.mean())

    rng = np.random.default_rng(seed)
    replicates = [np.ones(len(own)), *rng.poisson(1.0, (_N_REPLICATES, len(own))).astype(float)]
    gains = [mean_log_limit(cells[0], r) - mean_log_limit(cells[1], r) for r in replicates]
    return Gain(gains[0], float(np.std(gains[1:], ddof=1)))
