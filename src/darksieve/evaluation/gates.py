"""Gates: cuts before the last score, chosen together with what follows.

On the scores of earlier classifiers, and on variables of a preselection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.datasets.folds import choice_fold_of
from darksieve.errors import InputError
from darksieve.evaluation.boundaries import Boundaries, out_of_fold
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.full_limit import FullLimit
from darksieve.evaluation.joint_cuts import choose_jointly
from darksieve.evaluation.objectives import Objective

Keep = Literal["above", "below"]


@dataclass(frozen=True, eq=False)
class CutVariable:
    """A variable of a preselection.

    Attributes:
        values: Of the candidates, finite, shape (n,).
        keep: The side of its edge that is kept.
        low: The edge never lies below; None for no such end.
        high: The edge never lies above.
    """

    values: NDArray
    keep: Keep = "above"
    low: float | None = None
    high: float | None = None

    @property
    def column(self) -> NDArray[np.float64]:
        """The larger, the more is kept, shape (n,)."""
        values = np.asarray(self.values, np.float64)
        return values if self.keep == "above" else -values

    @property
    def ends(self) -> tuple[float, float]:
        """Between which the lower edge of ``column`` lies."""
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        return (low, high) if self.keep == "above" else (-high, -low)


@dataclass(frozen=True, eq=False)
class Gates:
    """Edges of scores and variables, by the fold of the event that is asked about.

    Attributes:
        mass_grid: Observable at which edges are tabulated, GeV, shape (n_grid,).
        edges: Classifier or variable -> edges, shape (n_folds, n_grid); infinite where nothing is cut.
        variables: Those that are no scores, and which side of the edge is kept; of scores what is above.
    """

    mass_grid: NDArray[np.float64]
    edges: Mapping[str, NDArray[np.float64]]
    variables: Mapping[str, Keep] = field(default_factory=dict)

    @property
    def n_folds(self) -> int:
        """Folds of the choice."""
        return len(next(iter(self.edges.values())))

    def passed(
        self, observable: ArrayLike, columns: Mapping[str, NDArray], key: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """Whether each candidate passes every gate, by edges that its event did not choose, shape (n,).

        Args:
            observable: GeV, shape (n,).
            columns: Classifier or variable -> its values, shape (n,) each; NaN passes no gate that cuts.
            key: Hashes of the event keys, shape (n,).

        Raises:
            InputError: If a column is not there.
        """
        fold = choice_fold_of(key, self.n_folds)
        out = np.ones(len(fold), dtype=bool)
        for name, edges in self.edges.items():
            if not np.isfinite(edges).any():
                continue
            if name not in columns:
                raise InputError(f"a cut on {name} comes before this category, and its values are not there")
            sign = -1.0 if self.variables.get(name) == "below" else 1.0
            by_fold = [Boundaries(self.mass_grid, sign * one[:, None]) for one in edges]
            # in single precision, as a run keeps its candidates: the same wherever it is asked
            values = sign * np.asarray(columns[name], np.float32).astype(np.float64)
            out &= out_of_fold(by_fold, observable, values, fold) > 0
        return out

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; None for what is not cut on."""
        edges = {
            name: values.tolist() if np.isfinite(values).all() else None
            for name, values in self.edges.items()
        }
        return {
            "mass_grid": self.mass_grid.tolist(),
            "n_folds": self.n_folds,
            "edges": edges,
            "variables": dict(self.variables),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Gates:
        """What ``to_json`` gave."""
        grid = np.asarray(document["mass_grid"], np.float64)
        nothing = np.full((document["n_folds"], len(grid)), -np.inf)
        edges = {
            name: nothing if values is None else np.asarray(values, np.float64)
            for name, values in document["edges"].items()
        }
        return cls(grid, edges, document.get("variables", {}))


def choose_gates(
    chooser: Chooser,
    scores: Mapping[str, NDArray],
    objective: Objective,
    n_categories: int,
    *,
    variables: Mapping[str, CutVariable] | None = None,
    freedoms: Sequence[int] = (1, 2, 4),
) -> Gates:
    """Cuts on variables and all scores but the last that minimise the objective with categories in the last.

    The gates of a fold are chosen on all other folds. A gate that brings nothing is left open. The categories
    that the search uses are chosen afterwards on what the gates let through.

    Args:
        chooser: Candidates with the last score.
        scores: Classifier -> scores of the candidates that the chooser was made of, in order.
        objective: See ``objectives``.
        n_categories: In the last score.
        variables: Name -> variable of the preselection, of the same candidates.
        freedoms: Numbers of spline coefficients to try.
    """
    walked = objective.shortcut() if isinstance(objective, FullLimit) else objective
    given = variables or {}
    *before, last = scores
    early = [*given, *before]
    columns = np.stack(
        [one.column for one in given.values()]
        + [np.asarray(scores[name], np.float64) for name in (*before, last)],
        axis=1,
    )
    ends = [one.ends for one in given.values()] + [(-np.inf, np.inf)] * len(scores)
    # what is not cut on has the loosest edge that is allowed
    loosest = dict(zip(early, [low for low, _ in ends], strict=False))
    edges = {name: np.full((chooser.rows.n_folds, len(chooser.grid)), loosest[name]) for name in early}
    wanted: dict[str, list[int]] = {name: [] for name in early}
    for fold in range(chooser.rows.n_folds):
        choice = choose_jointly(
            chooser.rows.without(fold),
            columns,
            chooser.nodes,
            chooser.node_width,
            chooser.mass_range,
            walked,
            n_categories,
            chooser.grid,
            chooser.span,
            freedoms=freedoms,
            ends=ends,
        )
        for name, found in zip(early, choice.boundaries, strict=False):
            if found is not None:
                edges[name][fold] = found[:, 0]
                wanted[name].append(fold)
    for name, values in edges.items():  # a gate that only some folds want is one that none needs
        if len(wanted[name]) < chooser.rows.n_folds:
            values[:] = loosest[name]
    for name, one in given.items():
        edges[name] = edges[name] if one.keep == "above" else -edges[name]
    return Gates(chooser.grid, edges, {name: one.keep for name, one in given.items()})
