import json

import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.limits.curve import BAND_KEYS, GlobalExcess, LimitCurve, LimitPoint, Numbers
from darksieve.evaluation.limits.hepdata import save_hepdata

BAND = dict(zip(BAND_KEYS["sigma"], (1.0, 1.5, 2.0, 3.0, 4.0), strict=True))


def point(label, mass, **values):
    given = {"observed": 2.5, "expected": BAND, "best_fit": 0.1, "best_fit_error": (-1.0, 1.1), "p0": 0.4}
    given |= {"significance": 0.25, "method": "asymptotic", "status": "converged"}
    return LimitPoint(label=label, mass=mass, **(given | values))


def empty(label, mass, status):
    return LimitPoint(label=label, mass=mass, status=status)


@pytest.fixture
def curve():
    points = (point("b", 2.0), empty("v", 1.5, "vetoed"), point("a", 1.0, asymptotic=Numbers(observed=3.0)))
    return LimitCurve(confidence_level=0.95, asimov="postfit", points=points)


def test_points_are_sorted_by_mass(curve):
    assert [p.label for p in curve.points] == ["a", "v", "b"]
    np.testing.assert_array_equal(curve.masses, [1.0, 1.5, 2.0])
    np.testing.assert_array_equal(curve.values("observed"), [2.5, np.nan, 2.5])
    np.testing.assert_array_equal(curve.expected(2), [4.0, np.nan, 4.0])


def test_a_curve_is_the_same_after_saving_and_loading(curve, tmp_path):
    excess = GlobalExcess(p0_min=0.4, mass=1.0, p_global=0.9, p_global_error=0.01, method="toys")
    curve = curve.with_global(excess)
    curve.save(tmp_path / "limits.json")
    assert LimitCurve.load(tmp_path / "limits.json") == curve


def test_csv_holds_the_points_as_well(curve, tmp_path):
    curve.save(tmp_path / "limits.csv")
    loaded = LimitCurve.load(tmp_path / "limits.csv")
    assert [p.label for p in loaded.points] == [p.label for p in curve.points]
    np.testing.assert_array_equal(loaded.values("observed"), curve.values("observed"))
    np.testing.assert_array_equal(loaded.expected(-2), curve.expected(-2))
    assert loaded.points[0].best_fit_error == (-1.0, 1.1)


def test_points_without_numbers_are_null_and_not_left_out(curve):
    written = json.loads(json.dumps(curve.to_json()))
    vetoed = written["points"][1]
    assert vetoed["status"] == "vetoed"
    assert vetoed["observed"] is None
    assert set(vetoed["expected"].values()) == {None}
    assert written["global"] is None


def test_merging_keeps_numbers_over_failures_and_prefers_the_newer(curve):
    other = LimitCurve(
        confidence_level=0.95,
        asimov="postfit",
        points=(empty("a", 1.0, "failed"), point("b", 2.0, observed=9.0), point("c", 3.0)),
    )
    merged = curve.merge(other)
    assert [p.label for p in merged.points] == ["a", "v", "b", "c"]
    assert merged.point("a").status == "converged"
    assert merged.point("b").observed == 9.0


@pytest.mark.parametrize("change", [{"confidence_level": 0.9}, {"asimov": "nominal"}, {"bands": "quantile"}])
def test_curves_of_different_questions_are_not_merged(curve, change):
    with pytest.raises(InputError, match=next(iter(change))):
        curve.merge(curve.model_copy(update=change))


def test_a_broken_file_names_the_place(tmp_path):
    (tmp_path / "limits.json").write_text(
        '{"format": "darksieve-limits/1", "confidence_level": 0.9, "asimov": "postfit", '
        '"points": [{"label": "a", "status": "convergd"}]}'
    )
    with pytest.raises(InputError, match=r"points\[0\].status.*did you mean 'converged'"):
        LimitCurve.load(tmp_path / "limits.json")


def test_hepdata_tables_are_valid(curve, tmp_path):
    validator = pytest.importorskip("hepdata_validator.full_submission_validator")
    save_hepdata(curve, tmp_path / "tables")
    checker = validator.FullSubmissionValidator(schema_version="1.1.1")
    assert checker.validate(directory=str(tmp_path / "tables")), checker.get_messages()
