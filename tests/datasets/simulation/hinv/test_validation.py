"""The validation of B → hX agrees with what it is held against, and says that the tag is a stand-in."""

import pytest

pytest.importorskip("pythia8mc")

from darksieve.datasets.simulation.hinv.settings import HinvSettings
from darksieve.datasets.simulation.production import simulate
from darksieve.datasets.simulation.validation import SimulatedFile
from darksieve.datasets.simulation.validations import validate_samples


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    path = tmp_path_factory.mktemp("hinv") / "pi.root"
    settings = HinvSettings(channels=("pi",))
    record = simulate("hinv_pi", path, masses={1.5: 3000}, settings=settings, seed=2)
    (found,) = validate_samples([SimulatedFile("signal", path, record)], 1)
    return found


def test_every_check_is_within_errors_of_its_reference(validation):
    assert len(validation.checks) == 4
    for check in validation.checks:
        if check.pull is not None:
            # the median of p_h may be off by a few MeV: tracks and tags have tails
            assert abs(check.pull) < 4 or (check.unit == "MeV" and abs(check.value - check.reference) < 3)
        else:
            assert check.relative_difference == pytest.approx(0, abs=0.3)


def test_it_says_that_the_tag_is_a_stand_in(validation):
    assert any("stand-in" in note for note in validation.notes)


def test_right_and_wrong_tags_are_drawn_normalised(validation):
    (curve,) = validation.curves
    assert [series.label for series in curve.series] == ["right tags", "wrong tags"]
    for series in curve.series:
        assert sum(series.y) == pytest.approx(1)
    # wrong tags of a signal hold most particles of the right one, so they gather near the peak, too
    right, wrong = (
        sum(y for x, y in zip(series.x, series.y, strict=True) if 5.272 < x < 5.287)
        for series in curve.series
    )
    assert right > 0.9 > wrong


def test_few_rows_leave_out_what_they_cannot_measure(tmp_path):
    settings = HinvSettings(channels=("pi",))
    path = tmp_path / "few.root"
    record = simulate("hinv_pi", path, masses={1.5: 100}, settings=settings)
    (found,) = validate_samples([SimulatedFile("signal", path, record)], 1)
    assert len(found.checks) == 2
