"""Pulls of the nuisances and their impacts on the fitted strength, for chosen points of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from darksieve.errors import InputError, nearest
from darksieve.evaluation.limits.compile import compile_search, fitted_points, nuisance_names
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import CONVERGED, fit
from darksieve.evaluation.limits.envelope import envelope_limits, has_choice
from darksieve.evaluation.limits.histfactory import Likelihood
from darksieve.evaluation.limits.histfactory_kernel import NORMAL, POISSON, value_and_gradient
from darksieve.evaluation.limits.problem import Floats
from darksieve.evaluation.limits.response import fitted_covariance
from darksieve.evaluation.limits.workspace import Workspace


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


def impacts_of_workspace(workspace: Workspace, label: str = "workspace") -> Impacts:
    """Pulls and impacts of a HistFactory workspace's constrained parameters.

    A pull is the distance from the measured value of the constraint in units of its width (for the Poisson
    constraint of a ``shapesys``, 1/√τ); fits respect the bounds of the parameter of interest.

    Raises:
        InputError: If the fit to the data does not converge.
    """
    w = workspace
    best = Likelihood(w).fit()
    if best.status == "failed":
        raise InputError(f"{label}: the fit does not converge, so there are no impacts")
    x = best.parameters
    normal = w.model.constraint == NORMAL
    constrained = np.flatnonzero(w.free & (normal | (w.model.constraint == POISSON)))
    measured = np.where(normal, w.auxiliary, w.auxiliary / w.model.scale)
    width = np.where(normal, w.model.scale, 1 / np.sqrt(np.maximum(w.model.scale, 1e-300)))
    errors = np.sqrt(np.diag(_covariance(w, x)))
    changes = np.full((constrained.size, 2), np.nan)
    for k, column in enumerate(constrained.tolist()):
        for side, sign in enumerate((-1.0, 1.0)):
            free, start = w.free.copy(), x.copy()
            free[column] = False
            start[column] = np.clip(x[column] + sign * errors[column], w.lower[column], w.upper[column])
            moved = Likelihood(replace(w, free=free, start=start)).fit()
            if moved.status != "failed":
                changes[k, side] = moved.parameters[w.poi] - x[w.poi]
    return Impacts(
        label=label,
        mass=None,
        names=tuple(w.names[i] for i in constrained),
        pulls=((x - measured) / width)[constrained],
        pull_errors=(errors / width)[constrained],
        impacts=changes,
        strength=float(x[w.poi]),
        strength_error=float(errors[w.poi]),
    )


def _covariance(w: Workspace, x: Floats) -> Floats:
    # inverse of the Hessian by differences of the exact gradient; zero for parameters at a bound
    free = np.flatnonzero(w.free & (x > w.lower) & (x < w.upper))
    hessian = np.zeros((free.size, free.size))
    for k, column in enumerate(free):
        step = 1e-5 * max(abs(x[column]), 1e-3)
        ends = []
        for sign in (1.0, -1.0):
            moved, gradient = x.copy(), np.empty(x.size)
            moved[column] += sign * step
            value_and_gradient(w.model, moved, w.counts, w.auxiliary, gradient)
            ends.append(gradient)
        hessian[k] = (ends[0] - ends[1])[free] / (2 * step)
    hessian = 0.5 * (hessian + hessian.T)
    scale = 1 / np.sqrt(np.maximum(np.diag(hessian), 1e-300))
    inverse = np.linalg.pinv(hessian * np.outer(scale, scale), rcond=1e-12, hermitian=True)
    covariance = np.zeros((x.size, x.size))
    covariance[np.ix_(free, free)] = inverse * np.outer(scale, scale)
    return covariance


def position_of(model: SearchModel, point: str | float) -> int:
    """Position of a point, by its label or by the nearest mass.

    Raises:
        InputError: If there is none that can be fitted.
    """
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
