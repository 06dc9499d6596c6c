"""What a choice is worth beside simpler ones: no classifier, rectangular cuts, one global threshold.

All of them are counted with one model of the background (``category_counts``), so none is rewarded for a
window that happens to hold no simulated event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.categories import yields_between
from darksieve.evaluation.category_counts import Counted
from darksieve.evaluation.choice_order import Order, judge_order
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.full_limit import objective_at
from darksieve.evaluation.objectives import Objective, make_objective
from darksieve.evaluation.quoting import spread_of
from darksieve.evaluation.rectangular_cuts import rectangular_categories
from darksieve.evaluation.rotation import Choice, Tables
from darksieve.evaluation.tails import FAMILIES, tail_ratios

CHOICES = ("no_classifier", "rectangular", "global_threshold", "threshold", "categories")
ORDERED = (("global_threshold", "threshold"), ("threshold", "categories"))
_N_GLOBAL = 200  # thresholds of the global scan
_NOTHING = 1.0  # background of a channel without signal, which takes no part


@dataclass(frozen=True, eq=False)
class Comparison:
    """Expected limits of choices that grow in effort, every event counted by what other events chose.

    Errors are from a bootstrap by event, with half the range of the families of the tail in quadrature;
    choices that are compared count the same events, and have the same family.

    Attributes:
        masses: GeV, shape (n_masses,).
        limits: Choice (of ``CHOICES``, as far as made) -> expected limit, shape (n_masses,); NaN where
            simulation says nothing of its background.
        errors: Choice -> error of its limit, same shape.
        ratio_errors: Choice -> relative error of its limit over that of the next better choice.
        loss_errors: Choice -> relative error of its limit over that of the last choice.
        orders: What must not be worse than what (``ORDERED``), and whether it is.
    """

    masses: NDArray[np.float64]
    limits: Mapping[str, NDArray[np.float64]]
    errors: Mapping[str, NDArray[np.float64]]
    ratio_errors: Mapping[str, NDArray[np.float64]]
    loss_errors: Mapping[str, NDArray[np.float64]]
    orders: tuple[Order, ...]


@dataclass(frozen=True, eq=False)
class ChoiceYields:
    """Yields that a limit is made of, signal for one unit of the parameter.

    Attributes:
        signal: Shape (n_masses, n_categories).
        background: Same shape.
        drawn_signal: By replicate, shape (n_replicates, n_masses, n_categories).
        drawn_background: Same shape.
        tails: Background by family of the tail, shape (n_families, n_masses, n_categories).
        known: Masses at which simulation tells the background, shape (n_masses,).
    """

    signal: NDArray[np.float64]
    background: NDArray[np.float64]
    drawn_signal: NDArray[np.float64]
    drawn_background: NDArray[np.float64]
    tails: NDArray[np.float64]
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, counted: Counted, unit: float) -> ChoiceYields:
        """Of one channel; the unit is signal events for one of the parameter at full efficiency."""
        (signal, background), (drawn_signal, drawn_background) = counted.yields(), counted.replicate_yields()
        # where a category is counted the bootstrap says how well: families matter where it is modelled
        tails = np.where(counted.is_modelled, counted.tails, background)
        tails = np.broadcast_to(tails, (len(FAMILIES), *signal.shape))
        known = np.asarray(~counted.unknown.any(axis=1), np.bool_)
        return cls(unit * signal, background, unit * drawn_signal, drawn_background, tails, known)

    def placed(self, at: NDArray, n_masses: int) -> ChoiceYields:
        """Among more masses, of which this channel sees those at given positions."""

        def put(values: NDArray, nothing: float) -> NDArray:
            out = np.full((*values.shape[:-2], n_masses, values.shape[-1]), nothing)
            out[..., at, :] = values
            return out

        known = np.ones(n_masses, bool)
        known[at] = self.known
        return ChoiceYields(
            put(self.signal, 0.0), put(self.background, _NOTHING), put(self.drawn_signal, 0.0),
            put(self.drawn_background, _NOTHING), put(self.tails, _NOTHING), known,
        )  # fmt: skip


def joined(channels: Sequence[ChoiceYields]) -> ChoiceYields:
    """Channels at the same masses as categories of one fit."""
    first, *others = ((c.signal, c.background, c.drawn_signal, c.drawn_background, c.tails) for c in channels)
    parts = [np.concatenate(values, axis=-1) for values in zip(first, *others, strict=True)]
    signal, background, drawn_signal, drawn_background, tails = parts
    known = np.all([c.known for c in channels], axis=0)
    return ChoiceYields(signal, background, drawn_signal, drawn_background, tails, known)


@dataclass(frozen=True, eq=False)
class _Judged:
    """Limits of one choice: quoted, by replicate and by family of the tail, the latter two relative."""

    limit: NDArray  # (n_masses,)
    drawn: NDArray  # (n_replicates, n_masses)
    families: NDArray  # (n_families, n_masses)

    @classmethod
    def of(cls, yields: ChoiceYields, masses: NDArray, limit: Objective, shortcut: Objective) -> _Judged:
        full, fast = objective_at(limit, masses), objective_at(shortcut, masses)
        nominal = fast(yields.signal, yields.background)
        drawn = np.zeros((0, len(masses)))
        if len(yields.drawn_signal):
            drawn = fast(yields.drawn_signal, yields.drawn_background) / nominal
        quoted = np.where(yields.known, full(yields.signal, yields.background), np.nan)
        return cls(quoted, drawn, tail_ratios(yields.signal, yields.background, yields.tails, fast))

    def spread(self) -> NDArray[np.float64]:
        """Relative error of the limit, shape (n_masses,)."""
        return np.hypot(spread_of(self.drawn), _half_range(self.families))

    def spread_over(self, other: _Judged) -> NDArray[np.float64]:
        """Relative error of its limit over that of another choice."""
        return np.hypot(spread_of(self.drawn / other.drawn), self.family_spread(other))

    def family_spread(self, other: _Judged) -> NDArray[np.float64]:
        """The part of it by which families of the tail differ."""
        return _half_range(self.families / other.families)


def _half_range(ratios: NDArray) -> NDArray[np.float64]:
    """Half of what families differ by, relative; 0 where there is none."""
    return np.nan_to_num(0.5 * np.log(ratios.max(axis=0) / ratios.min(axis=0)))


def choose_global_threshold(tables: Tables, objective: Objective) -> float:
    """One score threshold for all masses, that minimises the mean logarithm of an objective over the nodes.

    Args:
        tables: Of the events that choose.
        objective: Of yields of shape (..., n_nodes, 1).
    """
    table, quantiles = tables.table, tables.quantiles
    thresholds = np.unique(np.quantile(quantiles.scores, np.linspace(0, 1, _N_GLOBAL)))
    kept = quantiles.kept(table.masses, np.tile(thresholds, (len(table.masses), 1)))
    judge = objective_at(objective, table.masses)
    values = np.array([judge(*yields_between(table, one[:, None])) for one in kept.T])
    with np.errstate(divide="ignore"):
        logs = np.log(values)
    return float(thresholds[int(np.argmin(np.where(np.isfinite(logs), logs, 50.0).mean(axis=1)))])


def global_thresholds(chooser: Chooser) -> tuple[float, ...]:
    """The threshold of Punzi's improved formula, by fold, chosen on the others."""
    return tuple(choose_global_threshold(tables, make_objective("punzi")) for tables in chooser.tables)


def count_choices(
    chooser: Chooser,
    *,
    thresholds: Sequence[Choice] | None = None,
    categories: Sequence[Choice] | None = None,
    global_cut: Sequence[float] = (),
    rectangular: NDArray | None = None,
) -> dict[str, Counted]:
    """Yields of no classifier, rectangular cuts, a global Punzi threshold, a threshold by mass, categories.

    Args:
        chooser: Of the classifier's score.
        thresholds: Its threshold by mass, by fold; absent where there is no classifier, as the categories.
        categories: Its categories, by fold.
        global_cut: Its threshold for all masses, by fold (``global_thresholds``).
        rectangular: Variables for rectangular cuts of all candidates that were given, shape (n, d); both
            directions of each are tried. Absent: no such line.
    """
    counted: dict[str, Counted] = {"no_classifier": chooser.count_all()}
    if rectangular is not None and rectangular.shape[1]:
        counted["rectangular"] = chooser.count_categories(*rectangular_categories(chooser, rectangular), 1)
    if thresholds is not None and categories is not None:
        on_score = {
            "global_threshold": chooser.count_thresholds(global_cut),
            "threshold": chooser.count(thresholds),
            "categories": chooser.count(categories),
        }
        # where one of them is modelled all are: what is compared is not how model and count differ
        beyond = np.logical_or.reduce([one.beyond.any(axis=1) for one in on_score.values()])
        counted |= {name: one.modelled(beyond) for name, one in on_score.items()}
    return counted


def compare_choices(
    yields: Mapping[str, ChoiceYields],
    masses: NDArray[np.float64],
    limit: Objective,
    shortcut: Objective,
    *,
    seed: int = 0,
) -> Comparison:
    """Limits of choices, in units of the parameter.

    Args:
        yields: Choice, growing in effort -> what it gives.
        masses: GeV.
        limit: Expected limit that is quoted.
        shortcut: A fast one in which limits have the same ratios, for errors.
        seed: Of the judgement of orders.
    """
    judged = {name: _Judged.of(one, masses, limit, shortcut) for name, one in yields.items()}
    limits = {name: one.limit for name, one in judged.items()}
    names = list(judged)
    last = judged[names[-1]]
    errors, ratio_errors, loss_errors = {}, {}, {}
    if len(last.drawn):
        errors = {name: one.spread() * limits[name] for name, one in judged.items()}
        ratio_errors = {a: judged[b].spread_over(judged[a]) for a, b in pairwise(names)}
        loss_errors = {name: last.spread_over(judged[name]) for name in names[:-1]}
    orders = tuple(
        judge_order(
            simpler, better, masses, limits[better] / limits[simpler],
            judged[better].drawn / judged[simpler].drawn, judged[better].family_spread(judged[simpler]),
            seed=seed,
        )
        for simpler, better in ORDERED if better in judged
    )  # fmt: skip
    return Comparison(masses, limits, errors, ratio_errors, loss_errors, orders)


def compare_channels(
    channels: Mapping[str, tuple[NDArray[np.float64], Mapping[str, ChoiceYields]]],
    limit: Objective,
    shortcut: Objective,
    *,
    seed: int = 0,
) -> Comparison:
    """The same for channels that are fitted together, at all masses that any of them sees.

    Args:
        channels: Channel -> its masses and what each choice gives there; choices that all of them make are
            compared.
        limit: Of the categories of all channels together.
        shortcut: A fast one in which limits have the same ratios.
        seed: Of the judgement of orders.
    """
    masses = np.unique(np.concatenate([own for own, _ in channels.values()]))
    names = [name for name in CHOICES if all(name in yields for _, yields in channels.values())]
    together = {
        name: joined(
            [
                yields[name].placed(np.searchsorted(masses, own), len(masses))
                for own, yields in channels.values()
            ]
        )
        for name in names
    }
    return compare_choices(together, masses, limit, shortcut, seed=seed)
