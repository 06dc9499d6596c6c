"""Points of a search document that are counts, answered by ``marginal``: no fits, no toys."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any

from scipy.optimize import brentq

from darksieve.errors import InputError
from darksieve.evaluation.limits.compile import fitted_points
from darksieve.evaluation.limits.counting import significance_of
from darksieve.evaluation.limits.curve import LimitPoint
from darksieve.evaluation.limits.document import CountingSignal, KnownBackground, Point, SearchModel
from darksieve.evaluation.limits.marginal import LEAST_BACKGROUND, CountedChannel, MarginalCounts
from darksieve.evaluation.limits.point_answers import Asked
from darksieve.evaluation.limits.search_answer import PORTION, events_in_window


def check_marginal_search(model: SearchModel, source: str) -> None:
    """InputError unless every point to be fitted consists of counts over known backgrounds.

    Their nuisances scale the signal's yields, or are the backgrounds' own uncertainties.
    """
    for i in fitted_points(model):
        point = model.points[i]
        for name, signal in point.channels.items():
            backgrounds = model.background_of(point, name)
            known = len(backgrounds) == 1 and isinstance(backgrounds[0], KnownBackground)
            if isinstance(signal, CountingSignal) and known and not signal.spurious_signal > 0:
                continue
            raise InputError(
                f"{source}: point {point.label!r}, channel {name!r}: marginal limits are for counts over"
                " known backgrounds, without spurious signal; use --method auto"
            )
    for nuisance in model.nuisances:
        if nuisance.on != "yield":
            raise InputError(
                f"{source}: nuisance {nuisance.name!r} is on the {nuisance.on}: marginal limits average over"
                " those on the yield, and a background's own 'uncertainty'; use --method toys"
            )


def answer_marginally(
    model: SearchModel, labels: Sequence[str], asked: Asked, *, skip: Container[str] = ()
) -> Iterator[list[LimitPoint]]:
    """Points of the answer, portion by portion, in the document's order."""
    fitted = set(fitted_points(model))
    points = []
    for i, point in enumerate(model.points):
        if labels[i] in skip:
            continue
        if i in fitted:
            points.append(_answer(model, point, labels[i], asked))
        else:
            points.append(LimitPoint(label=labels[i], mass=point.mass, status=point.status or "no_signal"))
        if len(points) == PORTION:
            yield points
            points = []
    yield points


def _answer(model: SearchModel, point: Point, label: str, asked: Asked) -> LimitPoint:
    names = [name for name, signal in point.channels.items() if signal.yield_per_unit > 0]
    if not names:
        return LimitPoint(label=label, mass=point.mass, status="no_signal")
    problem = MarginalCounts(tuple(_counted(model, point, name) for name in names))
    try:
        limits = [problem.limit(None, asked.confidence_level, level) for level in asked.levels]
        values: dict[str, Any] = {"expected": asked.band(limits)}
        strength = max(asked.cls_at or 0.0, 0.0)
        if asked.cls_at is not None:
            values["cls_expected"] = asked.band([problem.cls(strength, None, lv) for lv in asked.levels])
        if not model.blind:
            counts = [round(events_in_window(model, point, name) or 0.0) for name in names]
            p0 = problem.p0(counts, limits[len(limits) // 2])
            values |= {
                "observed": problem.limit(counts, asked.confidence_level),
                "best_fit": _best_fit(problem, counts),
                "p0": p0,
                "significance": significance_of(p0),
            }
            if asked.cls_at is not None:
                values["cls_observed"] = problem.cls(strength, counts)
    except ValueError as error:
        return LimitPoint(label=label, mass=point.mass, method="marginal", status="failed", note=str(error))
    return LimitPoint(label=label, mass=point.mass, method="marginal", status="converged", **values)


def _counted(model: SearchModel, point: Point, name: str) -> CountedChannel:
    signal = point.channels[name]
    (background,) = model.background_of(point, name)
    assert isinstance(background, KnownBackground)
    here = model.yield_nuisances(name)
    sizes = []
    for nuisance in model.nuisances:
        size = signal.sizes.get(nuisance.name, nuisance.size) if nuisance.name in here else None
        sizes.append(0.0 if size is None else float(size))
    return CountedChannel(
        signal=float(signal.yield_per_unit),
        background=float(background.yield_),
        uncertainty=float(background.uncertainty),
        constraint=background.constraint,
        sizes=tuple(sizes),
    )


def _best_fit(problem: MarginalCounts, counts: Sequence[int]) -> float:
    """Strength that fits the counts best at the nominal expectations; negative for a deficit."""
    pairs = [(c.signal, max(c.background, LEAST_BACKGROUND)) for c in problem.channels]
    if len(pairs) == 1:
        signal, background = pairs[0]
        return (counts[0] - background) / signal
    total = sum(signal for signal, _ in pairs)

    def slope(strength: float) -> float:
        return sum(n * s / (strength * s + b) for n, (s, b) in zip(counts, pairs, strict=True)) - total

    lowest = -min(b / s for s, b in pairs)
    if sum(counts) == 0 or slope(lowest * (1 - 1e-9)) <= 0:
        return lowest
    return float(brentq(slope, lowest * (1 - 1e-9), (sum(counts) + 1) / total + 1))
