"""What the pictures of a classifier's knowledge show is in their tables."""

import numpy as np
import pytest

from darksieve.evaluation.plots.style import Stamp
from darksieve.evaluation.plots.understanding import (
    MOST_FEATURES,
    draw_calibration,
    draw_importance,
    draw_overtraining,
    draw_rank_correlations,
)

STAMP = Stamp("B+ → K+ a")


def test_importance_shows_the_largest_and_tables_all():
    names = [f"f{i}" for i in range(MOST_FEATURES + 5)]
    loss = np.arange(len(names)) / 100
    drawing = draw_importance(names, loss, stamp=STAMP, gain=np.full(len(names), 1 / len(names)))
    assert drawing.table["feature"] == names[::-1]
    shown = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert shown == names[::-1][:MOST_FEATURES]
    assert len(drawing.figure.axes) == 2
    with pytest.raises(ValueError, match="no feature"):
        draw_importance([], [], stamp=STAMP)


def test_correlations_of_classes_are_one_table():
    names = ("R2", "thrustOm")
    values = np.array([[1, 0.3], [0.3, 1]])
    drawing = draw_rank_correlations({"background": (names, values), "signal": (names, -values)}, stamp=STAMP)
    assert len(drawing.table["correlation"]) == 8
    row = list(zip(*drawing.table.values(), strict=True))[1]
    assert row == ("background", "R2", "thrustOm", 0.3)
    with pytest.raises(ValueError, match="different columns"):
        draw_rank_correlations({"a": (names, values), "b": (names[::-1], values)}, stamp=STAMP)


def test_calibration_and_overtraining_table_what_they_draw():
    drawing = draw_calibration([0.2, 0.8], [0.25, 0.7], [0.01, 0.02], stamp=STAMP, expected_error=0.07)
    assert drawing.table["signal_share"].tolist() == [0.25, 0.7]
    before = {"score": [0.1], "signal_share": [0.3], "error": [0.02], "expected_error": 0.2}
    drawing = draw_calibration(
        [0.2, 0.8], [0.25, 0.7], [0.01, 0.02], stamp=STAMP, expected_error=0.07, before=before
    )
    assert drawing.table["signal_share"].tolist() == [0.25, 0.7, 0.3]
    assert drawing.table["is_calibrated"].tolist() == [1, 1, 0]
    drawing = draw_overtraining([0, 1], [0.9, 0.91], [0.01] * 2, [0.88, 0.9], [0.01] * 2, stamp=STAMP)
    assert drawing.table["auc_unseen"].tolist() == [0.88, 0.9]
