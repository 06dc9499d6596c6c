"""Pictures of lifetimes and mixings: their numbers, gaps at vetoes, and nothing observed while blind."""

import numpy as np
import pytest

from darksieve.evaluation.plots.axes import MassAxis
from darksieve.evaluation.plots.mixing import draw_limits_by_lifetime, draw_mixing_regions
from darksieve.evaluation.plots.style import Stamp

BLIND = Stamp("h'", luminosity_fb=365, blind=True)
MASSES = np.array([0.3, 0.4, 0.48, 0.6, 0.8])
AXIS = MassAxis([(0.45, 0.52)])


def artists(drawing, gid):
    return [a for axes in drawing.figure.axes for a in axes.findobj() if a.get_gid() == gid]


def test_each_lifetime_has_a_line_that_stops_at_vetoes():
    drawing = draw_limits_by_lifetime(
        MASSES,
        {1.0: np.full(5, 0.1), 10.0: np.full(5, 0.3)},
        confidence_level=0.95,
        y_label="limit [fb]",
        unit="fb",
        stamp=BLIND,
        axis=AXIS,
    )
    (line,) = artists(drawing, "expected-10")
    assert np.isnan(line.get_ydata()).sum() == 1
    assert drawing.table["mass_gev"].tolist() == [0.3, 0.4, 0.6, 0.8]
    assert drawing.table["expected_ctau_1_cm [fb]"].tolist() == [0.1] * 4
    assert not artists(drawing, "observed-1")


def test_regions_are_filled_between_their_ends_and_listed_in_the_table():
    ends = np.array([[1e-5, 1e-3]] * 4 + [[np.nan, np.nan]])
    drawing = draw_mixing_regions({"mumu": (MASSES, ends)}, confidence_level=0.95, stamp=BLIND, axis=AXIS)
    assert artists(drawing, "region-mumu")
    assert drawing.table["sin_theta_high"][:4] == [1e-3] * 4
    assert set(drawing.table["kind"]) == {"expected"}


def test_no_region_at_all_is_refused():
    with pytest.raises(ValueError, match="no mixing is excluded"):
        draw_mixing_regions(
            {"mumu": (MASSES, np.full((5, 2), np.nan))}, confidence_level=0.95, stamp=BLIND, axis=AXIS
        )
