"""Categories of candidates by the working points of a run or of a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.signal_shape import position_of
from darksieve.evaluation.working_points import WorkingPoints
from darksieve.workflow.context import Context

Categorise = Callable[[NDArray, Mapping[str, NDArray], NDArray[np.uint64]], NDArray[np.int8]]


def load_choice(context: Context) -> tuple[dict[str, Any], dict[str, Categorise]]:
    """The document of the working points, and for each channel what gives a candidate its category."""
    document = json.loads((context.run / "working_points.json").read_text(encoding="utf-8"))
    return document, {
        channel: categoriser(document["boundaries"].get(channel)) for channel in context.config.channels
    }


def load_points(context: Context) -> list[dict[str, Any]]:
    """Points of ``working_points.json``; none where there is no classifier."""
    document = json.loads((context.run / "working_points.json").read_text(encoding="utf-8"))
    points: list[dict[str, Any]] = document["points"]
    return points


def categoriser(boundaries: Mapping[str, Any] | None) -> Categorise:
    """Category from observable, columns (scores by classifier, variables of cuts) and event key; 0: rejected.

    It is 1 for all where nothing was chosen.
    """
    if boundaries is None or boundaries.get("keeps_all"):
        return lambda observable, scores, key: np.ones(len(observable), np.int8)
    from darksieve.evaluation.gates import Gates

    points = WorkingPoints.from_document({**boundaries, "points": [], "choice": {}})
    squared = position_of(boundaries["observable"]) == "mass_squared"

    gates = None if boundaries["gates"] is None else Gates.from_json(boundaries["gates"])

    def categorise(
        observable: NDArray, columns: Mapping[str, NDArray], key: NDArray[np.uint64]
    ) -> NDArray[np.int8]:
        own = np.sqrt(np.maximum(observable, 0)) if squared else observable
        category = points.category(own, columns[boundaries["classifier"]], key)
        return category if gates is None else category * gates.passed(own, columns, key)

    return categorise
