"""The report's section on working points: simpler choices beside the one made, robustness, honesty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from darksieve.evaluation.report import Cell, Figure, Link, ReportSection, Table
from darksieve.workflow.choice_report import choice_tables, short_error

N_ROWS = 16  # masses in a table
PICTURES = (
    ("boundaries_*", "Score boundaries"),
    ("efficiency_*", "Signal efficiency"),
    ("ceiling_*", "Share of the score's own ceiling"),
    ("landscape_*", "Landscape of one cut"),
    ("losses_*", "What a simpler choice loses"),
    ("sculpting_*", "Spurious signal: what the fit finds in background alone"),
    ("spectrum_*", "Spectrum after selection"),
)
_FACTS = (
    "mean_optimism",
    "mean_optimism_error",
    "freedom_in_mass",
    "largest_tail_spread",
    "more_simulation",
)


def working_points_section(document: Mapping[str, Any], figures: Sequence[Figure]) -> ReportSection:
    """The section from ``working_points.json`` and the pictures that were drawn of it."""
    if document["points"]:
        paragraphs = [
            "Boundaries are chosen in rotation: every simulated event is counted by boundaries that other"
            " events chose. The ceiling is the expected limit of the score used in full. Optimism is"
            " the limit over the one that would have been quoted had events been counted where they chose."
            " The tail spread is by how much the limits differ between families that continue the background"
            " beyond the simulation; more simulation is how many times more background events every category"
            " needs to be judged without its neighbours in mass."
        ]
    else:
        paragraphs = ["There is no classifier: every selected candidate is kept."]
    facts: dict[str, Cell] = {}
    for channel, entry in document["choice"].items():
        for key in _FACTS:
            value = entry.get(key)
            if isinstance(value, list):
                value = ", ".join(map(str, value))
            facts[f"{channel}: {key.replace('_', ' ')}"] = value
        facts[f"{channel}: points by status"] = _statuses(document, channel)
    tables = choice_tables(document)
    tables += [_robustness(channel, rows) for channel, rows in document["robustness"].items() if rows]
    for channel, entry in document["sculpting"].items():
        tables.append(_sculpting(channel, entry))
        facts[f"{channel}: spurious signal"] = _verdict(entry)
    links = [Link("working_points.json", "working_points.json")]
    return ReportSection(
        "working_points", paragraphs=paragraphs, facts=facts, tables=tables, figures=figures, links=links
    )


def _statuses(document: Mapping[str, Any], channel: str) -> str:
    states = [p["status"] for p in document["points"] if p["channel"] == channel]
    names, counts = np.unique(states, return_counts=True)
    return ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in zip(names, counts, strict=True))


def _robustness(channel: str, entries: Sequence[Mapping[str, Any]]) -> Table:
    rows: list[list[Cell]] = [
        [
            f"{entry['cause']} {100 * entry['size']:+.3g} %",
            entry["limit_ratio_mean"],
            entry["limit_ratio_largest"],
            entry["limit_ratio_rechosen_mean"],
            entry["kept_signal_shift_mean"],
            entry["kept_signal_shift_largest"],
        ]
        for entry in entries
    ]
    columns = [
        "moved by",
        "limit / nominal, mean",
        "furthest from 1",
        "chosen anew, mean",
        "shift of the signal kept, mean",
        "largest",
    ]
    return Table(f"If the simulation is wrong by its uncertainties, channel {channel}", columns, rows)


def _sculpting(channel: str, entry: Mapping[str, Any]) -> Table:
    together = entry["together"]
    step = max(len(together["masses"]) // N_ROWS, 1)
    pairs = (
        ("in_sigma", "in_sigma_error"),
        ("uncut_in_sigma", None),
        ("difference_in_sigma", "difference_in_sigma_error"),
        ("of_limit", "of_limit_error"),
    )
    rows: list[list[Cell]] = []
    for i in range(0, len(together["masses"]), step):
        row: list[Cell] = [together["masses"][i]]
        for name, error in pairs:
            value = together[name][i]
            stated = value is not None and error is not None
            row.append(f"{value:.3g} ± {short_error(together[error][i])}" if stated else value)
        rows.append(row)
    columns = ["mass [GeV]", "after the cuts [σ]", "a blind cut [σ]", "by the cuts [σ]", "over the limit"]
    note = (
        "In standard deviations σ of the fitted signal, all categories together, at the luminosity of the"
        " search; errors are of the finite simulation. A blind cut keeps as much background whatever its"
        " mass; what is due to the cuts is the difference, on the same events. Empty: too few simulated"
        " events."
    )
    for one in entry["observable"]:
        if one["ks_distance"] is not None:
            note += (
                f" Category {one['category']}: Kolmogorov-Smirnov distance {one['ks_distance']:.3f} to the"
                f" other background, {one['noise']:.3f} by chance."
            )
    title = f"Signal that the fit finds in background alone, channel {channel}"
    links = [Link("working_points.json", "working_points.json")]
    return Table(title, columns, rows, note=note, links=links)


def _verdict(entry: Mapping[str, Any]) -> str:
    worrying = sum(len(masses) for masses in entry["worrying"])
    n = sum(len(one["masses"]) for one in entry["categories"])
    if entry["not_measured"] == n:
        return "not measured: simulation is too thin"
    text = f"beyond 0.5 σ and three errors at {worrying} of {n} points"
    if worrying:
        text = f"WARNING: {text}"
    return text + (f"; not measured at {entry['not_measured']}" if entry["not_measured"] else "")
