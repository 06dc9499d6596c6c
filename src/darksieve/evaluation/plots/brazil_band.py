"""Upper limits against mass: expected median and bands, the observed, and published limits as points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from darksieve.constants import UPSILON_4S_MASS
from darksieve.couplings import g_agammagamma_from_cross_section
from darksieve.evaluation.plots.axes import (
    MASS_AXIS,
    MassAxis,
    Veto,
    alone,
    is_vetoed,
    mark_range,
    mark_vetoes,
    set_log_y,
    with_gaps,
)
from darksieve.evaluation.plots.style import (
    COLOURS,
    Drawing,
    Floats,
    Stamp,
    as_floats,
    fit_legend,
    new_figure,
    number,
    plain,
    stamp_axes,
    styled,
)
from darksieve.evaluation.published import PublishedLimits

ONE_SIGMA, TWO_SIGMA = "#607641", "#F5BB54"  # green and yellow that colour-blind readers tell apart
_LEAST_SPREAD = 0.01  # between tail families that is drawn
LEVELS = (-2, -1, 0, 1, 2)
CROSS_SECTION_LABEL = r"Upper limit on $\sigma(e^+e^-\to\gamma a)$ [fb]"
G_AGAMMAGAMMA_LABEL = r"Upper limit on $g_{a\gamma\gamma}$ [GeV$^{-1}$]"


def convert_limits(masses: Floats, limits: Floats, convert: Callable[[Floats, Floats], Floats]) -> Floats:
    """Limits on another parameter by ``convert(mass, limit)``; where there is no number, there is none after.

    Args:
        masses: GeV, shape (n,).
        limits: Shape (n,) or (k, n); NaN where there is none.
        convert: Takes masses and limits of one shape.
    """
    limits = np.asarray(limits, dtype=np.float64)
    wide = np.broadcast_to(masses, limits.shape)
    known = np.isfinite(limits)
    converted = np.full(limits.shape, np.nan)
    converted[known] = convert(wide[known], limits[known])
    return converted


def _draw_band(
    axes: Axes, masses: Floats, low: Floats, high: Floats, colour: str, label: str, order: int
) -> None:
    axes.fill_between(masses, low, high, color=colour, linewidth=0, label=label, zorder=order)
    single = alone(low) & alone(high)
    if np.any(single):
        axes.vlines(masses[single], low[single], high[single], color=colour, linewidth=6, zorder=order)


def _draw_line(
    axes: Axes, masses: Floats, values: Floats, label: str, *, style: str, gid: str, order: int
) -> None:
    axes.plot(masses, values, style, color="black", linewidth=1.2, label=label, gid=gid, zorder=order)
    single = alone(values)
    if np.any(single):
        marker = "s" if style == "--" else "o"
        face = "none" if style == "--" else "black"
        axes.plot(
            masses[single],
            values[single],
            marker,
            color="black",
            markersize=4,
            markerfacecolor=face,
            gid=f"{gid}-single",
            zorder=order,
        )


def _draw_published(axes: Axes, published: PublishedLimits, colour: str, marker: str) -> None:
    bars = np.stack([published.median - published.minimum, published.maximum - published.median])
    widths = np.stack([published.centre - published.low, published.high - published.centre])
    axes.errorbar(
        published.centre,
        published.median,
        xerr=widths,
        yerr=bars,
        fmt=marker,
        color=colour,
        markersize=3.5,
        linewidth=0.8,
        zorder=4,
        gid=f"published-{published.name}",
        label=(
            f"{published.label} observed, {number(published.luminosity_fb, 4)} fb$^{{-1}}$,"
            f" {number(100 * published.confidence_level)} % CL\n(digitised: median, min. and max. in bins)"
        ),
    )


@styled
def draw_limits(
    masses: ArrayLike,
    expected: ArrayLike,
    *,
    observed: ArrayLike | None = None,
    confidence_level: float,
    y_label: str,
    unit: str,
    stamp: Stamp,
    published: Sequence[PublishedLimits] = (),
    tails: ArrayLike | None = None,
    not_prompt: Sequence[tuple[float, float]] = (),
    not_prompt_text: str = "Decay not prompt",
    expectation: str = "",
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Brazil band: expected limits at −2, −1, 0, 1, 2 σ, logarithmic, and the observed unless blind.

    Args:
        masses: Ascending masses of the scan in GeV, shape (n,).
        expected: Expected limits at −2 … +2 σ, shape (5, n); NaN where a point has none.
        observed: Observed limits, shape (n,), NaN where a point has none; None while blind.
        confidence_level: Of all limits drawn from the scan.
        y_label: With its unit.
        unit: Unit alone, for the names of the columns.
        stamp: What stands above the axes; ``stamp.blind`` must fit `observed`.
        published: Published limits on the same parameter, in the same unit, drawn as points.
        tails: Lowest and highest median expected limit among the families that continue the score's
            background beyond the simulation, shape (2, n), drawn where they differ by more than 1 %; NaN, or
            None, where there is nothing to tell.
        not_prompt: Ranges in GeV where the limit's assumption of a prompt decay fails, see `couplings`.
        not_prompt_text: What the legend says of them.
        expectation: What the expected limits stand on, e.g. "simulation alone"; added to the legend.
        axis: The axis of masses, with the ranges that are not searched.

    Returns:
        Figure and table: mass_gev, expected_minus2 … expected_plus2, observed unless blind, and tail_low and
        tail_high where they are given.

    Raises:
        ValueError: If shapes differ, masses do not ascend, a limit is not positive, or an observed limit is
            given for a picture stamped blind.
    """
    points = as_floats(masses, "masses")
    n = len(points)
    bands = as_floats(expected, "expected", (5, n)).copy()
    if n and not np.all(np.diff(points) > 0):
        raise ValueError("masses must ascend, without repetition")
    if observed is not None and stamp.blind:
        raise ValueError("an observed limit was given for a picture that is stamped blind")
    seen = None if observed is None else as_floats(observed, "observed", (n,)).copy()
    for what, values in (("expected", bands), ("observed", seen)):
        if values is not None and np.any(values <= 0):
            raise ValueError(f"{what} limit {np.nanmin(values):.4g}: a logarithmic scale needs positive ones")
    ends = _tails(tails, n)
    gaps = axis.gaps
    ends[:, is_vetoed(points, gaps)] = np.nan
    bands[:, is_vetoed(points, gaps)] = np.nan
    if seen is not None:
        seen[is_vetoed(points, gaps)] = np.nan

    figure, axes = new_figure(7.6, 5.4)
    x, drawn = with_gaps(points, bands, gaps)
    _draw_band(axes, x, drawn[0], drawn[4], TWO_SIGMA, r"Expected $\pm2\sigma$", 1)
    _draw_band(axes, x, drawn[1], drawn[3], ONE_SIGMA, r"Expected $\pm1\sigma$", 2)
    level = f"{number(100 * confidence_level)} % CL$_s$"
    suffix = f"\n({plain(expectation)})" if expectation else ""
    _draw_line(axes, x, drawn[2], f"Expected {level}, median{suffix}", style="--", gid="expected", order=5)
    has_tails = bool(np.isfinite(ends).any())
    if has_tails:
        _draw_tails(axes, *with_gaps(points, ends, gaps))
    if seen is not None:
        x_seen, y_seen = with_gaps(points, seen, gaps)
        _draw_line(axes, x_seen, y_seen, f"Observed {level}", style="-", gid="observed", order=6)
    for i, one in enumerate(published):
        _draw_published(axes, one, COLOURS[i], "o^sv"[i % 4])

    shown = [bands] + ([seen] if seen is not None else []) + ([ends] if has_tails else [])
    edges = [points]
    for one in published:
        shown += [one.minimum, one.maximum]
        edges += [one.low, one.high]
    axis.scale_axes(axes, np.concatenate(edges))
    n_entries = 3 + (seen is not None) + bool(expectation) + 2 * len(published) + bool(not_prompt)
    n_entries += 2 * has_tails
    set_log_y(axes, *shown, room_above=0.07 + 0.05 * ((n_entries + 1) // 2), room_below=0.06)
    axes.set_ylabel(y_label)
    _mark(axes, gaps, not_prompt, not_prompt_text)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: _legend_rank(labels[i]))
    legend = axes.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="upper left",
        ncols=2,
        columnspacing=1.4,
        alignment="left",
    )
    stamp_axes(axes, stamp)
    fit_legend(axes, legend)

    table: dict[str, Floats] = {"mass_gev": points}
    names = ("minus2", "minus1", "median", "plus1", "plus2")
    table |= {f"expected_{name}_{_column(unit)}": bands[i] for i, name in enumerate(names)}
    if seen is not None:
        table[f"observed_{_column(unit)}"] = seen
    if has_tails:
        table |= {f"tail_{end}_{_column(unit)}": ends[i] for i, end in enumerate(("low", "high"))}
    return Drawing(figure, table, _alt(points, bands[2], seen, confidence_level, gaps, published, unit))


def _tails(tails: ArrayLike | None, n: int) -> Floats:
    """Ends of the spread between tail families, shape (2, n), NaN where there is none to speak of."""
    if tails is None:
        return np.full((2, n), np.nan)
    ends = as_floats(tails, "tails", (2, n)).copy()
    with np.errstate(invalid="ignore"):
        ends[:, ~(ends[1] > (1 + _LEAST_SPREAD) * ends[0])] = np.nan
    return ends


def _draw_tails(axes: Axes, masses: Floats, ends: Floats) -> None:
    label = "Median, as the score's background\ncontinues beyond the simulation"
    axes.fill_between(
        masses, *ends, facecolor="none", edgecolor="black", linewidth=0.5, hatch="/////", label=label,
        zorder=4, gid="tails",
    )  # fmt: skip
    single = alone(ends[0])
    if np.any(single):
        axes.vlines(masses[single], ends[0][single], ends[1][single], color="black", linewidth=2, zorder=4)


def _mark(axes: Axes, gaps: Sequence[Veto], ranges: Sequence[tuple[float, float]], text: str) -> None:
    for i, (low, high) in enumerate(ranges):
        if high > low:
            mark_range(axes, low, high, None if i else plain(text))
    mark_vetoes(axes, gaps)


def _legend_rank(label: str) -> int:
    starts = ("Observed", "Expected 9", "Expected", r"Expected $\pm1", r"Expected $\pm2")
    return max((rank for rank, start in enumerate(starts) if label.startswith(start)), default=len(starts))


def _column(unit: str) -> str:
    return "per_gev" if unit == "1/GeV" else ("1" if unit in ("", "1") else unit.replace("/", "_per_"))


def _alt(
    masses: Floats,
    median: Floats,
    observed: Floats | None,
    confidence_level: float,
    vetoes: Sequence[Veto],
    published: Sequence[PublishedLimits],
    unit: str,
) -> str:
    known = np.isfinite(median)
    if not np.any(known):
        return "Upper limits against mass: no point of the scan has an expected limit."
    in_unit = "" if unit in ("", "1") else f" {unit}"
    text = (
        f"Upper limits at {number(100 * confidence_level)} % confidence against mass,"
        f" {number(masses[known][0])} to {number(masses[known][-1])} GeV: the median expected limit is"
        f" between {number(np.nanmin(median))} and {number(np.nanmax(median))}{in_unit}"
    )
    text += ", shown with its 1 and 2 sigma bands; the observed limit is "
    text += "not shown" if observed is None else "drawn as a solid line"
    if vetoes:
        text += "; gaps at " + ", ".join(f"{veto.low:g} to {veto.high:g} GeV" for veto in vetoes)
    for one in published:
        text += f"; points of {one.label} with {number(one.luminosity_fb, 4)}/fb"
    return text + "."


def draw_g_agammagamma_limits(
    masses: ArrayLike,
    expected_fb: ArrayLike,
    *,
    observed_fb: ArrayLike | None = None,
    confidence_level: float,
    stamp: Stamp,
    sqrt_s: float = UPSILON_4S_MASS,
    published: Sequence[PublishedLimits] = (),
    tails_fb: ArrayLike | None = None,
    not_prompt: Sequence[tuple[float, float]] = (),
    not_prompt_text: str = "Decay not prompt",
    expectation: str = "",
    axis: MassAxis = MASS_AXIS,
) -> Drawing:
    """Brazil band of g_aγγ from limits on the cross section of e+e- → γa in fb; arguments as `draw_limits`.

    `published` may be limits on the cross section: they are converted with their own centre-of-mass energy.
    """
    points = as_floats(masses, "masses")

    def convert(mass: Floats, limit: Floats) -> Floats:
        return g_agammagamma_from_cross_section(mass, limit, sqrt_s=sqrt_s)

    bands = convert_limits(points, as_floats(expected_fb, "expected", (5, len(points))), convert)
    seen = (
        None if observed_fb is None else convert_limits(points, as_floats(observed_fb, "observed"), convert)
    )
    ends = None if tails_fb is None else convert_limits(points, as_floats(tails_fb, "tails"), convert)
    return draw_limits(
        points,
        bands,
        observed=seen,
        tails=ends,
        confidence_level=confidence_level,
        y_label=G_AGAMMAGAMMA_LABEL,
        unit="1/GeV",
        stamp=stamp,
        published=[p.as_g_agammagamma() if p.parameter == "cross_section" else p for p in published],
        not_prompt=not_prompt,
        not_prompt_text=not_prompt_text,
        expectation=expectation,
        axis=axis,
    )
