"""Pictures of the working points of a run: boundaries, efficiencies, landscape, losses of simpler choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.plots import choices, efficiency
from darksieve.evaluation.plots.axes import MassAxis
from darksieve.evaluation.plots.sculpting import draw_sculpting
from darksieve.evaluation.plots.style import Drawing, Stamp
from darksieve.evaluation.sculpting import WORRYING
from darksieve.workflow.pictures import Pictures

NAMES = {
    "no_classifier": "no classifier",
    "rectangular": "rectangular cuts",
    "global_threshold": "global threshold (Punzi)",
    "threshold": "threshold by mass",
    "categories": "categories",
}


def draw_working_points(
    document: Mapping[str, Any], channel: str, stamp: Stamp, axis: MassAxis
) -> dict[str, Drawing]:
    """Boundaries, efficiency and share of the ceiling against mass, by name of the picture."""
    points = [p for p in document["points"] if p["channel"] == channel]
    if not points:
        return {}
    n = int(document["n_categories"])
    masses = np.array([p["mass"] for p in points[::n]])

    def column(name: str, category: int) -> NDArray[np.float64]:
        return _numbers([p.get(name) for p in points[category::n]])

    names = [f"category {c + 1}" if n > 1 else "threshold" for c in range(n)]
    boundaries = {name: column("score_low", c) for c, name in enumerate(names)}
    kept = {name: column("signal_efficiency", c) for c, name in enumerate(names)}
    if n > 1:
        kept = {"all": np.sum(list(kept.values()), axis=0), **kept}
    out = {
        "boundaries": efficiency.draw_boundaries(masses, boundaries, stamp=stamp, axis=axis),
        "efficiency": efficiency.draw_signal_efficiency(masses, kept, stamp=stamp, axis=axis),
    }
    percent = column("percent_of_ceiling", 0)
    if np.isfinite(percent).any():
        label = f"{n} categories" if n > 1 else "threshold"
        errors = column("percent_of_ceiling_error", 0)
        out["ceiling"] = efficiency.draw_percent_of_ceiling(
            masses,
            {label: percent},
            stamp=stamp,
            errors={label: errors} if np.isfinite(errors).any() else None,
            axis=axis,
        )
    return out


def draw_choices(
    document: Mapping[str, Any], channel: str, stamp: Stamp, axis: MassAxis
) -> dict[str, Drawing]:
    """The landscape of one cut and what simpler choices lose, by name of the picture."""
    out = {}
    landscape = document["landscape"].get(channel)
    if landscape is not None:
        out["landscape"] = choices.draw_landscape(
            landscape["masses"],
            landscape["kept_signal"],
            np.array([_numbers(row) for row in landscape["expected_limit"]]),
            stamp=stamp,
            modelled_below=landscape["modelled_below"],
            threshold=landscape["threshold"],
            categories=landscape["categories"],
            axis=axis,
        )
    compared = document["comparison"].get(channel)
    if compared is not None:
        out |= draw_comparison(compared, stamp, axis)
    return out


def draw_comparison(compared: Mapping[str, Any], stamp: Stamp, axis: MassAxis) -> dict[str, Drawing]:
    """What simpler choices lose, by name of the picture; empty where there is nothing to compare."""
    if len(compared["limits"]) < 2:
        return {}
    limits = {name: _numbers(values) for name, values in compared["limits"].items()}
    best = list(limits)[-1]
    losses = {NAMES[name]: values / limits[best] for name, values in limits.items() if name != best}
    errors = {
        NAMES[name]: _numbers(compared["loss_errors"][name]) * losses[NAMES[name]]
        for name in limits
        if name in compared["loss_errors"] and name != best
    }
    drawing = choices.draw_losses(
        compared["masses"], losses, stamp=stamp, errors=errors, axis=axis, best=NAMES[best]
    )
    return {"losses": drawing}


def draw_channel_sculpting(
    document: Mapping[str, Any], channel: str, stamp: Stamp, axis: MassAxis
) -> dict[str, Drawing]:
    """Spurious signal against mass, by name of the picture; empty where simulation measures none."""
    entry = document["sculpting"].get(channel)
    if entry is None:
        return {}
    together = {name: _numbers(values) for name, values in entry["together"].items()}
    if not np.isfinite(together["in_sigma"]).any():
        return {}
    curves = {"after the cuts": together["in_sigma"], "made by the cuts": together["difference_in_sigma"]}
    errors = {
        "after the cuts": together["in_sigma_error"],
        "made by the cuts": together["difference_in_sigma_error"],
    }
    drawing = draw_sculpting(together["masses"], curves, errors, stamp=stamp, worrying=WORRYING, axis=axis)
    return {"sculpting": drawing}


def draw_point_pictures(pictures: Pictures, document: Mapping[str, Any]) -> None:
    """Choices of each channel and what they reach against mass."""
    stamp = pictures.stamp(shows_data=False)
    for channel in pictures.config.channels:
        drawn = draw_working_points(document, channel, stamp, pictures.axis)
        drawn |= draw_choices(document, channel, stamp, pictures.axis)
        drawn |= draw_channel_sculpting(document, channel, stamp, pictures.axis)
        for name, drawing in drawn.items():
            pictures.keep(f"{name}_{channel}", drawing)
    if document["comparison_together"] is not None:
        for name, drawing in draw_comparison(document["comparison_together"], stamp, pictures.axis).items():
            pictures.keep(f"{name}_of_all_channels", drawing)


def _numbers(values: list[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
