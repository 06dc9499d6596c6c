"""The entry of one classifier in ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError
from darksieve.evaluation.distances import sculpting
from darksieve.evaluation.separation import auc_with_error, background_efficiency, weighted_auc


class ClassifierScores(Protocol):
    """What the metrics need of scores; ``darksieve.models.scores.Scores`` has it. Arrays of shape (n,)."""

    @property
    def key(self) -> NDArray: ...
    @property
    def sample(self) -> NDArray: ...
    @property
    def label(self) -> NDArray: ...
    @property
    def weight(self) -> NDArray: ...
    @property
    def observable(self) -> NDArray: ...
    @property
    def fold(self) -> NDArray: ...
    @property
    def score(self) -> NDArray: ...


def classifier_metrics(
    scores: ClassifierScores,
    *,
    n_bootstrap: int = 50,
    seed: int = 0,
    processes: Mapping[str, str] | None = None,
    within: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """The entry of one classifier in ``metrics.json``, out of fold as the scores are.

    Args:
        scores: Signal (label 1) and background (label 0) are used, other rows are left out.
        n_bootstrap: Replicates of the errors, by event.
        seed: Of the bootstrap.
        processes: Sample -> process, where several samples are one process; by default each is its own.
        within: Rows that the scan looks at, shape (n,): of each process it is also told what is left there.

    Returns:
        auc, auc_error, folds, background_efficiency (by signal efficiency) and its errors, by_process (the
        same for each background process alone, its share of all background, and with ``within`` what is left
        ``in_scan``), sculpting. Numbers that do not exist are None.

    Raises:
        InputError: As for ``weighted_auc``.
    """
    label = np.asarray(scores.label, np.float64)
    columns = {
        "score": np.asarray(scores.score, np.float64),
        "label": label,
        "weight": np.asarray(scores.weight, np.float64),
        "key": np.asarray(scores.key, np.uint64),
    }
    fold = np.asarray(scores.fold)
    names, of_name = np.unique(np.asarray(scores.sample), return_inverse=True)
    process = np.array([(processes or {}).get(str(name), str(name)) for name in names] or [""])[of_name]
    options: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed}

    def entry(rows: NDArray) -> dict[str, Any]:
        picked = {name: values[rows] for name, values in columns.items()}
        auc = auc_with_error(**picked, **options)
        left = background_efficiency(**picked, **options)
        return {
            "auc": auc.value,
            "auc_error": _or_none(auc.error),
            "background_efficiency": {name: _or_none(m.value) for name, m in left.items()},
            "background_efficiency_error": {name: _or_none(m.error) for name, m in left.items()},
        }

    def in_scan(of_process: NDArray, of_signal: NDArray) -> dict[str, Any]:
        found: dict[str, Any] = {"n_candidates": int(of_process.sum())}
        weight = columns["weight"]
        if weight[of_process].sum() > 0 and weight[of_signal].sum() > 0:
            both = entry(np.flatnonzero(of_process | of_signal))
            return found | {name: both[name] for name in both if name.startswith("background_efficiency")}
        return found | {"background_efficiency": {}, "background_efficiency_error": {}}

    used = (label == 0) | (label == 1)
    result = entry(np.flatnonzero(used))
    result["folds"] = []
    for k in np.unique(fold[used]):
        rows = np.flatnonzero(used & (fold == k))
        picked = {name: values[rows] for name, values in columns.items() if name != "key"}
        try:
            result["folds"].append({"fold": int(k), "auc": weighted_auc(**picked)})
        except InputError:
            result["folds"].append({"fold": int(k), "auc": None})
    background_sum = columns["weight"][label == 0].sum()
    result["by_process"] = {}
    for name in np.unique(process[label == 0]):
        this = (label == 0) & (process == name)
        result["by_process"][str(name)] = {
            **entry(np.flatnonzero(this | (label == 1))),
            "share_of_background": float(columns["weight"][this].sum() / background_sum),
            "n_candidates": int(this.sum()),
        }
        if within is not None:
            result["by_process"][str(name)]["in_scan"] = in_scan(this & within, within & (label == 1))
    result["sculpting"] = [
        {
            "signal_efficiency": s.signal_efficiency,
            "ks_distance": _or_none(s.distance),
            "noise": _or_none(s.noise),
            "threshold": _or_none(s.threshold),
        }
        for s in sculpting(columns["score"], label, scores.observable, columns["weight"])
    ]
    return result


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
