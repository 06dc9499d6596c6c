"""Validation: pulls, documents, the registry, and the photons' own figures."""

import dataclasses
import math

import numpy as np
import pytest

from darksieve.datasets.simulation.photons import pair_mass_checks, response_checks
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.processes import PROCESSES
from darksieve.datasets.simulation.production import simulate
from darksieve.datasets.simulation.validation import (
    Check,
    Curve,
    Series,
    SimulatedFile,
    Validation,
    grouped_error,
    half_width,
    load_validations,
    save_validations,
)
from darksieve.datasets.simulation.validations import FAMILIES, validate_samples
from darksieve.errors import InputError


def check(**changes):
    values = {"value": 1.1, "error": 0.03, "reference": 1.0, "reference_error": 0.04}
    return Check("q", unit="1", source="s", **{**values, **changes})


def test_pull_is_the_difference_over_both_errors():
    assert check().pull == pytest.approx(2.0)
    assert check().relative_difference == pytest.approx(0.1)
    assert check(reference_error=None).pull is None
    assert check(error=0.0, reference_error=0.0).pull is None
    assert check(reference=0.0).relative_difference is None


@pytest.mark.parametrize(
    "changes",
    [
        {"value": math.nan},
        {"reference": math.inf},
        {"error": -1},
        {"error": math.nan},
        {"reference_error": math.nan},
    ],
)
def test_check_refuses_what_is_no_number(changes):
    with pytest.raises(ValueError, match="check 'q'"):
        check(**changes)


def test_grouped_error_is_that_of_a_gaussian_width():
    # the standard error of the half width of the central 68 % is 0.96 sigma/sqrt(n); of a scatter of 25
    # values it is known to 1/sqrt(48) = 14 %: 4 sigma
    width, error = grouped_error(np.random.default_rng(1).normal(0, 2, 40_000), half_width)
    assert error == pytest.approx(0.96 * 2 / 200, rel=0.58)
    assert width == pytest.approx(2.0, abs=4 * 0.96 * 2 / 200)
    assert math.isnan(grouped_error(np.ones(20), half_width)[1])


def test_document_gives_the_same_back_and_knows_its_format(tmp_path):
    series = (Series.of("a", [1, 2], [3, np.nan], [0.1, np.nan]), Series.of("b", [1], [2]))
    curve = Curve("c", "t", "x", "y", series, "alt")
    made = (Validation("f", "t", ("n",), (check(), check(reference_error=None)), (curve,)),)
    path = tmp_path / "v.json"
    save_validations(made, path)
    (back,) = load_validations(path)
    assert back.checks == made[0].checks
    assert dataclasses.replace(back, curves=()) == dataclasses.replace(made[0], curves=())
    np.testing.assert_array_equal(back.curves[0].series[0].y, curve.series[0].y)
    assert back.curves[0].series[1].errors is None
    path.write_text(path.read_text().replace("validation/1", "validation/9"))
    with pytest.raises(InputError, match="validation/9"):
        load_validations(path)


def test_series_of_different_lengths_is_refused():
    with pytest.raises(ValueError, match="differ"):
        Series.of("a", [1, 2], [3])


def test_families_share_no_process_and_name_known_ones():
    names = [name for family in FAMILIES for name in family.processes]
    assert len(names) == len(set(names))
    assert set(names) <= set(PROCESSES)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validation")
    sizes = {
        "gamma_alp": {"n_events": 60_000, "mass_range": (0.2, 9.8)},
        "gamma_eta": {"n_events": 15_000},
        "gamma_gamma": {"n_events": 500},
        "qed_3gamma": {"n_events": 500},
    }
    made = []
    for name, size in sizes.items():
        path = folder / f"{name}.root"
        made.append(SimulatedFile(name, path, simulate(name, path, seed=5, **size)))
    return made


@pytest.fixture(scope="module")
def photons(samples):
    (validation,) = validate_samples(samples, seed=4)
    return validation


def test_every_pull_of_the_photons_is_within_four(photons):
    pulls = {check.quantity: check.pull for check in photons.checks if check.pull is not None}
    assert len(pulls) >= 8
    # ten odd pulls of numbers from 25 groups: beyond 4.5 once in some thousands
    assert {name: pull for name, pull in pulls.items() if abs(pull) > 4.5} == {}
    assert all(check.source for check in photons.checks)


def test_validation_is_the_same_for_the_same_seed(samples, photons):
    assert validate_samples(samples, seed=4)[0].checks == photons.checks
    assert validate_samples(samples, seed=5)[0].checks != photons.checks


def test_a_detector_that_is_worse_than_it_says_is_found():
    settings = PhotonSettings()
    rng = np.random.default_rng(3)
    energy = np.full(100_000, 2.0)
    wide = dataclasses.replace(settings.detector, energy_constant=0.0145)
    widths = [
        grouped_error(response_checks.smeared_energies(rng, detector, energy) / energy, half_width)
        for detector in (settings.detector, wide)
    ]
    assert abs(Check.compare("width", widths[1], widths[0], "1", "s").pull) > 5


@pytest.mark.parametrize(
    "changes",
    [
        {"beams": {"electron_gev": 4.7, "positron_gev": 4.7}},
        {"detector": {"beam_background_mean": 0.0, "split_off_probability": 0.0}},
        {"detector": {"barrel_start_deg": 89.9, "barrel_end_deg": 89.95, "backward_start_deg": 155.0}},
        {"selection": {"min_energy_cms": 3.0}},
        {"selection": {"clusters": "two_to_four", "min_energy_cms": 0.15, "min_energy_lab": 0.1}},
    ],
)
def test_unusual_settings_leave_rows_out_and_spoil_nothing(changes, tmp_path, monkeypatch):
    monkeypatch.setattr(response_checks, "N_PHOTON_EVENTS", 20_000)
    settings = PhotonSettings.from_mapping(changes)
    record = simulate(
        "gamma_alp", tmp_path / "s.root", n_events=300, mass_range=(0.5, 5.0), settings=settings
    )
    used = [SimulatedFile("signal", tmp_path / "s.root", record)]
    (made,) = validate_samples(used, seed=1)
    save_validations([made], tmp_path / "v.json")
    assert load_validations(tmp_path / "v.json")[0].checks == made.checks


def test_pairs_with_a_fourth_photon_have_the_resolution_of_the_others(tmp_path):
    settings = PhotonSettings.from_mapping(
        {"selection": {"clusters": "two_to_four", "min_energy_cms": 0.15, "min_energy_lab": 0.1}}
    )
    path = tmp_path / "s.root"
    record = simulate("gamma_alp", path, masses={2.0: 8_000}, settings=settings, seed=4)
    sample = SimulatedFile("signal", path, record)
    numbers = sample.columns("genPair")["genPair"]
    assert (numbers > 2).any()  # of pairs with the fourth
    first, second, _ = pair_mass_checks._true_pairs(sample)
    assert len(first) == (numbers >= 0).sum()
    difference = pair_mass_checks._masses(first, second) - 2.0
    assert np.isfinite(difference).all()
    assert half_width(difference) < 0.04  # 26 MeV with three clusters


def test_a_family_is_measured_only_where_it_has_a_sample():
    assert validate_samples([], seed=1) == ()


def test_missing_branch_is_named(samples):
    with pytest.raises(InputError, match="nothing_of_the_kind"):
        samples[0].columns("nothing_of_the_kind")
