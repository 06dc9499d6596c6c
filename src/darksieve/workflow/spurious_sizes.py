"""Spurious signals that were measured for the working points, as nuisances of the search document."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.spurious_signal import with_spurious_signal

SIZE = "spurious_signal_size"  # of a row of working_points.json, in events; None where it is not known

log = logging.getLogger("darksieve")


def with_measured_sizes(model: SearchModel, document: Mapping[str, Any]) -> SearchModel:
    """The search document with each measured spurious signal as a nuisance; where there is none it is said.

    Args:
        model: Whose channels are the categories of the working points.
        document: Of ``working_points.json``.
    """
    n = int(document["n_categories"])
    sizes = {
        (row["channel"] if n == 1 else f"{row['channel']}_{row['category']}", row["mass"]): row[SIZE]
        for row in document["points"]
    }
    given: dict[str, dict[str, float]] = {}
    missing: dict[str, int] = {}
    for point in model.points:
        for name in point.channels:
            size = sizes.get((name, point.mass))
            if size is None:
                missing[name] = missing.get(name, 0) + 1
            else:
                given.setdefault(point.label, {})[name] = size
    for name, count in missing.items():
        log.warning(
            "%s: no spurious signal is known at %d of %d masses, where simulation is too thin to measure it;"
            " their limits have no nuisance for it: simulate more, or state a size",
            name,
            count,
            sum(name in point.channels for point in model.points),
        )
    return with_spurious_signal(model, given)
