"""What more effort gains, for report and log: limits of choices by mass, and whether their order holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from darksieve.evaluation.report import Cell, Link, Table
from darksieve.workflow.point_pictures import NAMES

N_ROWS = 16  # masses in a table
TOGETHER = "all channels together"
NOT_KNOWN = "no background simulated"
_LINKS = [Link("working_points.json", "working_points.json")]


def comparisons(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What was compared: all channels together first, then each, by what it is called."""
    if document["comparison_together"] is not None:
        yield TOGETHER, document["comparison_together"]
    for channel, entry in document["comparison"].items():
        yield f"channel {channel}", entry


def verdicts(document: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Lines for the log; True where a line is a warning."""
    lines = []
    for title, entry in comparisons(document):
        for order in entry["orders"]:
            lines.append((not order["holds"], f"{title}: {_claim(order)}: {_verdict(order)}"))
        unknown = {NAMES[name]: n for name, n in entry["no_background_simulated"].items() if n}
        for name, n in unknown.items():
            lines.append((True, f"{title}: {name}: {NOT_KNOWN} at {n} of {len(entry['masses'])} masses"))
    return lines


def choice_tables(document: Mapping[str, Any]) -> list[Table]:
    """Whether orders hold, and of each thing that was compared the limits by mass and what is gained."""
    tables = _orders(document)
    for title, entry in comparisons(document):
        tables.append(_by_mass(document, title, entry))
        if len(entry["limits"]) > 1:
            tables.append(_gains(title, entry))
    return tables


def _orders(document: Mapping[str, Any]) -> list[Table]:
    rows: list[list[Cell]] = []
    for title, entry in comparisons(document):
        for order in entry["orders"]:
            verdict = "holds" if order["holds"] else "FAILS"
            rows.append(
                [
                    f"{title}: {_claim(order)}",
                    verdict if order["largest_sigma"] is not None else "not judged",
                    order["judged"],
                    order["worse"],
                    order["largest_sigma"],
                    order["at_mass"],
                    len(order["beyond_2_sigma"]),
                    order["beyond_2_sigma_by_chance"],
                    order["p_value"],
                    order["p_value_adjusted"],
                ]
            )
    if not rows:
        return []
    columns = ["claim", "verdict", "masses", "worse at", "largest excess [σ]", "at [GeV]", "beyond 2 σ"]
    columns += ["by chance", "p of the largest", "p among all claims"]
    note = (
        "Excess: logarithm of the ratio of limits over its error, both choices on the same events and with"
        " the same tail; negative where the choice is better. The p-value is that of the largest excess of"
        " all masses, were both choices equal: neighbours share events. Below 0.05 among all (Holm) a claim"
        " fails."
    )
    return [Table("Is more effort ever worse?", columns, rows, note=note, digits=3, links=_LINKS)]


def _claim(order: Mapping[str, Any]) -> str:
    return f"{NAMES[order['better']]} no worse than {NAMES[order['simpler']]}"


def _verdict(order: Mapping[str, Any]) -> str:
    if order["largest_sigma"] is None:
        return "not judged: no errors, or no background simulated"
    large = order["beyond_2_sigma"]
    text = "holds within errors" if order["holds"] else "FAILS"
    if order["largest_sigma"] <= 0:
        return f"{text}: nowhere worse at {order['judged']} masses"
    text += (
        f" at {order['judged']} masses; largest excess {order['largest_sigma']:.1f} σ at"
        f" {order['at_mass']:.4g} GeV (p = {order['p_value']:.2g} for the largest of all masses,"
        f" {order['p_value_adjusted']:.2g} as one of all orders); beyond 2 σ:"
        f" {len(large)}, by chance {order['beyond_2_sigma_by_chance']:.1f}"
    )
    if large:
        worst = sorted(large, key=lambda one: -one["sigma"])[:4]
        text += "; " + ", ".join(
            f"{one['sigma']:.1f} σ, ratio {one['ratio']:.3f}, at {one['mass']:.4g} GeV" for one in worst
        )
    return text


def _by_mass(document: Mapping[str, Any], title: str, entry: Mapping[str, Any]) -> Table:
    limits, errors = entry["limits"], entry["errors"]
    unit = document["limit_on"]["unit"]
    names = list(limits)
    step = max(len(entry["masses"]) // N_ROWS, 1)
    rows: list[list[Cell]] = []
    for i in range(0, len(entry["masses"]), step):
        row: list[Cell] = [entry["masses"][i]]
        for name in names:
            error = errors.get(name)
            value = limits[name][i]
            if value is None:
                row.append(NOT_KNOWN)
                continue
            has_error = error is not None and error[i] is not None and value
            row.append(value if not has_error else f"{value:.4g} ± {short_error(error[i])}")
        first, last = limits[names[0]][i], limits[names[-1]][i]
        row.append(first / last if first and last else None)
        rows.append(row)
    columns = ["mass [GeV]", *(NAMES[name] for name in names), "gained in all"]
    shown = "" if unit == "1" else f" [{unit}]"
    note = (
        "All choices have one model of the background: counted, and where next to nothing is, that of the"
        " score's tail (rectangular cuts: the share that passes at any mass). Errors are of the simulation,"
        " by event, and half of what families of the tail differ by; choices at one mass count the same"
        " events and have the same family, so their ratios are known better than each of them."
    )
    if document["comparison_together"] is not None and (title == TOGETHER) != document["together"]:
        chosen = "the fit of all channels" if document["together"] else "each channel alone"
        note += f" Cuts are those chosen for {chosen}: here others may be better, and no order is claimed."
    if entry["rectangular"]:
        note += f" Rectangular cuts on {', '.join(entry['rectangular'])}, both ends, by mass."
    return Table(f"Median expected limit{shown} by choice, {title}", columns, rows, note=note, links=_LINKS)


def _gains(title: str, entry: Mapping[str, Any]) -> Table:
    limits = {name: np.array(values, float) for name, values in entry["limits"].items()}
    names = list(limits)
    rows: list[list[Cell]] = []
    for i, name in enumerate(names[:-1]):
        row: list[Cell] = [NAMES[name]]
        for better in dict.fromkeys([names[i + 1], names[-1]]):
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio = limits[name] / limits[better]
            ratio = ratio[np.isfinite(ratio)]
            if not len(ratio):
                row += [None, None]
                continue
            mean = float(np.exp(np.log(ratio).mean()))
            row += [mean, f"{ratio.min():.3g} to {ratio.max():.3g}"]
        if names[i + 1] == names[-1]:
            row += row[1:3]
        rows.append(row)
    columns = ["choice", "over the next, mean", "range", f"over {NAMES[names[-1]]}, mean", "range over them"]
    note = "Ratios of expected limits over all masses, the mean a geometric one: above 1 is what is gained."
    return Table(f"What more effort gains, {title}", columns, rows, note=note, links=_LINKS)


def short_error(error: float) -> str:
    """Two digits of an error, written without an exponent where it is not small: 12, 0.34, 5.6e-08."""
    return f"{float(f'{error:.2g}'):g}"
