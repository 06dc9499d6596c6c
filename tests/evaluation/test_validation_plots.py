"""Pictures of a simulation's validation."""

import csv
import math
import warnings

import numpy as np
import pytest

from darksieve.datasets.simulation.validation import Curve, Series
from darksieve.evaluation.plots.axes import set_log_y
from darksieve.evaluation.plots.style import Stamp, new_figure
from darksieve.evaluation.plots.validation import draw_validation


def curve(*series, **changes):
    return Curve(
        **{
            "name": "c",
            "title": "t",
            "x_label": "m [GeV]",
            "y_label": "width [MeV]",
            "alt": "words",
            **changes,
        },
        series=series,
    )


POINTS = Series.of("simulated", [1.0, 2.0, 3.0], [0.2, math.nan, 0.4], [0.01, math.nan, 0.02])
LINE = Series.of("config", [1.0, 3.0], [0.2, 0.4])


@pytest.mark.parametrize("logarithmic", [False, True])
def test_points_have_errors_lines_have_none_and_all_are_in_the_table(logarithmic, tmp_path):
    drawing = draw_validation(
        curve(POINTS, LINE, log_x=logarithmic, log_y=logarithmic), stamp=Stamp("a search")
    )
    (axes,) = drawing.figure.axes
    assert len(axes.containers) == 1
    assert axes.get_xscale() == ("log" if logarithmic else "linear")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["config", "simulated"]
    saved = drawing.save(tmp_path / "c")
    with saved.csv.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["series"] for row in rows] == ["simulated"] * 3 + ["config"] * 2
    assert float(rows[0]["error"]) == 0.01
    assert rows[3]["error"] == ""
    assert saved.alt == "words"


def test_logarithmic_axis_of_data_that_are_all_zero_is_drawn_without_a_warning():
    figure, axes = new_figure()
    axes.plot([1.0, 2.0], [0.0, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_log_y(axes, np.zeros(2))
        figure.canvas.draw()
    assert axes.get_yscale() == "log"
    assert 0 < axes.get_ylim()[0] < axes.get_ylim()[1]


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_validation(curve(Series.of("a", [1.0], [np.nan])), stamp=Stamp("a search"))
