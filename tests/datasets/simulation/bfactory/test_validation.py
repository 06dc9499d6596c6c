"""The validation of events at the Υ(4S): measurements are met, the run's own candidates are shown."""

import pytest

from darksieve.datasets.simulation.production import simulate
from darksieve.datasets.simulation.validation import SimulatedFile
from darksieve.datasets.simulation.validations import validate_samples

pytest.importorskip("pythia8mc")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("bfactory") / "signal.root"
    record = simulate("b_to_kplus_alp", path, n_events=800, mass_range=(0.3, 2.0), seed=2)
    (validation,) = validate_samples([SimulatedFile("signal", path, record)], seed=3)
    return validation


def test_every_pull_is_within_four_and_every_row_has_its_source(made):
    pulls = {check.quantity: check.pull for check in made.checks if check.pull is not None}
    assert len(pulls) == 4
    assert {name: pull for name, pull in pulls.items() if abs(pull) > 4} == {}
    assert all(check.source for check in made.checks)


def test_flavours_add_up_and_light_ones_are_as_published(made):
    shares = {c.quantity[9]: c for c in made.checks if c.quantity.startswith("share of")}
    assert set(shares) == {"u", "d", "s", "c"}
    assert sum(check.value for check in shares.values()) == pytest.approx(100)
    # charges of 1/3: Pythia and the published cross sections agree to their rounding, 4 standard errors
    for name in ("d", "s"):
        assert shares[name].value == pytest.approx(shares[name].reference, abs=4 * shares[name].error)


def test_widths_and_resolution_are_those_of_the_runs_own_candidates(made):
    widths = [check for check in made.checks if "sample signal" in check.quantity]
    assert [check.unit for check in widths] == ["MeV", "MeV"]
    assert 1 < widths[0].value < 10
    assert {curve.name for curve in made.curves} >= {"charged_multiplicity"}
    shares = made.curves[0].series[0].y
    assert sum(shares) == pytest.approx(1, abs=1e-9)
