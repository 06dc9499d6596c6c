"""Pulls of the nuisances and their impacts on the fitted strength, for chosen points of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darksieve.errors import InputError, nearest
from darksieve.evaluation.limits.compile import compile_search, nuisance_names
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import CONVERGED, fit
from darksieve.evaluation.limits.envelope import envelope_limits, has_choice
from darksieve.evaluation.limits.problem import Floats
from darksieve.evaluation.limits.response import fitted_covariance


@dataclass(frozen=True, eq=False)
class Impacts:
    """Nuisances of one point, as ``plots.fits.draw_impacts`` takes them.

    Attributes:
        label: Of the point.
        mass: GeV, or None.
        names: Of the nuisances.
        pulls: Fitted values in units of the constraint's width, shape (n,).
        pull_errors: After the fit, from the Hessian, shape (n,).
        impacts: Change of the fitted strength, in units of the parameter, with the nuisance fixed one error
            below and above its fitted value and everything else fitted again, shape (n, 2); NaN where that
            fit fails.
        strength: Best fit, in units of the parameter.
        strength_error: From the Hessian.
    """

    label: str
    mass: float | None
    names: tuple[str, ...]
    pulls: Floats
    pull_errors: Floats
    impacts: Floats
    strength: float
    strength_error: float


def position_of(model: SearchModel, point: str | float) -> int:
    """Position of a point, by its label or by the nearest mass.

    Raises:
        InputError: If there is none that can be fitted.
    """
    from darksieve.evaluation.limits.compile import fitted_points

    usable = fitted_points(model)
    if isinstance(point, str):
        labels = [model.points[i].label for i in usable]
        if point not in labels:
            raise InputError(f"no point {point!r} that can be fitted{nearest(point, labels)}")
        return usable[labels.index(point)]
    with_mass = [(abs(mass - point), i) for i in usable if (mass := model.points[i].mass) is not None]
    if not with_mass:
        raise InputError("no point that can be fitted has a mass; name it by its label")
    return min(with_mass)[1]


def impacts_at(model: SearchModel, points: Sequence[str | float]) -> list[Impacts]:
    """Pulls and impacts at some points; where backgrounds are profiled, with the best fit's family.

    Args:
        model: The document, with data.
        points: Labels, or masses in GeV (the nearest point answers).

    Raises:
        InputError: If the document is blind, a point is not there, or its fit does not converge.
    """
    if model.blind:
        raise InputError("a blind document has no fitted nuisances; impacts need data")
    return [_impacts(model, position_of(model, point)) for point in points]


def _impacts(model: SearchModel, i: int) -> Impacts:
    point = model.points[i]
    choice = envelope_limits(model, points=[i]).choices[0] if has_choice(model, i) else {}
    batch = compile_search(model, points=[i], choice=choice)
    names = tuple(nuisance_names(model, [i], choice))
    best = fit(batch, threads=1)
    if best.status[0] != CONVERGED:
        raise InputError(f"point {point.label!r}: the fit does not converge, so there are no impacts")
    strength, n = batch.strength_index(0), len(names)
    x = best.parameters[0]
    errors = np.sqrt(np.diag(fitted_covariance(batch, 0, x)))
    pulls, pull_errors = x[strength + 1 : strength + 1 + n], errors[strength + 1 :]
    # two problems per nuisance, in which it cannot move
    many = batch.subset(np.zeros(2 * n, np.int64))
    many.structure.start[:, : x.size] = x
    for k in range(n):
        column = strength + 1 + k
        for side, sign in enumerate((-1.0, 1.0)):
            value = np.clip(
                x[column] + sign * pull_errors[k],
                batch.structure.lower[0, column],
                batch.structure.upper[0, column],
            )
            for limits in (many.structure.start, many.structure.lower, many.structure.upper):
                limits[2 * k + side, column] = value
    changes = np.zeros((n, 2))
    if n:
        moved = fit(many, threads=1)
        good = np.array([status == CONVERGED for status in moved.status])
        changes = np.where(good, moved.strength - best.strength[0], np.nan).reshape(n, 2)
    return Impacts(
        label=point.label,
        mass=point.mass,
        names=names,
        pulls=np.array(pulls),
        pull_errors=np.array(pull_errors),
        impacts=changes,
        strength=float(best.strength[0]),
        strength_error=float(errors[strength] / batch.events_per_unit[0]),
    )
