"""The report of a run: one HTML file that holds its pictures, reads without JavaScript and prints well.

The front door puts it together from sections; this module knows nothing of runs. Text is text: everything a
caller passes is escaped.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from darksieve.atomic import write_text

if TYPE_CHECKING:
    from darksieve.evaluation.plots.style import SavedFigure

# sections in the order in which a reader wants them; other names are allowed, with a title of their own
SECTION_TITLES: Mapping[str, str] = {
    "summary": "Summary",
    "samples": "Samples and cut flow",
    "training": "Training and scores",
    "working_points": "Working points",
    "limits": "Limits",
    "couplings": "Couplings",
    "published": "Comparison with published limits",
    "validation": "Validation and simulation",
    "provenance": "Provenance",
}

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Link:
    """A link to a file of the run, or to a web page.

    Attributes:
        text: What is clicked.
        target: A path relative to the report, or an http(s) address.

    Raises:
        ValueError: If the target is absolute, leads out of the run's folder, or has another scheme.
    """

    text: str
    target: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.target)
        if parts.scheme in ("http", "https"):
            return
        path = Path(self.target)
        if parts.scheme or parts.netloc or path.is_absolute() or ".." in path.parts or not self.target:
            raise ValueError(f"link target {self.target!r}: it must be a relative path or an http(s) address")

    @property
    def href(self) -> str:
        """The target as it stands in the page."""
        return self.target if urlsplit(self.target).scheme else quote(self.target)


@dataclass(frozen=True)
class Table:
    """A table with headers.

    Attributes:
        title: Its caption.
        columns: Headers, with units.
        rows: Cells; numbers are written with `digits` significant digits, None and NaN as a dash.
        row_headers: Whether the first column names the row.
        digits: Significant digits of floats.
        note: Text below it.
        links: Where the same numbers are in a file.

    Raises:
        ValueError: If a row has another number of cells than there are columns.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    row_headers: bool = True
    digits: int = 4
    note: str = ""
    links: Sequence[Link] = ()

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: row {i} has {len(row)} cells for {len(self.columns)} columns"
                )

    @property
    def cells(self) -> list[list[str]]:
        """The rows as text."""
        return [[format_cell(cell, self.digits) for cell in row] for row in self.rows]

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers alone, and is set flush right."""
        return bool(self.rows) and all(
            cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool))
            for cell in (_python(row[column]) for row in self.rows)
        )


@dataclass(frozen=True)
class Figure:
    """A picture, put into the page itself.

    Attributes:
        title: Its heading.
        png: The file.
        alt: The picture in words.
        caption: Text below it.
        links: The same as PDF and CSV.
    """

    title: str
    png: Path
    alt: str
    caption: str = ""
    links: Sequence[Link] = ()

    @classmethod
    def from_saved(
        cls, saved: SavedFigure, title: str, *, caption: str = "", relative_to: str | Path | None = None
    ) -> Figure:
        """A figure from a picture's files, with links relative to the folder of the report."""
        links: list[Link] = []
        if relative_to is not None:
            for text, path in (("PDF", saved.pdf), ("numbers (CSV)", saved.csv)):
                links.append(Link(text, path.relative_to(relative_to).as_posix()))
        return cls(title, saved.png, saved.alt, caption, tuple(links))

    @property
    def data_uri(self) -> str:
        """The picture's bytes as an address."""
        return "data:image/png;base64," + base64.b64encode(self.png.read_bytes()).decode("ascii")


@dataclass(frozen=True)
class ReportSection:
    """One section: text, key numbers, tables, pictures, links, in this order.

    Attributes:
        name: One of `SECTION_TITLES`, or another with a title of its own; the page's anchor.
        title: Heading; by default that of the name.
        paragraphs: Plain text.
        facts: Name -> value, shown as a list of definitions.
        tables: Tables.
        figures: Pictures.
        links: Files.

    Raises:
        ValueError: If the name is not known and there is no title, or it is not a word.
    """

    name: str
    title: str = ""
    paragraphs: Sequence[str] = ()
    facts: Mapping[str, Cell] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    links: Sequence[Link] = ()

    def __post_init__(self) -> None:
        if not self.name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"section name {self.name!r}: letters, digits, - and _ only")
        if not self.title and self.name not in SECTION_TITLES:
            raise ValueError(f"section {self.name!r} needs a title; known: {', '.join(SECTION_TITLES)}")

    @property
    def heading(self) -> str:
        """The title, or that of the name."""
        return self.title or SECTION_TITLES[self.name]

    @property
    def fact_cells(self) -> list[tuple[str, str]]:
        """The facts as text."""
        return [(name, format_cell(value)) for name, value in self.facts.items()]


@dataclass(frozen=True)
class Report:
    """What stands at the top of the page, and its sections.

    Attributes:
        search: Name of the search.
        process: The process searched for.
        luminosity_fb: What the limits are quoted for, in 1/fb.
        confidence_level: Of the limits.
        blind: Whether the observed is hidden.
        simulation_note: What the events are, e.g. "toy simulation"; "" where neither simulation nor
            pseudo-data of this project are shown.
        sections: In reading order.
        created: When, as text; "" leaves it out, so that equal runs give equal pages.
        version: Of darksieve.
    """

    search: str
    process: str
    luminosity_fb: float
    confidence_level: float
    blind: bool
    sections: Sequence[ReportSection]
    simulation_note: str = "toy simulation"
    created: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        names = [section.name for section in self.sections]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"sections that appear twice: {', '.join(twice)}")


def _python(value: Any) -> Any:
    """A numpy scalar as Python's own; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def format_cell(value: Cell, digits: int = 4) -> str:
    """A cell as text: 4 significant digits for floats, thousands apart for integers, a dash for nothing."""
    value = _python(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, float):
        if value == 0:
            return "0"
        text = f"{value:#.{digits}g}" if 1e-3 <= abs(value) < 10**digits else f"{value:.{digits - 1}e}"
        if 10**digits <= abs(value) < 1e7:
            text = f"{value:,.0f}".replace(",", "\u202f")
        return text.rstrip(".").replace("-", "\u2212")
    return str(value)


def render_report(report: Report) -> str:
    """The page as text.

    Raises:
        FileNotFoundError: If a picture is missing.
    """
    import jinja2

    template = files("darksieve.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        report=report,
        luminosity=format_cell(float(report.luminosity_fb)).rstrip("0").rstrip("."),
        confidence=f"{100 * report.confidence_level:g}",
    )


def write_report(report: Report, path: str | Path) -> Path:
    """Write the page, atomically, and return its path.

    Raises:
        FileNotFoundError: If a picture is missing; nothing is written.
    """
    path = Path(path)
    write_text(path, render_report(report))
    return path
