"""Axes that the pictures share: masses, logarithmic scales, vetoed ranges and the gaps they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from darksieve.constants import ETA_MASS, ETA_PRIME_MASS, OMEGA_MASS, PI0_MASS
from darksieve.evaluation.plots.style import Floats

MASS_LABEL = "$m_a$ [GeV]"
RESONANCES = {
    "$\\pi^0$": PI0_MASS,
    "$\\eta$": ETA_MASS,
    "$\\omega$": OMEGA_MASS,
    "$\\eta'$": ETA_PRIME_MASS,
}


@dataclass(frozen=True)
class Veto:
    """A range of masses in GeV that is not searched, with what it is there for."""

    low: float
    high: float
    label: str = ""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"veto [{self.low}, {self.high}] GeV: its ends must ascend")


VetoLike = Veto | tuple[float, float] | list[float]


def as_vetoes(vetoes: Sequence[VetoLike]) -> tuple[Veto, ...]:
    """Vetoes from `Veto` or (low, high) in GeV, labelled by the mesons inside where no label is given."""
    found = []
    for veto in vetoes:
        one = veto if isinstance(veto, Veto) else Veto(*veto)
        low, high, label = one.low, one.high, one.label
        if not label:
            inside = [name for name, mass in RESONANCES.items() if low <= mass <= high]
            label = f"{', '.join(inside)} veto" if inside else "veto"
        found.append(Veto(float(low), float(high), label))
    return tuple(sorted(found, key=lambda veto: veto.low))


def is_vetoed(masses: Floats, vetoes: Sequence[Veto]) -> NDArray[np.bool_]:
    """Whether a mass lies strictly inside a vetoed range, shape of `masses`."""
    inside = np.zeros(masses.shape, dtype=bool)
    for veto in vetoes:
        inside |= (masses > veto.low) & (masses < veto.high)
    return inside


def with_gaps(masses: Floats, values: Floats, vetoes: Sequence[Veto]) -> tuple[Floats, Floats]:
    """Masses and values with a NaN put into every vetoed range, so that no line is drawn across it.

    Args:
        masses: Ascending, shape (n,).
        values: Shape (n,) or (k, n).
        vetoes: Vetoed ranges.

    Returns:
        Masses, shape (n + number of vetoes between the first and the last mass,), and values to match.
    """
    if not len(masses):
        return masses, values
    middles = np.array([(veto.low + veto.high) / 2 for veto in vetoes])
    middles = middles[(middles > masses[0]) & (middles < masses[-1])]
    where = np.searchsorted(masses, middles)
    gap = np.full((*values.shape[:-1], 1), np.nan)
    return np.insert(masses, where, middles), np.insert(values, where, gap, axis=-1)


def alone(values: Floats) -> NDArray[np.bool_]:
    """Whether a value has no drawn neighbour (NaN or nothing on both sides): no line would show it."""
    drawn = np.isfinite(values)
    left = np.concatenate([[False], drawn[:-1]])
    right = np.concatenate([drawn[1:], [False]])
    return drawn & ~left & ~right


def mark_vetoes(axes: Axes, vetoes: Sequence[Veto], *, labels: bool = True) -> None:
    """Hatch the vetoed ranges and write what they are."""
    transform = blended_transform_factory(axes.transData, axes.transAxes)
    low_end, high_end = sorted(axes.get_xlim())
    for veto in vetoes:
        low, high = max(veto.low, low_end), min(veto.high, high_end)
        if low >= high:
            continue
        axes.axvspan(low, high, facecolor="#f3f3f3", edgecolor="#bdbdbd", hatch="////", linewidth=0, zorder=0)
        ends = axes.transAxes.inverted().transform(axes.transData.transform([(low, 1.0), (high, 1.0)]))
        cut_off = veto.low < low_end or veto.high > high_end
        if labels and ends[1, 0] - ends[0, 0] > (0.03 if cut_off else 0.015):  # else too narrow for its label
            middle = np.sqrt(low * high) if axes.get_xscale() == "log" else (low + high) / 2
            axes.text(
                middle,
                0.02,
                veto.label,
                rotation=90,
                ha="center",
                va="bottom",
                fontsize=8,
                color="#555555",
                transform=transform,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
            )


def mark_range(axes: Axes, low: float, high: float, label: str | None = None) -> None:
    """Shade a range of masses with a remark in the legend, such as where decays are not prompt."""
    axes.axvspan(low, high, facecolor="#fbe9e1", edgecolor="none", zorder=0, label=label)


def _scientific(value: float, _position: int | None = None) -> str:
    exponent = int(np.floor(np.log10(value) + 1e-9))
    mantissa = round(value / 10.0**exponent)
    return rf"$10^{{{exponent}}}$" if mantissa == 1 else rf"${mantissa}\times10^{{{exponent}}}$"


def _decimal(value: float, _position: int | None = None) -> str:
    return f"{value:g}"


def log_ticks(axis: Axis, low: float, high: float, *, subs: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """Ticks of a logarithmic axis: at `subs` over less than two and a half decades, else at powers of 10."""
    few = high / low < 10**2.5
    axis.set_major_locator(LogLocator(base=10, subs=subs if few else (1.0,), numticks=12))
    readable = low >= 5e-3 and high < 5e4
    axis.set_major_formatter(FuncFormatter(_decimal if readable else _scientific))
    axis.set_minor_locator(LogLocator(base=10, subs=tuple(range(2, 10)), numticks=50))
    axis.set_minor_formatter(NullFormatter())


def name_particle(figure: Figure, particle: str) -> None:
    """Call the particle whose mass is drawn by its symbol, on every mass axis of a figure."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_label_text() == MASS_LABEL:
                axis.set_label_text(f"$m_{{{particle}}}$ [GeV]")


@dataclass(frozen=True)
class MassAxis:
    """The axis of masses of a picture, and the ranges on it that are not searched.

    Attributes:
        vetoes: Ranges in GeV that are not searched: hatched, and a gap in every line.
        scale: linear, log, or auto: logarithmic where the masses span more than a factor of 20.
        label: With its unit.

    Raises:
        ValueError: If the scale is another one, or the ends of a range do not ascend.
    """

    vetoes: Sequence[VetoLike] = ()
    scale: str = "auto"
    label: str = MASS_LABEL

    def __post_init__(self) -> None:
        if self.scale not in ("auto", "linear", "log"):
            raise ValueError(f"scale of the mass axis {self.scale!r}: it is auto, linear or log")
        as_vetoes(self.vetoes)  # refuses what it cannot draw

    @property
    def gaps(self) -> tuple[Veto, ...]:
        """The ranges that are not searched, ascending."""
        return as_vetoes(self.vetoes)

    def scale_axes(self, axes: Axes, masses: Floats) -> None:
        """Label and scale the x axis of a picture that shows these masses in GeV."""
        finite = masses[np.isfinite(masses)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.1, 10.0)
        axes.set_xlabel(self.label)
        if self.scale == "log" or (self.scale == "auto" and low > 0 and high / low > 20):
            axes.set_xscale("log")
            margin = 1.04 if high > low else 1.3
            axes.set_xlim(low / margin, high * margin)
            log_ticks(axes.xaxis, low, high, subs=(1.0, 2.0, 3.0, 5.0))
        else:
            margin = 0.02 * (high - low) or 0.1 * max(high, 1e-3)
            axes.set_xlim(low - margin, high + margin)


MASS_AXIS = MassAxis()


def set_log_y(axes: Axes, *values: Floats, room_above: float = 0.05, room_below: float = 0.05) -> None:
    """Logarithmic y axis around all positive finite values, with room in shares of the axis' height."""
    flat = np.concatenate([np.ravel(v) for v in values]) if values else np.zeros(0)
    positive = flat[np.isfinite(flat) & (flat > 0)]
    low, high = (positive.min(), positive.max()) if len(positive) else (0.1, 1.0)
    if high / low < 1.2:
        low, high = low / 1.5, high * 1.5
    per_share = np.log10(high / low) / (1 - room_above - room_below)
    bottom, top = low / 10 ** (room_below * per_share), high * 10 ** (room_above * per_share)
    axes.set_ylim(bottom, top)  # first: data without a positive value have no logarithmic range of their own
    axes.set_yscale("log")
    log_ticks(axes.yaxis, bottom, top)


def set_y(axes: Axes, *values: Floats, room_above: float = 0.05, room_below: float = 0.05) -> None:
    """Linear y axis around all finite values, with room in shares of the axis' height."""
    flat = np.concatenate([np.ravel(v) for v in values]) if values else np.zeros(0)
    finite = flat[np.isfinite(flat)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    if high <= low:
        spread = 0.1 * abs(high) or 1.0
        low, high = low - spread, high + spread
    per_share = (high - low) / (1 - room_above - room_below)
    axes.set_ylim(low - room_below * per_share, high + room_above * per_share)
