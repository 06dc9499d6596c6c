"""Limits of a search document's points, in portions, so that a scan can be watched and interrupted."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any, cast

import numpy as np

from darksieve.errors import InputError
from darksieve.evaluation.limits.compile import compile_search, fitted_points
from darksieve.evaluation.limits.counting import significance_of
from darksieve.evaluation.limits.curve import GoodnessOfFit, LimitPoint, Numbers, Status
from darksieve.evaluation.limits.document import (
    BinnedData,
    CountingData,
    CountingSignal,
    KnownBackground,
    Point,
    SearchModel,
    UnbinnedData,
    kept_bins,
)
from darksieve.evaluation.limits.engine import LimitArrays, limits_of_search
from darksieve.evaluation.limits.envelope import envelope_limits, has_choice
from darksieve.evaluation.limits.envelope_toys import EnvelopeToys
from darksieve.evaluation.limits.goodness import goodness_of_fits
from darksieve.evaluation.limits.point_answers import Asked, exact_point, number, p0_from_toys, with_toys
from darksieve.evaluation.limits.search_toys import SearchToys

PORTION = 250  # points solved between two looks at the clock


def answer_search(
    model: SearchModel,
    labels: Sequence[str],
    asked: Asked,
    *,
    stream: int,
    skip: Container[str] = (),
) -> Iterator[list[LimitPoint]]:
    """Points of the answer, portion by portion, in the document's order.

    Args:
        model: The document, its files read.
        labels: Of the points in the answer, one per point of the document.
        asked: What is wanted.
        stream: Number of the document in the call: its toys have their own stream.
        skip: Labels of points that are not wanted.
    """
    fitted = {i for i in fitted_points(model) if labels[i] not in skip}
    for begin in range(0, len(model.points), PORTION):
        portion = range(begin, min(begin + PORTION, len(model.points)))
        to_fit = [i for i in portion if i in fitted]
        several = [i for i in to_fit if has_choice(model, i)]
        single = [i for i in to_fit if i not in set(several)]
        solved: dict[int, tuple[LimitArrays, int, str | None]] = {}
        tests: list[GoodnessOfFit | None] = []
        if single:
            arrays = limits_of_search(
                model,
                points=single,
                look=lambda batch, tests=tests: tests.extend(goodness_of_fits(batch)),  # type: ignore[misc]
                **_options(asked),
            )
            solved |= {i: (arrays, r, None) for r, i in enumerate(single)}
        if several:
            found = envelope_limits(model, points=several, **_options(asked))
            solved |= {i: (found.limits, r, found.families[r]) for r, i in enumerate(several)}
            for i, choice in zip(several, found.choices, strict=True):
                tests += goodness_of_fits(compile_search(model, points=[i], choice=choice, unbinned=False))
        goodness = dict(zip([*single, *several], tests, strict=True))
        points = []
        for i in portion:
            point = model.points[i]
            if labels[i] in skip:
                continue
            if i not in solved:
                status: Status = point.status or "no_signal"
                points.append(LimitPoint(label=labels[i], mass=point.mass, status=status))
                continue
            answered = _answer_point(model, i, labels[i], solved[i], asked, stream)
            if answered.succeeded and goodness[i] is not None:
                answered = answered.model_copy(update={"goodness_of_fit": goodness[i]})
            points.append(answered)
            if answered.method == "toys":  # they take long: an interruption loses this one at most
                yield points
                points = []
        yield points


def _options(asked: Asked) -> dict[str, Any]:
    return {
        "confidence_level": asked.confidence_level,
        "test_statistic": asked.test_statistic,
        "bands": asked.bands,
        "cls_at": asked.cls_at,
    }


def _answer_point(
    model: SearchModel,
    i: int,
    label: str,
    solved: tuple[LimitArrays, int, str | None],
    asked: Asked,
    stream: int,
) -> LimitPoint:
    arrays, r, family = solved
    point = model.points[i]
    status = cast(Status, arrays.status[r])
    numbers = Numbers(
        observed=number(arrays.observed[r]),
        expected=asked.band(arrays.expected[r]),
        cls_observed=number(arrays.cls_observed[r]),
        cls_expected=asked.band(arrays.cls_expected[r]),
    )
    n_background = float(arrays.background_near_peak[r])
    better = asked.method != "asymptotic" and (asked.method != "auto" or asked.wants_better(n_background))
    count = as_count(model, point) if better and asked.method != "toys" else None
    if count is not None:
        observed, signal, background = count
        return exact_point(
            label,
            point.mass,
            asked,
            observed=observed,
            signal=signal,
            background=background,
            asymptotic=None if status == "failed" else numbers,
        )
    if status == "failed":
        note = "the fit did not converge, with iminuit either"
        return LimitPoint(label=label, mass=point.mass, status=status, note=note)
    low, high = arrays.best_fit_error[r]
    blind = model.blind
    answered = LimitPoint(
        label=label,
        mass=point.mass,
        observed=numbers.observed,
        expected=numbers.expected,
        cls_observed=numbers.cls_observed,
        cls_expected=numbers.cls_expected,
        best_fit=None if blind else number(arrays.best_fit[r]),
        best_fit_error=None if blind else (number(low), number(high)),
        p0=None if blind else number(arrays.p0[r]),
        significance=None if blind else number(arrays.significance[r]),
        method="asymptotic",
        status=status,
        background_family=family,
        note=_note(model, point),
    )
    if not better:
        return answered
    seed = np.random.SeedSequence(asked.seed, spawn_key=(3, stream, i))
    throw = SearchToys if family is None else EnvelopeToys
    source = throw(model, i, seed=seed, test_statistic=asked.test_statistic)
    by_toys = with_toys(answered, source, asked, asymptotic_beside=True)
    if blind or by_toys.status == "failed" or not (answered.best_fit or 0.0) > 0:
        return by_toys
    p0 = p0_from_toys(*source.discovery_statistics(asked.n_toys))
    return (
        by_toys if p0 is None else by_toys.model_copy(update={"p0": p0, "significance": significance_of(p0)})
    )


def _note(model: SearchModel, point: Point) -> str | None:
    empty = [name for name in point.channels if events_in_window(model, point, name) == 0]
    if model.blind or not empty or isinstance(point.channels[empty[0]], CountingSignal):
        return None
    return f"no events in the window of {', '.join(empty)}: the background is fitted to nothing there"


def events_in_window(model: SearchModel, point: Point, channel: str) -> float | None:
    """Observed events in the kept part of a point's window; None while blind."""
    data, signal = model.channel(channel).data, point.channels[channel]
    if isinstance(data, CountingData):
        return data.counts[0]
    window = signal.window
    exclude = () if isinstance(signal, CountingSignal) else signal.exclude
    if isinstance(data, UnbinnedData) and window is not None:
        values = np.asarray(data.values, np.float64)
        inside = (values >= window[0]) & (values <= window[1])
        for low, high in exclude:
            inside &= (values < low) | (values > high)
        return float(inside.sum())
    if isinstance(data, BinnedData) and data.counts is not None and window is not None:
        return float(np.asarray(data.counts)[kept_bins(np.asarray(data.edges), window, exclude)].sum())
    return None


def as_count(model: SearchModel, point: Point) -> tuple[float | None, float, float] | None:
    """(count, signal per unit, background) of a point that is one count without nuisances, else None."""
    if len(point.channels) != 1:
        return None
    [(name, signal)] = point.channels.items()
    backgrounds = model.background_of(point, name)
    if not isinstance(signal, CountingSignal) or len(backgrounds) != 1 or not signal.yield_per_unit > 0:
        return None
    if signal.spurious_signal > 0 or any(signal.sizes.values()):
        return None
    background = backgrounds[0]
    if not isinstance(background, KnownBackground) or background.uncertainty > 0:
        return None
    if any(
        _acts(nuisance.channels, nuisance.size, name)
        for nuisance in model.nuisances
        if nuisance.name not in signal.sizes  # there it is zero
    ):
        return None
    return events_in_window(model, point, name), signal.yield_per_unit, background.yield_


def _acts(channels: tuple[str, ...] | None, size: float | None, name: str) -> bool:
    return bool(size) and (channels is None or name in channels)


def check_exact_search(model: SearchModel, source: str) -> None:
    """InputError unless every point to be fitted is one count over a known background, without nuisances."""
    for i in fitted_points(model):
        if as_count(model, model.points[i]) is None:
            raise InputError(
                f"{source}: point {model.points[i].label!r}: exact limits are for one count over a known "
                "background without nuisances; use --method toys or auto"
            )
