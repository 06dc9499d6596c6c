"""Gates: cuts on the scores of the classifiers before the last one, chosen together with what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.datasets.folds import choice_fold_of
from darksieve.errors import InputError
from darksieve.evaluation.boundaries import Boundaries, out_of_fold
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.full_limit import FullLimit
from darksieve.evaluation.joint_cuts import choose_jointly
from darksieve.evaluation.objectives import Objective


@dataclass(frozen=True, eq=False)
class Gates:
    """Lower edges of earlier scores, by classifier and by the fold of the event that is asked about.

    Attributes:
        mass_grid: Observable at which edges are tabulated, GeV, shape (n_grid,).
        edges: Classifier -> edges, shape (n_folds, n_grid); minus infinity where nothing is cut.
    """

    mass_grid: NDArray[np.float64]
    edges: Mapping[str, NDArray[np.float64]]

    @property
    def n_folds(self) -> int:
        """Folds of the choice."""
        return len(next(iter(self.edges.values())))

    def passed(
        self, observable: ArrayLike, scores: Mapping[str, NDArray], key: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """Whether each candidate passes every gate, by edges that its event did not choose, shape (n,).

        Args:
            observable: GeV, shape (n,).
            scores: Classifier -> its scores, shape (n,) each; NaN passes no gate that cuts.
            key: Hashes of the event keys, shape (n,).

        Raises:
            InputError: If a classifier's scores are not there.
        """
        fold = choice_fold_of(key, self.n_folds)
        out = np.ones(len(fold), dtype=bool)
        for name, edges in self.edges.items():
            if not np.isfinite(edges).any():
                continue
            if name not in scores:
                raise InputError(f"a cut on {name} comes before this category, and its scores are not there")
            by_fold = [Boundaries(self.mass_grid, one[:, None]) for one in edges]
            out &= out_of_fold(by_fold, observable, scores[name], fold) > 0
        return out

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; None for a classifier that is not cut on."""
        edges = {
            name: values.tolist() if np.isfinite(values).all() else None
            for name, values in self.edges.items()
        }
        return {"mass_grid": self.mass_grid.tolist(), "n_folds": self.n_folds, "edges": edges}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Gates:
        """What ``to_json`` gave."""
        grid = np.asarray(document["mass_grid"], np.float64)
        nothing = np.full((document["n_folds"], len(grid)), -np.inf)
        edges = {
            name: nothing if values is None else np.asarray(values, np.float64)
            for name, values in document["edges"].items()
        }
        return cls(grid, edges)


def choose_gates(
    chooser: Chooser,
    scores: Mapping[str, NDArray],
    objective: Objective,
    n_categories: int,
    *,
    freedoms: Sequence[int] = (1, 2, 4),
) -> Gates:
    """Cuts on all scores but the last that minimise the objective together with categories in the last.

    The gates of a fold are chosen on all other folds. A gate that brings nothing is left open. The categories
    that the search uses are chosen afterwards on what the gates let through.

    Args:
        chooser: Candidates with the last score.
        scores: Classifier -> scores of the candidates that the chooser was made of, in order.
        objective: See ``objectives``.
        n_categories: In the last score.
        freedoms: Numbers of spline coefficients to try.
    """
    walked = objective.shortcut() if isinstance(objective, FullLimit) else objective
    columns = np.stack([np.asarray(values, np.float64) for values in scores.values()], axis=1)
    early = list(scores)[:-1]
    edges = {name: np.full((chooser.rows.n_folds, len(chooser.grid)), -np.inf) for name in early}
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
        )
        for name, found in zip(early, choice.boundaries, strict=False):
            if found is not None:
                edges[name][fold] = found[:, 0]
    # a gate that only some folds want is one that none needs
    closed = {name: np.isfinite(values).all(axis=1).all() for name, values in edges.items()}
    nothing = np.full((chooser.rows.n_folds, len(chooser.grid)), -np.inf)
    return Gates(chooser.grid, {name: v if closed[name] else nothing for name, v in edges.items()})
