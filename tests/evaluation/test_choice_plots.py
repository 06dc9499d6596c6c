import numpy as np
import pytest

from darksieve.evaluation.plots.choices import draw_landscape, draw_losses
from darksieve.evaluation.plots.sculpting import draw_sculpting
from darksieve.evaluation.plots.style import Stamp

STAMP = Stamp("toy", 100.0, "toy simulation", False)
MASSES = np.linspace(0.5, 5, 40)
KEPT = np.linspace(0.04, 1, 25)


def limits():
    best = 0.3 + 0.05 * MASSES[:, None]
    values = np.exp(3 * (KEPT - best) ** 2) * (1 + MASSES[:, None])
    values[:5, :4] = np.nan  # too few events pass
    return values


def test_landscape_holds_limits_relative_to_the_best_cut_at_each_mass(tmp_path):
    edges = np.stack([0.1 + 0 * MASSES, 0.4 + 0.02 * MASSES], axis=1)
    drawing = draw_landscape(
        MASSES, KEPT, limits(), stamp=STAMP, threshold=0.3 + 0.05 * MASSES, categories=edges
    )
    relative = np.asarray(drawing.table["over_the_best"]).reshape(len(MASSES), len(KEPT))
    assert np.nanmin(relative, axis=1) == pytest.approx(1)
    assert np.isnan(relative[:5, :4]).all()
    nearest = KEPT[np.nanargmin(relative, axis=1)]
    assert np.abs(nearest - (0.3 + 0.05 * MASSES)).max() <= 0.021  # half a step of the cuts
    saved = drawing.save(tmp_path / "landscape")
    assert saved.png.stat().st_size > 10_000
    assert saved.csv.read_text().count("\n") == len(MASSES) * len(KEPT) + 1


def test_losses_are_drawn_with_their_errors(tmp_path):
    losses = {"no classifier": 1.5 + 0.1 * MASSES, "threshold by mass": np.full(len(MASSES), 1.13)}
    drawing = draw_losses(
        MASSES, losses, stamp=STAMP, errors={"threshold by mass": np.full(len(MASSES), 0.01)}
    )
    assert set(drawing.table) >= {
        "mass_gev",
        "limit_ratio_no classifier",
        "limit_ratio_threshold by mass_error",
    }
    assert drawing.save(tmp_path / "losses").pdf.stat().st_size > 5000


def test_spurious_signals_are_drawn_with_their_errors_and_with_gaps(tmp_path):
    values = np.where(MASSES > 4, np.nan, np.sin(MASSES))
    errors = {"after the cuts": np.where(MASSES > 4, np.nan, 0.3)}
    drawing = draw_sculpting(MASSES, {"after the cuts": values}, errors, stamp=STAMP, worrying=0.5)
    np.testing.assert_array_equal(drawing.table["spurious_signal_after the cuts"], values)
    np.testing.assert_array_equal(
        drawing.table["spurious_signal_after the cuts_error"], errors["after the cuts"]
    )
    low, high = drawing.figure.axes[0].get_ylim()
    assert low < -1.05  # sin(4) - 0.3
    assert high > 1.3
    assert "standard deviations" in drawing.alt
    assert drawing.save(tmp_path / "sculpting").png.stat().st_size > 10_000


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="limits"):
        draw_landscape(MASSES, KEPT, limits()[:, :-1], stamp=STAMP)
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_losses(MASSES, {}, stamp=STAMP)
