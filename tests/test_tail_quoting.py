"""The spread between tail families, quoted with the limits of a scan."""

from types import SimpleNamespace

import numpy as np
import pytest

from darksieve.evaluation.limits.curve import LimitCurve, LimitPoint
from darksieve.evaluation.tails import FAMILIES
from darksieve.workflow.tail_quoting import tail_spread_of, tail_summary, with_tails

MASSES = np.array([1.0, 2.0])


def limit(signal, background):
    """Gaussian, background known."""
    return 2 / np.sqrt(np.sum(signal**2 / background, axis=-1))


def channel(selection, signal, seen=(True, True)):
    def yields(masses):
        assert set(masses) <= set(MASSES[list(seen)])  # beyond the end of a decay there is no answer
        return np.full(len(masses), signal)

    return SimpleNamespace(selection=selection, yield_per_unit=yields, sees=lambda m: np.array(seen))


def points(selection, category, factors, more=1.0, n_background=100.0):
    by_family = dict(zip(FAMILIES, np.asarray(factors) * n_background, strict=True))
    return [
        {
            "mass": float(m),
            "channel": selection,
            "category": category,
            "n_background": n_background,
            "n_background_by_tail": by_family,
            "more_simulation": more,
        }
        for m in MASSES
    ]


def test_one_category_has_the_spread_of_its_families():
    found = tail_spread_of([channel("c", 1.0)], points("c", 1, [1, 4, 0.25, 1], 9.0), MASSES, limit)
    np.testing.assert_allclose(found.lowest, 0.5)
    np.testing.assert_allclose(found.highest, 2.0)
    np.testing.assert_allclose(found.more_simulation, 9.0)


def test_what_simulation_settles_elsewhere_dilutes_the_spread():
    both = points("c", 1, [1, 1, 1, 1]) + points("c", 2, [1, 4, 0.25, 1], 9.0)
    found = tail_spread_of([channel("c", 3.0), channel("c", 1.0)], both, MASSES, limit)
    np.testing.assert_allclose(found.highest, np.sqrt((9 + 1) / (9 + 1 / 4)))
    np.testing.assert_allclose(found.lowest, np.sqrt((9 + 1) / (9 + 4)))


def test_a_channel_that_does_not_see_a_mass_says_nothing_of_it():
    both = points("a", 1, [1, 1, 1, 1]) + points("b", 1, [1, 4, 0.25, 1], 9.0)
    found = tail_spread_of([channel("a", 1.0), channel("b", 1.0, (True, False))], both, MASSES, limit)
    assert found.highest[0] > 1.2
    assert found.highest[1] == found.lowest[1] == 1
    assert found.more_simulation.tolist() == [9, 1]


def curve():
    median = LimitPoint(label="a", mass=1.0, status="converged", expected={"0": 10.0})
    return LimitCurve(
        confidence_level=0.9,
        asimov="nominal",
        points=(median, LimitPoint(label="b", mass=2.0, status="vetoed")),
    )


def test_every_limit_carries_its_spread_through_json_and_csv(tmp_path):
    spread = tail_spread_of([channel("c", 1.0)], points("c", 1, [1, 4, 0.25, 1], 9.0), MASSES, limit)
    quoted = with_tails(curve(), MASSES, spread)
    first, vetoed = quoted.points
    assert first.tail_spread == pytest.approx(3.0)
    assert first.tail_expected == pytest.approx((5.0, 20.0))
    assert first.more_simulation == 9.0
    assert vetoed.tail_spread is None
    for name in ("limits.json", "limits.csv"):
        quoted.save(tmp_path / name)
        again = LimitCurve.load(tmp_path / name)
        assert again.points[0].tail_expected == first.tail_expected
        assert (again.points[0].tail_spread, again.points[0].more_simulation) == (first.tail_spread, 9.0)
        assert again.points[1].tail_expected is None
    assert "up to 300 %" in tail_summary(quoted)
    assert "9 times more background" in tail_summary(quoted)


def test_limits_without_a_spread_are_written_as_before(tmp_path):
    plain = curve()
    plain.save(tmp_path / "limits.csv")
    assert "tail" not in (tmp_path / "limits.csv").read_text()
    assert "tail_spread" not in plain.to_json()["points"][0]
    assert tail_summary(plain) == ""
