"""What the simulated samples are worth: weights and effective sizes by mass window."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from darksieve.config import SearchConfig
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Events, Role
from darksieve.datasets.weights import MassWindows, PolicyEffect, effective_events, effective_events_in
from darksieve.evaluation.report import Cell, Table

N_WINDOWS = 10  # of the scan, of equal width

log = logging.getLogger("darksieve")


def scan_windows(config: SearchConfig) -> MassWindows:
    """The scan's range in windows of equal width."""
    low, high = config.scan.range
    return MassWindows(config.scan.observable, tuple(np.linspace(low, high, N_WINDOWS + 1).tolist()))


def windows_of_policy(config: SearchConfig, sample: Sample) -> MassWindows | None:
    """Where the effect of a sample's policy for negative weights is summed up; None if it has none."""
    has_effect = sample.weight is not None and sample.negative_weights != "error"
    return scan_windows(config) if has_effect else None


def describe_weights(
    events: Events, windows: MassWindows, effects: Mapping[str, PolicyEffect]
) -> dict[str, dict[str, Any]]:
    """Sample -> rows, weights and effective events in total and by window, and what its policy changed.

    Signal is in windows of its generated mass, background of the observable.
    """
    described = {}
    for sample in events.samples:
        own = events.from_sample(sample.name)
        weight = own.weight
        mass = own.mass if sample.role is Role.SIGNAL else own[windows.column].astype(np.float64)
        rows, sums = windows.sums(mass, np.ones(len(own))), windows.sums(mass, weight)
        effective = effective_events_in(windows, mass, weight)
        described[sample.name] = {
            "rows": len(own),
            "sum_of_weights": float(weight.sum()),
            "effective_events": effective_events(weight),
            "windows": [
                {
                    "low": windows.edges[i],
                    "high": windows.edges[i + 1],
                    "rows": int(rows[i]),
                    "sum_of_weights": float(sums[i]),
                    "effective_events": float(effective[i]),
                }
                for i in range(windows.n)
            ],
        }
        effect = effects.get(sample.name)
        if effect is not None and effect.n_negative:
            described[sample.name]["negative_weights"] = {
                "policy": effect.policy,
                "rows": effect.n_rows,
                "negative_rows": effect.n_negative,
                "change_of_sum": effect.change,
                "change_by_window": list(effect.changes),
            }
    return described


def log_effects(effects: Mapping[str, PolicyEffect]) -> None:
    """A line for each sample that has negative weights."""
    for name, effect in effects.items():
        if effect.n_negative:
            log.info("sample %s: %s", name, effect)


def tables_of_weights(metrics: Mapping[str, Any]) -> list[Table]:
    """Tables of the report: effective sizes, negative weights, corrections; those that there are."""
    tables = []
    weights: Mapping[str, Any] = metrics.get("weights", {})
    if weights:
        windows = next(iter(weights.values()))["windows"]
        columns = ["sample", "rows", "sum of weights", "effective events"]
        columns += [f"{w['low']:.3g}–{w['high']:.3g}" for w in windows]
        rows: list[list[Cell]] = [
            [name, entry["rows"], entry["sum_of_weights"], round(entry["effective_events"])]
            + [round(w["effective_events"]) for w in entry["windows"]]
            for name, entry in weights.items()
        ]
        tables.append(
            Table(
                "Effective sample size, (Σw)²/Σw², in all and by mass window (GeV)",
                columns,
                rows,
                note="Signal in windows of its generated mass, background of the observable.",
            )
        )
    negative: list[list[Cell]] = []
    for name, entry in weights.items():
        given = entry.get("negative_weights")
        if given is not None:
            known = [value for value in given["change_by_window"] if value is not None]
            largest = max(known, key=abs) if known else None
            numbers = [given["rows"], given["negative_rows"], given["change_of_sum"], largest]
            negative.append([name, given["policy"], *numbers])
    if negative:
        columns = ["sample", "policy", "rows", "negative", "change of the sum", "largest in a window"]
        tables.append(Table("Negative weights, and what their policy changed", columns, negative))
    corrections: list[list[Cell]] = [
        [name, c["table"], c["source"], sample, own["mean_factor"], own["rows_outside"], c["n_variations"],
         c["fraction_of_variance_kept"]]
        for name, c in metrics.get("corrections", {}).items()
        for sample, own in c["samples"].items()
    ]  # fmt: skip
    if corrections:
        columns = ["correction", "table", "source", "sample", "mean factor", "outside", "nuisances"]
        tables.append(Table("Corrections of the simulated weights", [*columns, "variance kept"], corrections))
    return tables
