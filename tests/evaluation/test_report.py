"""The report holds every picture and table, escapes all text, and needs nothing beside it."""

import base64
from html.parser import HTMLParser

import numpy as np
import pytest

from darksieve.evaluation.plots.style import Stamp
from darksieve.evaluation.plots.training import FoldHistory, draw_training
from darksieve.evaluation.report import (
    SECTION_TITLES,
    Figure,
    Link,
    Report,
    ReportSection,
    Table,
    format_cell,
    render_report,
    write_report,
)

NASTY = "<script>alert('x')</script> & \"quotes\""
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Tags with their attributes, and whether they nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def report(*sections, **changes):
    given = {
        "search": "gamma_alp",
        "process": "e+e- → γa",
        "luminosity_fb": 408,
        "confidence_level": 0.95,
        "blind": True,
    }
    return Report(sections=sections, **(given | changes))


@pytest.fixture
def saved(tmp_path):
    drawing = draw_training({0: FoldHistory([1.0, 0.5])}, stamp=Stamp("search"))
    return drawing.save(tmp_path / "figures" / "training")


def test_page_nests_and_states_what_it_is():
    text = render_report(report(ReportSection("summary", paragraphs=["One."]), ReportSection("limits")))
    page = Page(text)
    assert page.open == []
    assert page.attributes("html") == [{"lang": "en"}]
    for expected in (
        "gamma_alp",
        "408 fb",
        "95 % confidence",
        "Blind",
        "toy simulation",
        "Summary",
        "Limits",
    ):
        assert expected in page.text
    assert "Belle II simulation" not in page.text
    assert "<script" not in text


def test_unblinded_page_says_so():
    page = Page(render_report(report(ReportSection("summary"), blind=False)))
    assert "Unblinded" in page.text
    assert "Blind:" not in page.text


def test_every_text_of_the_user_is_escaped(saved):
    nasty = Figure(NASTY, saved.png, alt=NASTY, caption=NASTY, links=[Link(NASTY, "a file.csv")])
    table = Table(NASTY, [NASTY, "n"], [[NASTY, 1]], note=NASTY, links=[Link(NASTY, "x.csv")])
    section = ReportSection(
        "custom",
        NASTY,
        [NASTY],
        {NASTY: NASTY},
        [table],
        [nasty],
        [Link(NASTY, "https://example.org/?a=1&b=2")],
    )
    text = render_report(
        report(section, search=NASTY, process=NASTY, simulation_note=NASTY, created=NASTY, version=NASTY)
    )
    page = Page(text)
    assert "script" not in [tag for tag, _ in page.tags]
    assert page.open == []
    assert page.attributes("img")[0]["alt"] == NASTY
    assert page.text.count(NASTY) >= 15
    assert "a%20file.csv" in text


def test_every_figure_is_inside_the_page(saved, tmp_path):
    sections = [
        ReportSection(name, figures=[Figure.from_saved(saved, f"{name} picture", relative_to=tmp_path)])
        for name in SECTION_TITLES
    ]
    path = write_report(report(*sections), tmp_path / "report.html")
    page = Page(path.read_text(encoding="utf-8"))
    pictures = page.attributes("img")
    assert len(pictures) == len(SECTION_TITLES)
    prefix = "data:image/png;base64,"
    for picture in pictures:
        assert picture["alt"]
        assert base64.b64decode(picture["src"].removeprefix(prefix)) == saved.png.read_bytes()
    for name, title in SECTION_TITLES.items():
        assert title in page.text
        assert f"{name} picture" in page.text
    targets = {a["href"] for a in page.attributes("a")}
    assert {"figures/training.csv", "figures/training.pdf"} <= targets
    assert {f"#{name}" for name in SECTION_TITLES} <= targets
    loaded = [a for tag, attrs in page.tags for a in attrs if tag != "a" and a in ("href", "src")]
    assert loaded == ["src"] * len(pictures)  # nothing else is fetched


def test_missing_picture_writes_nothing(tmp_path):
    section = ReportSection("limits", figures=[Figure("x", tmp_path / "absent.png", "a picture")])
    with pytest.raises(FileNotFoundError, match="absent"):
        write_report(report(section), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_table_has_headers_with_scope_and_numbers_flush_right():
    table = Table("Cut flow", ["cut", "events"], [["all", 1234567], ["four-momentum fit", 0.5]])
    page = Page(render_report(report(ReportSection("samples", tables=[table]))))
    headers = page.attributes("th")
    assert [h["scope"] for h in headers] == ["col", "col", "row", "row"]
    assert [h.get("class") for h in headers] == [None, "number", None, None]
    assert page.attributes("caption") == [{}]
    assert all(cell["class"] == "number" for cell in page.attributes("td"))


def test_equal_reports_give_equal_pages(saved, tmp_path):
    section = ReportSection("limits", figures=[Figure.from_saved(saved, "x", relative_to=tmp_path)])
    assert render_report(report(section)) == render_report(report(section))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (np.float64("nan"), "–"),
        (True, "yes"),
        (np.bool_(False), "no"),
        (1234567, "1\u202f234\u202f567"),
        (np.int64(12), "12"),
        (0.0, "0"),
        (0.12345678, "0.1235"),
        (np.float32(0.5), "0.5000"),
        (1234.0, "1234"),
        (123456.7, "123\u202f457"),
        (3.1e-4, "3.100e\u221204"),
        (-2.5, "\u22122.500"),
        (1.5e12, "1.500e+12"),
        (float("inf"), "inf"),
        ("text", "text"),
    ],
)
def test_cells_are_readable(value, text):
    assert format_cell(value) == text


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "/etc/passwd", "../up", "data:text/html,x", "//host/x", ""]
)
def test_links_lead_nowhere_else(target):
    with pytest.raises(ValueError, match="relative path"):
        Link("x", target)


def test_wrong_structure_is_refused():
    with pytest.raises(ValueError, match="row 1 has 1 cells for 2"):
        Table("t", ["a", "b"], [[1, 2], [3]])
    with pytest.raises(ValueError, match="needs a title"):
        ReportSection("unheard_of")
    with pytest.raises(ValueError, match="letters"):
        ReportSection('a"b', "title")
    with pytest.raises(ValueError, match="twice: limits"):
        report(ReportSection("limits"), ReportSection("limits"))
