"""How chosen cuts and limits move when resolution, background or efficiency move by their uncertainties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.categories import optimise_quantiles, yields_between
from darksieve.evaluation.ceiling import FineTable
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.full_limit import FullLimit, objective_at
from darksieve.evaluation.objectives import Objective
from darksieve.evaluation.rotation import Choice


@dataclass(frozen=True, eq=False)
class Shift:
    """What one change does, at the nodes.

    Attributes:
        cause: "width", "background" or "efficiency".
        size: Relative change.
        masses: Nodes, GeV, shape (n_nodes,).
        limit: Expected limit at the chosen boundaries over the nominal one, shape (n_nodes,).
        rechosen: The same at boundaries that are chosen anew, same shape.
        kept_signal: Share of the signal that all categories keep, less the nominal one, when chosen anew.
    """

    cause: str
    size: float
    masses: NDArray[np.float64]
    limit: NDArray[np.float64]
    rechosen: NDArray[np.float64]
    kept_signal: NDArray[np.float64]


def shifts_of(
    chooser: Chooser, choices: Sequence[Choice], objective: Objective, sizes: Mapping[str, float]
) -> list[Shift]:
    """Move each cause up and down by its uncertainty.

    A wider peak needs a wider window, which holds more background in proportion.

    Args:
        chooser: The candidates.
        choices: Boundaries by fold, chosen on them.
        objective: What was minimised.
        sizes: Cause -> relative uncertainty; zero leaves one out.

    Raises:
        ValueError: If there is no such cause, or an uncertainty is not in [0, 1).
    """
    unknown = sorted(set(sizes) - {"width", "background", "efficiency"})
    if unknown or any(not 0 <= size < 1 for size in sizes.values()):
        raise ValueError(
            f"relative uncertainties of width, background, efficiency below 1, not {dict(sizes)}"
        )
    walked = objective.shortcut() if isinstance(objective, FullLimit) else objective
    nodes = chooser.nodes
    limit = objective_at(chooser.shortcut, nodes)
    out = []
    for cause, size in sizes.items():
        for signed in (-size, size) if size > 0 else ():
            moved_limits, rechosen_limits, kept = [], [], []
            for tables, choice in zip(chooser.tables, choices, strict=True):
                edges = choice.curves.edges(nodes)
                table = _moved(tables.table, cause, signed)
                again = optimise_quantiles(
                    table, walked, choice.curves.n_categories, chooser.span,
                    equal=choice.curves.coefficients.shape[0] < choice.curves.n_categories,
                    n_coefficients=choice.curves.coefficients.shape[1], start=choice.curves,
                )  # fmt: skip
                nominal = limit(*yields_between(tables.table, edges))
                moved_limits.append(limit(*yields_between(table, edges)) / nominal)
                new_edges = again.edges(nodes)
                rechosen_limits.append(limit(*yields_between(table, new_edges)) / nominal)
                kept.append(new_edges[:, -1] - edges[:, -1])
            means = (np.mean(values, axis=0) for values in (moved_limits, rechosen_limits, kept))
            out.append(Shift(cause, signed, nodes, *means))
    return out


def _moved(table: FineTable, cause: str, size: float) -> FineTable:
    if cause == "efficiency":
        return replace(table, signal=table.signal * (1 + size))
    factor = 1 + size
    return replace(table, background=table.background * factor, event_weight=table.event_weight * factor)
