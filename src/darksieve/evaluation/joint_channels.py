"""Channels jointly: their cuts interact through the one strength that all of them measure.

Each turn optimises one channel's boundaries with the expected yields of all others in the same objective,
until no channel moves. Where every background is large the information of the channels just adds up and the
first turn is the last; where few events are expected it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.categories import yields_between
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.full_limit import FullLimit, objective_at
from darksieve.evaluation.objectives import Objective
from darksieve.evaluation.rotation import Choice, choose

_LEAST_GAIN = 1e-4  # of the mean log objective, that another turn has to bring


@dataclass(frozen=True, eq=False)
class WithOthers:
    """An objective of one channel in which the others' yields stand beside its own.

    Attributes:
        objective: Of all categories of all channels together.
        unit: Signal events for one unit of the strength at full efficiency of this channel.
        others: Masses to signal (for unit strength) and background of the other channels, shape
            (n_masses, n_other_categories).
    """

    objective: Objective
    unit: float
    others: Callable[[NDArray], tuple[NDArray, NDArray]]

    def at(self, masses: NDArray) -> Objective:
        """The objective for yields of shape (..., n_masses, n_categories)."""
        together = objective_at(self.objective, masses)
        signal, background = self.others(masses)

        def judge(s: NDArray, b: NDArray) -> NDArray:
            shape = (*s.shape[:-1], signal.shape[-1])
            all_s = np.concatenate([self.unit * s, np.broadcast_to(signal, shape)], axis=-1)
            all_b = np.concatenate([b, np.broadcast_to(background, shape)], axis=-1)
            return together(all_s, all_b)

        return judge


def choose_channels(
    choosers: Mapping[str, Chooser],
    objective: Objective,
    n_categories: int,
    units: Mapping[str, float],
    *,
    n_turns: int = 4,
    freedoms: Sequence[int] = (1, 2, 4, 7),
) -> dict[str, list[Choice]]:
    """Boundaries of all channels that minimise one objective together, by channel and fold.

    Args:
        choosers: Channel -> its candidates; folds are those of the events, the same in all channels.
        objective: See ``objectives``.
        n_categories: Of each channel.
        units: Channel -> signal events for one unit of the strength at full efficiency.
        n_turns: At most so many turns of each channel.
        freedoms: Numbers of spline coefficients to try.

    Raises:
        ValueError: If the channels have different numbers of folds.
    """
    n_folds = {chooser.rows.n_folds for chooser in choosers.values()}
    if len(n_folds) != 1:
        raise ValueError(f"channels with different numbers of folds: {sorted(n_folds)}")
    walked = objective.shortcut() if isinstance(objective, FullLimit) else objective
    out: dict[str, list[Choice]] = {name: [] for name in choosers}
    for fold in range(n_folds.pop()):
        found = _choose_fold(choosers, fold, walked, n_categories, units, n_turns, freedoms)
        for name, choice in found.items():
            out[name].append(choice)
    return out


def _choose_fold(
    choosers: Mapping[str, Chooser],
    fold: int,
    objective: Objective,
    n_categories: int,
    units: Mapping[str, float],
    n_turns: int,
    freedoms: Sequence[int],
) -> dict[str, Choice]:
    found: dict[str, Choice] = {}
    for name, chooser in choosers.items():
        found[name] = choose(
            chooser.tables[fold], objective, n_categories, chooser.grid, chooser.span, freedoms=freedoms
        )
    if len(choosers) == 1:
        return found
    before: dict[str, float] = {}
    for _ in range(n_turns):
        gained = 0.0
        for name, chooser in choosers.items():
            others = {other: found[other] for other in choosers if other != name}

            def yields(masses: NDArray, others: dict[str, Choice] = others) -> tuple[NDArray, NDArray]:
                parts = [
                    _yields_at(choosers[other], fold, choice, units[other], masses)
                    for other, choice in others.items()
                ]
                return np.concatenate([s for s, _ in parts], axis=1), np.concatenate(
                    [b for _, b in parts], axis=1
                )

            together = WithOthers(objective, units[name], yields)
            found[name] = choose(
                chooser.tables[fold], together, n_categories, chooser.grid, chooser.span, freedoms=freedoms
            )
            gained = max(gained, before.get(name, np.inf) - found[name].value)
            before[name] = found[name].value
        if gained < _LEAST_GAIN:
            break
    return found


def _yields_at(
    chooser: Chooser, fold: int, choice: Choice, unit: float, masses: NDArray
) -> tuple[NDArray, NDArray]:
    """Yields of a channel's categories at any masses; nothing beyond its own range."""
    nodes = chooser.nodes
    signal, background = yields_between(chooser.tables[fold].table, choice.curves.edges(nodes))
    sees = ((masses >= chooser.span[0] - 1e-9) & (masses <= chooser.span[1] + 1e-9))[:, None]
    at_s, at_b = (
        np.stack([np.interp(masses, nodes, column) for column in values.T], axis=1)
        for values in (unit * signal, background)
    )
    return np.where(sees, at_s, 0.0), np.where(sees, at_b, 1.0)
