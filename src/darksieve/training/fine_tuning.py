"""Fine-tuning: a fitted network goes on with the sensitivity as its loss, kept only where that pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

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
_THRESHOLDS = (0.05, 0.25, 0.5, 0.75)  # of the loss, in signal that lies below
_N_JUDGED = 6  # equal-signal categories, in which scores are judged
_N_CUTS = 40  # common cuts that are tried, of equal steps in signal efficiency
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
    """The network after fine-tuning, and a record that says whether it is ``accepted``.

    Half of the validation part chooses the epoch, the other half accepts or rejects by the expected limit:
    ``expected_limit`` in categories at each mass, ``punzi`` with one cut for all masses, as a trigger has. A
    score that was turned around is rejected whatever its limit.

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
    before = len(network.history_)

    def report(epoch: int, losses: Mapping[str, float]) -> None:
        if on_epoch is not None:
            on_epoch(before + epoch, losses)

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
        on_epoch=report,
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
        common_cut=objective == "punzi",
    )
    auc = float(roc_auc_score(is_signal[judge], tuned.logits(X[judge])))
    record = {
        "loss": objective,
        "n_masses": len(hypotheses.masses),
        "batch_size": batch,
        "n_held_out": int(np.count_nonzero(judge)),
        "gain_log_limit": gain.value,
        "gain_error": gain.error,
        "auc": auc,
        "accepted": gain.accepted and auc > 0.5,
        "epochs": tuned.history_[before:],
    }
    return tuned, record


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
    """Equal-signal thresholds at each mass for the limit; the best common one for Punzi."""
    nodes = _Nodes.of(own[is_signal], hypotheses)
    node = nodes.node(own)
    centres = (nodes.edges[:-1] + nodes.edges[1:]) / 2
    if objective == "expected_limit":
        found = [np.quantile(logits[(node == i) & is_signal], _THRESHOLDS) for i in range(len(nodes))]
        return Boundaries.of(centres, np.array(found))
    yields = rows.yields[fit]
    cuts = np.quantile(logits[is_signal], np.arange(1, _N_CUTS) / _N_CUTS)
    cell = node * _N_CUTS + np.searchsorted(cuts, logits, side="right")
    signal, background = (_above(cell, node >= 0, c, yields, len(nodes)) for c in (is_signal, ~is_signal))
    scale = rows.expected_background / yields[~is_signal].sum() * nodes.to_window[:, None]
    merit = log_punzi(
        signal / signal[:, :1] + 1e-6, background * scale + 1e-3, background_error=options.background_error
    )[0].mean(axis=0)
    best = max(int(np.argmin(merit)), 1)
    return Boundaries.of(centres, np.full((len(centres), 1), cuts[best - 1]))


def _table(cell: NDArray, pick: NDArray, weight: NDArray, n_nodes: int, n_cells: int) -> NDArray[np.float64]:
    """Weight of the picked rows by node and cell of the score, shape (n_nodes, n_cells)."""
    summed: NDArray[np.float64] = np.bincount(cell[pick], weight[pick], n_nodes * n_cells).astype(np.float64)
    return summed.reshape(n_nodes, n_cells)


def _above(
    cell: NDArray, inside: NDArray, of_class: NDArray, weight: NDArray, n_nodes: int
) -> NDArray[np.float64]:
    """Weight above each of the common cuts (the first: everything) at each node, shape (n_nodes, _N_CUTS)."""
    table = _table(cell, inside & of_class, weight, n_nodes, _N_CUTS)
    return np.cumsum(table[:, ::-1], axis=1, dtype=np.float64)[:, ::-1]


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
    common_cut: bool = False,
    seed: int = 0,
) -> Gain:
    """What a second score gains over a first in the expected limit.

    Args:
        before, after: Scores of the same rows, which trained neither, shape (n,).
        own: Reconstructed masses, GeV.
        yields: As of ``LimitRows``.
        hypotheses: Their windows are what background is scaled to.
        expected_background: Events of the whole sample.
        common_cut: With the best cut that is the same at all masses; else in six equal-signal categories at
            each mass.
        seed: Of the bootstrap.
    """
    nodes = _Nodes.of(own[is_signal], hypotheses)
    node = nodes.node(own)
    inside = node >= 0
    typical = yields[~is_signal].sum() / np.count_nonzero(~is_signal)
    cells = [
        _common_cells(score, node, is_signal) if common_cut else _category_cells(score, node, is_signal)
        for score in (before, after)
    ]

    def mean_log_limit(cell: NDArray, counts: NDArray) -> float:
        weight = counts * yields
        scale = expected_background / weight[~is_signal].sum() * nodes.to_window[:, None]
        if common_cut:
            signal, background = (
                _above(cell, inside, c, weight, len(nodes)) for c in (is_signal, ~is_signal)
            )
            signal = signal / signal[:, :1] + 1e-6
            n_in_limit = 1
        else:
            signal, background = (
                _table(cell, inside & c, weight, len(nodes), _N_JUDGED) for c in (is_signal, ~is_signal)
            )
            signal = signal / signal.sum(axis=1, keepdims=True)
            n_in_limit = _N_JUDGED
        background = (background + 0.5 * typical) * scale
        limits, _, _ = log_expected_limits(
            signal.reshape(-1, n_in_limit), background.reshape(-1, n_in_limit),
            confidence_level=confidence_level, background_error=background_error,
        )  # fmt: skip
        return float(limits.reshape(len(nodes), -1).mean(axis=0).min())

    rng = np.random.default_rng(seed)
    replicates = [np.ones(len(own)), *rng.poisson(1.0, (_N_REPLICATES, len(own))).astype(float)]
    gains = [mean_log_limit(cells[0], r) - mean_log_limit(cells[1], r) for r in replicates]
    return Gain(gains[0], float(np.std(gains[1:], ddof=1)))


def _common_cells(score: NDArray, node: NDArray, is_signal: NDArray) -> NDArray[np.intp]:
    cuts = np.quantile(score[is_signal], np.arange(1, _N_CUTS) / _N_CUTS)
    return node * _N_CUTS + np.searchsorted(cuts, score, side="right")


def _category_cells(score: NDArray, node: NDArray, is_signal: NDArray) -> NDArray[np.intp]:
    category = np.zeros(len(score), np.intp)
    for i in np.unique(node[node >= 0]):
        here = node == i
        cuts = np.quantile(score[here & is_signal], np.arange(1, _N_JUDGED) / _N_JUDGED)
        category[here] = np.searchsorted(cuts, score[here], side="right")
    return node * _N_JUDGED + category
