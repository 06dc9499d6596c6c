"""From a search document to the batch of fit problems that the engine solves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError
from darksieve.evaluation.limits.assembly import (
    Component,
    Entry,
    make_layout,
    make_morphs,
    make_rows,
)
from darksieve.evaluation.limits.components import (
    CountingSignal,
    KnownBackground,
    PeakingCrystalBall,
    TemplateBackground,
    TemplateSignal,
)
from darksieve.evaluation.limits.document import Background, SearchModel, Signal
from darksieve.evaluation.limits.parameters import make_structure
from darksieve.evaluation.limits.problem import ADDITIVE, LINEAR, LOG_NORMAL, ProblemBatch
from darksieve.evaluation.limits.windows import MAX_BINS, ChannelRows, make_spans

BINS_PER_SIGMA = 24.0  # bias of the expected limit below 1e-4 (measured)


def compile_search(
    model: SearchModel,
    *,
    points: Sequence[int] | None = None,
    choice: Mapping[str, int] | int = 0,
    unbinned: bool = True,
    morphing: Literal["quadratic", "linear"] = "quadratic",
    bins_per_sigma: float = BINS_PER_SIGMA,
    threads: int | None = None,
) -> ProblemBatch:
    """The fit problems of a search document's points, templates and all.

    Args:
        points: Positions in ``model.points``; None for all that can be fitted (see ``fitted_points``).
        choice: Which of several backgrounds each channel takes, by its name or for all.
        unbinned: Whether data given as values are fitted with the exact unbinned likelihood. The Asimov sets
            are on fine bins either way.
        morphing: How templates follow nuisances on mean and width: to second order, or linear.
        bins_per_sigma: Bins for data given as values.
        threads: At most so many.

    Raises:
        InputError: If a point cannot be fitted; names the point, the channel and what would work.
    """
    chosen = fitted_points(model) if points is None else list(points)
    names = [channel.name for channel in model.channels]
    nuisances = nuisance_names(model, chosen, choice)
    entries = [[_entry(model, i, name, nuisances, choice) for name in names] for i in chosen]
    for i, of_point in zip(chosen, entries, strict=True):
        total = sum(e.signal.yield_per_unit for e in of_point if e is not None)
        if not total > 0:
            raise InputError(
                f"point {model.points[i].label}: no channel has signal; give it the status 'no_signal'"
            )
    rows = [ChannelRows(channel, bins_per_sigma) for channel in model.channels]
    curved = morphing == "quadratic"
    layout = make_layout(entries, len(names))
    morphs = make_morphs(model.nuisances, nuisances, names, entries)
    if np.any(morphs.narrower <= 0):
        raise InputError("a linear nuisance on sigma needs a size below 1; take 'log_normal'")
    signals = [[None if entry is None else entry.signal for entry in of_point] for of_point in entries]
    measured = {
        (p, c): (entry.background.yield_ / entry.background.uncertainty) ** 2
        for p, of_point in enumerate(entries)
        for c, entry in enumerate(of_point)
        if entry is not None and isinstance(entry.background, KnownBackground) and layout.n_linear[p, c] == 1
    }
    exact = unbinned and any(channel.unbinned for channel in rows)
    bins, events = (
        make_rows(
            make_spans(rows, signals, layout.sigma, events=kind, auxiliary=measured),
            layout,
            entries,
            morphs,
            curved,
            threads,
        )
        if kind <= exact
        else None
        for kind in (False, True)
    )
    if bins is None:
        raise ValueError("no rows")
    structure = make_structure(
        bins, layout, entries, model.nuisances, nuisances, names, morphs, curved, model.blind
    )
    return ProblemBatch(
        structure=structure,
        rows=bins,
        events=events,
        events_per_unit=layout.share.sum(axis=1),
        blind=model.blind,
        labels=tuple(model.points[i].label for i in chosen),
        masses=np.array([np.nan if (m := model.points[i].mass) is None else m for i in chosen], np.float64),
    )


def fitted_points(model: SearchModel) -> list[int]:
    """Positions of the points that have signal and are not marked otherwise."""
    return [
        i
        for i, point in enumerate(model.points)
        if point.status is None and any(s.yield_per_unit > 0 for s in point.channels.values())
    ]


def _background(model: SearchModel, point: int, channel: str, choice: Mapping[str, int] | int) -> Background:
    options = model.background_of(model.points[point], channel)
    wanted = choice if isinstance(choice, int) else choice.get(channel, 0)
    return options[min(wanted, len(options) - 1)]


def _own_nuisance(channel: str) -> str:
    return f"background of {channel}"


def spurious_nuisance(channel: str) -> str:
    """Name of the nuisance behind a channel's ``spurious_signal``."""
    return f"spurious signal of {channel}"


def nuisance_names(
    model: SearchModel, points: Sequence[int], choice: Mapping[str, int] | int
) -> dict[str, int]:
    """Every nuisance of some points by its name, with its position among the parameters θ."""
    names: dict[str, int] = {nuisance.name: 0 for nuisance in model.nuisances}
    for i in points:
        for channel, signal in model.points[i].channels.items():
            background = _background(model, i, channel, choice)
            if signal.spurious_signal > 0:
                names[spurious_nuisance(channel)] = 0
            for peak in getattr(background, "peaking", ()):
                if peak.uncertainty > 0:
                    names[peak.name] = 0
            if _constrained(background):
                names[_own_nuisance(channel)] = 0
    return {name: t for t, name in enumerate(names)}


def _constrained(background: Background) -> bool:
    if isinstance(background, TemplateBackground):
        return background.uncertainty != "free" and background.uncertainty > 0
    return (
        isinstance(background, KnownBackground)
        and background.uncertainty > 0
        and background.constraint != "gamma"
    )


def _entry(
    model: SearchModel, i: int, channel: str, nuisances: dict[str, int], choice: Mapping[str, int] | int
) -> Entry | None:
    signal = model.points[i].channels.get(channel)
    if signal is None:
        return None
    background = _background(model, i, channel, choice)
    place = f"point {model.points[i].label}, channel {channel}"
    common = tuple(
        (nuisances[n.name], LOG_NORMAL if n.kind == "log_normal" else LINEAR, float(n.size or 0.0))
        for n in model.nuisances
        if n.on == "background" and (n.channels is None or channel in n.channels)
    )
    on_yield = {
        name: (nuisances[name], LOG_NORMAL if nuisance.kind == "log_normal" else LINEAR)
        for name, nuisance in model.yield_nuisances(channel).items()
    }
    components = []
    own = nuisances.get(_own_nuisance(channel), -1)
    if isinstance(background, KnownBackground):
        relative = background.uncertainty / background.yield_ if background.yield_ > 0 else 0.0
        if background.constraint == "gamma" and relative > 0:
            if common:
                raise InputError(
                    f"{place}: a nuisance on a background with a 'gamma' constraint; take 'log_normal' or "
                    "'gaussian', or put the nuisance into its uncertainty"
                )
        else:
            kind = LOG_NORMAL if background.constraint == "log_normal" else LINEAR
            mine = ((own, kind, relative),) if relative > 0 else ()
            components.append(Component(background.yield_, (*common, *mine), None))
    elif isinstance(background, TemplateBackground) and background.uncertainty != "free":
        size = float(background.uncertainty)
        mine = ((own, LOG_NORMAL, size),) if size > 0 else ()
        components.append(Component(1.0, (*common, *mine), background))
    for peak in getattr(background, "peaking", ()):
        mine = ((nuisances[peak.name], LOG_NORMAL, peak.uncertainty),) if peak.uncertainty > 0 else ()
        shared = tuple((*on_yield[name], size) for name, size in peak.sizes.items() if size != 0)
        components.append(Component(peak.yield_, (*mine, *shared), peak))
        if isinstance(peak, PeakingCrystalBall) and min(peak.n_left, peak.n_right) <= 1:
            raise InputError(
                f"{place}: peaking {peak.name!r} has a tail power of {min(peak.n_left, peak.n_right)}, whose "
                "yield on the whole line is infinite; give n > 1"
            )
    if signal.spurious_signal > 0:  # θ N events of the signal's nominal shape; last (see make_structure)
        effect = (nuisances[spurious_nuisance(channel)], ADDITIVE, signal.spurious_signal)
        components.append(Component(1.0, (effect,), signal))
    effects = tuple((*on_yield[name], size) for name, size in signal.sizes.items())
    return Entry(signal, background, tuple(components), _sigma(signal), effects)


def _sigma(signal: Signal) -> float:
    if isinstance(signal, CountingSignal):
        return 1.0
    return signal.mean_and_sigma[1] if isinstance(signal, TemplateSignal) else signal.sigma


def estimate_rows(model: SearchModel, points: Sequence[int], *, unbinned: bool = True) -> NDArray[np.int64]:
    """About how many rows each point compiles to, events and bins together, shape (n_points,)."""
    rows = {channel.name: ChannelRows(channel, BINS_PER_SIGMA) for channel in model.channels}
    sizes = np.zeros(len(points), np.int64)
    for k, i in enumerate(points):
        for name, signal in model.points[i].channels.items():
            if isinstance(signal, CountingSignal):
                sizes[k] += 2
                continue
            low, high = signal.window
            of_channel = rows[name]
            if of_channel.edges is not None:
                a, b = np.searchsorted(of_channel.edges, (low, high))
                sizes[k] += b - a
                continue
            sizes[k] += round(min((high - low) / _sigma(signal) * BINS_PER_SIGMA, MAX_BINS))
            if of_channel.values is not None and unbinned:
                a, b = np.searchsorted(of_channel.values, (low, high))
                sizes[k] += b - a
    return sizes
