"""What stands beside the working points of a run: simpler choices, robustness, the landscape of one cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import SearchConfig
from darksieve.errors import InputError
from darksieve.evaluation.choice_order import Order, holm
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.comparisons import (
    ChoiceYields,
    Comparison,
    compare_channels,
    compare_choices,
    count_choices,
    global_thresholds,
)
from darksieve.evaluation.full_limit import FullLimit
from darksieve.evaluation.landscape import cut_landscape
from darksieve.evaluation.objectives import Objective
from darksieve.evaluation.robustness import shifts_of
from darksieve.evaluation.rotation import Choice
from darksieve.evaluation.scored_rows import ScoredCandidates
from darksieve.workflow.table import CandidateTable

LANDSCAPE_MASSES, LANDSCAPE_CUTS = 150, 50


@dataclass(frozen=True, eq=False)
class ChannelChoices:
    """What every choice gives in one channel.

    Attributes:
        chooser: Its candidates.
        yields: Choice -> its yields for one unit of the parameter.
        thresholds: Of the global threshold, by fold; empty without a classifier.
    """

    chooser: Chooser
    yields: Mapping[str, ChoiceYields]
    thresholds: tuple[float, ...]


def choices_of(
    chooser: Chooser,
    table: CandidateTable,
    thresholds: Sequence[Choice] | None,
    categories: Sequence[Choice] | None,
    unit_yield: float,
    rectangular: Sequence[str],
    uncut: Chooser | None = None,
) -> ChannelChoices:
    """Count all choices in one channel.

    Args:
        chooser: Candidates whose score is cut on.
        table: Candidates that rectangular cuts are made on: those of ``uncut``, or of ``chooser``.
        thresholds: One by mass, by fold; None without a classifier.
        categories: Of the score, by fold.
        unit_yield: Signal events for one unit of the parameter at full efficiency.
        rectangular: Names of the variables that are cut on.
        uncut: All candidates of the channel, where ``chooser`` has those that earlier cuts left: what no
            classifier and rectangular cuts are counted with.

    Raises:
        InputError: If a variable is not finite for a candidate that counts.
    """
    variables = [
        finite_variable(table, name, "working_points.rectangular").astype(np.float64) for name in rectangular
    ]
    cut = global_thresholds(chooser) if thresholds is not None else ()
    on_variables = np.stack(variables, axis=1) if variables else None
    counted = count_choices(
        chooser,
        global_cut=cut,
        thresholds=thresholds,
        categories=categories,
        rectangular=on_variables if uncut is None else None,
    )
    if uncut is not None:
        simple = count_choices(uncut, rectangular=on_variables)
        counted = simple | {name: one for name, one in counted.items() if name not in simple}
    yields = {name: ChoiceYields.of(one, unit_yield) for name, one in counted.items()}
    return ChannelChoices(chooser, yields, cut)


def add_comparisons(
    document: dict[str, Any],
    channels: Mapping[str, ChannelChoices],
    rectangular: Sequence[str],
    *,
    together: bool,
) -> None:
    """Compare the choices in each channel, and in the fit of several.

    Only what was chosen for a fit can be held to an order there: a cut for several channels together may be
    worse for one of them than another.

    Args:
        document: ``comparison`` and ``comparison_together`` are set.
        channels: By name.
        rectangular: Names of the variables that were cut on.
        together: Whether several channels were chosen for their fit.
    """
    entries: list[tuple[dict[str, Any], Sequence[Order]]] = []
    for name, one in channels.items():
        chooser = one.chooser
        found = compare_choices(
            one.yields, chooser.masses, chooser.limit, chooser.shortcut, seed=chooser.seed
        )
        entry = _comparison_entry(found, rectangular) | {"global_thresholds": list(one.thresholds)}
        document["comparison"][name] = entry
        entries.append((entry, found.orders if len(channels) == 1 or not together else ()))
    if len(channels) > 1:
        # channels that are fitted together share one model: that of the first says how much a yield is worth
        first = next(iter(channels.values())).chooser
        of_all = compare_channels(
            {name: (one.chooser.masses, one.yields) for name, one in channels.items()},
            first.limit,
            first.shortcut,
            seed=first.seed,
        )
        document["comparison_together"] = _comparison_entry(of_all, rectangular)
        entries.append((document["comparison_together"], of_all.orders if together else ()))
    adjusted = iter(holm([order.p_value for _, orders in entries for order in orders]))
    for entry, orders in entries:
        entry["orders"] = [order.to_json(next(adjusted)) for order in orders]


def _comparison_entry(found: Comparison, rectangular: Sequence[str]) -> dict[str, Any]:
    return {
        "masses": found.masses.tolist(),
        "limits": {name: _numbers(values) for name, values in found.limits.items()},
        "errors": {name: _numbers(values) for name, values in found.errors.items()},
        "ratio_errors": {name: _numbers(values) for name, values in found.ratio_errors.items()},
        "loss_errors": {name: _numbers(values) for name, values in found.loss_errors.items()},
        "no_background_simulated": {
            name: int(np.isnan(values).sum()) for name, values in found.limits.items()
        },
        "rectangular": list(rectangular),
    }


def finite_variable(table: CandidateTable, name: str, place: str) -> NDArray[np.float32]:
    """A variable of the candidates to cut on.

    Raises:
        InputError: If it is not finite for a candidate that counts.
    """
    values = table.variables[name]
    bad = ~np.isfinite(values) & np.isfinite(table.label)
    if bad.any():
        raise InputError(
            f"{place}: {name!r} is not finite for {int(bad.sum())} candidates; select them away, or name"
            " another variable"
        )
    return values


def robustness_entry(
    config: SearchConfig, chooser: Chooser, choices: Sequence[Choice], objective: Objective
) -> list[dict[str, Any]]:
    """How choice and limit move with the uncertainties of resolution, background and efficiency."""
    sizes = {
        "width": config.scan.nuisances.width,
        "background": config.working_points.background_uncertainty,
        "efficiency": config.scan.nuisances.efficiency,
    }
    entries = []
    for shift in shifts_of(chooser, choices, objective, sizes):
        entries.append(
            {
                "cause": shift.cause,
                "size": shift.size,
                "limit_ratio_mean": float(np.nanmean(shift.limit)),
                "limit_ratio_largest": float(shift.limit[np.nanargmax(np.abs(shift.limit - 1))]),
                "limit_ratio_rechosen_mean": float(np.nanmean(shift.rechosen)),
                "kept_signal_shift_mean": float(np.mean(shift.kept_signal)),
                "kept_signal_shift_largest": float(np.max(np.abs(shift.kept_signal))),
            }
        )
    return entries


def landscape_entry(
    scores: ScoredCandidates,
    chooser: Chooser,
    thresholds: Sequence[Choice],
    categories: Sequence[Choice],
    full_limit: FullLimit,
    unit_yield: float,
) -> dict[str, Any]:
    """Expected limit of one cut by mass and share of the signal kept, and where the choices lie in it."""
    step = max(len(chooser.masses) // LANDSCAPE_MASSES, 1)
    masses = chooser.masses[::step]
    sigma = np.interp(masses, chooser.masses, chooser.half_width) / full_limit.peak_sigma
    found = cut_landscape(
        scores, masses, sigma, n_cuts=LANDSCAPE_CUTS, full_limit=full_limit, mass_range=chooser.mass_range,
        peak_sigma=full_limit.peak_sigma, tails=chooser.tails,
    )  # fmt: skip
    # the tightest cut that is counted at each mass: all below it are modelled
    counted = np.where(found.is_modelled, np.inf, found.kept_signal).min(axis=1)

    def kept(choices: Sequence[Choice]) -> NDArray[np.float64]:
        return np.asarray(np.mean([choice.curves.edges(masses) for choice in choices], axis=0), np.float64)

    return {
        "masses": masses.tolist(),
        "kept_signal": found.kept_signal.tolist(),
        "expected_limit": [_numbers(row / unit_yield, 5) for row in found.value],
        "modelled_below": [float(min(share, 1.0)) for share in counted],
        "threshold": kept(thresholds)[:, 0].tolist(),
        "categories": kept(categories).tolist(),
    }


def _numbers(values: NDArray, digits: int = 7) -> list[float | None]:
    """Finite numbers with some significant digits, None for the others."""
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values]
