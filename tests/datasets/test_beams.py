"""Beams: collision four-momentum, boosts, named colliders and refusals."""

import numpy as np
import pytest

from darksieve.datasets.beams import NAMED_BEAMS, Beams
from darksieve.errors import InputError


def mass2(p):
    return p[..., 3] ** 2 - (p[..., :3] ** 2).sum(axis=-1)


def test_belle2_has_the_known_energy_and_boost():
    beams = Beams.named("belle2")
    px, py, pz, energy = beams.four_momentum
    assert beams.sqrt_s == pytest.approx(10.579, abs=1e-3)
    assert np.hypot(px, pz) / beams.sqrt_s == pytest.approx(0.287, abs=1e-3)  # beta gamma
    assert py == 0
    assert energy == pytest.approx(11.007)


def test_belle_has_the_known_energy_and_boost():
    beams = Beams.named("belle")
    px, _, pz, _ = beams.four_momentum
    assert beams.sqrt_s == pytest.approx(10.58, abs=0.003)
    assert np.hypot(px, pz) / beams.sqrt_s == pytest.approx(0.425, abs=1e-3)


@pytest.mark.parametrize("beams", [*NAMED_BEAMS.values(), Beams(5.0, 5.0), Beams(9.0, 3.1, 40.0, 0.2)])
def test_collision_is_at_rest_in_the_cms_with_the_electron_on_z(beams):
    total = beams.to_cms(beams.four_momentum)
    electron, positron = beams.to_cms(beams.electron), beams.to_cms(beams.positron)
    np.testing.assert_allclose(total, [0, 0, 0, beams.sqrt_s], atol=1e-12)
    np.testing.assert_allclose(electron[:2], 0, atol=1e-12)
    assert electron[2] > 0
    np.testing.assert_allclose(positron[:3], -electron[:3], atol=1e-12)
    assert np.linalg.det(beams.lab_to_cms) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(4,), (7, 4), (5, 3, 4)])
def test_boosts_are_inverse_and_keep_masses(shape):
    beams = Beams.named("belle2")
    p = np.random.default_rng(1).normal(size=shape)
    p[..., 3] = np.sqrt(1.0 + (p[..., :3] ** 2).sum(axis=-1))
    there = beams.to_cms(p)
    assert there.shape == shape
    np.testing.assert_allclose(mass2(there), 1, rtol=1e-12)
    np.testing.assert_allclose(beams.to_lab(there), p, rtol=1e-12, atol=1e-13)


def test_single_precision_input_is_not_rounded_further():
    beams = Beams.named("belle2")
    p = np.array([0.1, 0.2, 3.0, 3.2], dtype=np.float32)
    np.testing.assert_array_equal(beams.to_cms(p), beams.to_cms(p.astype(np.float64)))


def test_parse_takes_names_numbers_and_beams():
    custom = Beams.parse({"electron_gev": 7.0, "positron_gev": 4, "crossing_mrad": 83})
    assert custom == Beams(7.0, 4.0, 83.0)
    assert Beams.parse("belle") is NAMED_BEAMS["belle"]
    assert Beams.parse(custom) is custom


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("bele2", "did you mean 'belle2'"),
        ({"electron_gev": 7.0, "positron_gv": 4.0}, "beams.positron_gv.*did you mean 'positron_gev'"),
        ({"electron_gev": 7.0}, "positron_gev is missing"),
        ({"electron_gev": -7.0, "positron_gev": 4.0}, "electron_gev is -7.0"),
        ({"electron_gev": 7.0, "positron_gev": 4.0, "crossing_mrad": 4000}, "crossing_mrad is 4000"),
        ({"electron_gev": 7.0, "positron_gev": 4.0, "electron_share": 2}, "electron_share is 2"),
    ],
)
def test_wrong_beams_are_refused(value, message):
    with pytest.raises(InputError, match=message):
        Beams.parse(value)
