"""One look for every picture, and how a picture is kept: PNG, PDF and the numbers drawn as CSV.

Figures are made with matplotlib's object interface alone, so that no global state of pyplot is touched, and
are drawn by the Agg canvas: no display is needed.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from numpy.typing import ArrayLike, NDArray

from darksieve.atomic import atomic_path

Floats = NDArray[np.float64]
Table = Mapping[str, Sequence[Any] | NDArray]
P = ParamSpec("P")
R = TypeVar("R")

# Okabe & Ito: told apart by colour-blind readers
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#7F7F7F", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
INK = "#222222"
GREY = "#8a8a8a"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "mathtext.fontset": "dejavusans",
    "axes.labelsize": 12,
    "axes.titlesize": 10.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.9,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xaxis.labellocation": "right",
    "yaxis.labellocation": "top",
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.major.size": 6,
    "ytick.major.size": 6,
    "xtick.minor.size": 3,
    "ytick.minor.size": 3,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.5,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 160,
}


@dataclass(frozen=True)
class Stamp:
    """What stands above every picture.

    Attributes:
        search: The process or the search's name.
        luminosity_fb: Integrated luminosity in 1/fb, None where the picture does not depend on it.
        note: What the events are. The default says so on every picture; only a search on files that are
            not of this project's generators has a reason to pass another text, or "" for data alone.
        blind: Whether the observed is hidden.
    """

    search: str
    luminosity_fb: float | None = None
    note: str = "toy simulation"
    blind: bool = False


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture with the numbers it shows.

    Attributes:
        figure: The matplotlib figure.
        table: Column name, with its unit -> values; all columns have one length. What is not drawn is NaN.
        alt: The picture in words, for readers who cannot see it.
    """

    figure: Figure
    table: Table
    alt: str

    def save(self, stem: str | Path) -> SavedFigure:
        """Write PNG, PDF and CSV, see `save_figure`."""
        return save_figure(self.figure, self.table, stem, alt=self.alt)


@dataclass(frozen=True)
class SavedFigure:
    """Where a picture and its numbers are."""

    png: Path
    pdf: Path
    csv: Path
    alt: str = ""


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under `STYLE`; matplotlib's settings are as before when it returns."""

    @functools.wraps(draw)
    def under_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return under_style


def new_figure(width: float = 7.2, height: float = 5.0) -> tuple[Figure, Axes]:
    """An empty figure of this size in inches, with one pair of axes, that belongs to no window manager."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def new_panels(
    n_rows: int,
    n_columns: int,
    *,
    width: float = 7.2,
    height: float = 5.6,
    height_ratios: Sequence[float] | None = None,
    width_ratios: Sequence[float] | None = None,
    share_x: bool = False,
    share_y: bool = False,
) -> tuple[Figure, list[Axes]]:
    """An empty figure with a grid of axes, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        n_rows,
        n_columns,
        sharex="col" if share_x else False,
        sharey="row" if share_y else False,
        height_ratios=height_ratios,
        width_ratios=width_ratios,
        squeeze=False,
    )
    return figure, list(grid.flat)


def figure_of(axes: Axes) -> Figure:
    """The figure that axes belong to."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes of a removed figure"
    return figure


def plain(text: str) -> str:
    """Text of the user's with nothing in it that would be read as mathematics."""
    return text.replace("$", r"\$")


def number(value: float, digits: int = 3) -> str:
    """A number for a label: 408, 0.445, 1.2e-05."""
    return f"{value:.{digits}g}"


def stamp_axes(axes: Axes, stamp: Stamp, rightmost: Axes | None = None) -> None:
    """Write above the axes what this is: name and note on the left, search and luminosity on the right.

    With panels side by side, ``rightmost`` is where the text on the right stands.
    """
    left = r"$\mathbf{darksieve}$" + (f"  {plain(stamp.note)}" if stamp.note else "")
    if stamp.blind:
        left += ", blind"
    right = plain(stamp.search)
    if stamp.luminosity_fb is not None:
        right += f"{', ' if right else ''}{number(stamp.luminosity_fb, 4)} fb$^{{-1}}$"
    n_characters = len(stamp.note) + 20 + len(stamp.search)
    room = 9.0 * figure_of(axes).get_figwidth()
    size = 10.5 * min(1.0, room / n_characters)
    axes.set_title(left, loc="left", fontsize=size)
    (rightmost or axes).set_title(right, loc="right", fontsize=size)


def fit_legend(axes: Axes, legend: Legend, *, smallest: float = 6.5) -> None:
    """Make the letters of a legend smaller where it would be wider than its axes."""
    figure = figure_of(axes)
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg), "figures are made by new_figure or new_panels"
    width = legend.get_window_extent(canvas.get_renderer()).width
    room = 0.83 * figure.bbox.width  # what the axes keep beside their labels; to lay out the figure is slow
    if width > room:
        for text in legend.get_texts():
            text.set_fontsize(max(smallest, float(text.get_fontsize()) * room / width))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else repr(float(value))
    return str(value)


def check_table(table: Table) -> int:
    """Number of rows of a table.

    Raises:
        ValueError: If its columns have different lengths, or it has none.
    """
    lengths = {name: len(values) for name, values in table.items()}
    if not lengths:
        raise ValueError("a picture needs the numbers it shows: the table has no columns")
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of different lengths: {lengths}")
    return next(iter(lengths.values()))


def write_csv(table: Table, path: str | Path) -> None:
    """Write a table as CSV, atomically: floats in full precision, an empty cell where there is no number."""
    n_rows = check_table(table)

    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        columns = list(table.values())
        writer.writerows([_cell(column[i]) for column in columns] for i in range(n_rows))


def save_figure(figure: Figure, table: Table, stem: str | Path, *, alt: str = "") -> SavedFigure:
    """Write ``stem.png``, ``stem.pdf`` and ``stem.csv`` (the numbers drawn), each atomically.

    The files depend on the content alone: no date is written into them.

    Raises:
        ValueError: If the columns of the table have different lengths.
    """
    stem = Path(stem)
    paths = {kind: stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "pdf", "csv")}
    check_table(table)
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": "darksieve"},
    }
    with matplotlib.rc_context(STYLE):
        for kind in ("png", "pdf"):
            with atomic_path(paths[kind]) as temporary:
                figure.savefig(temporary, format=kind, metadata=metadata[kind])
    write_csv(table, paths["csv"])
    return SavedFigure(alt=alt, **paths)


def as_floats(values: ArrayLike, what: str, shape: tuple[int, ...] | None = None) -> Floats:
    """Values as a float array.

    Raises:
        ValueError: If they do not have the given shape.
    """
    array = np.asarray(values, dtype=np.float64)
    if shape is not None and array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}, expected {shape}")
    return array


def poisson_interval(counts: ArrayLike) -> Floats:
    """Central 68.27 % interval (Garwood) around each count, as distances below and above, shape (2, n)."""
    from scipy.stats import chi2

    n = np.asarray(counts, dtype=np.float64)
    tail = 0.15865525393145705  # one-sided tail of one standard deviation
    low = np.where(n > 0, chi2.ppf(tail, 2 * np.maximum(n, 1e-300)) / 2, 0.0)
    high = chi2.ppf(1 - tail, 2 * (n + 1)) / 2
    return np.stack([n - low, high - n])
