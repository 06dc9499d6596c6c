"""Backgrounds: lifetimes from the record, conversions at the material, rates."""

import dataclasses

import numpy as np
import pytest

from darksieve.datasets.simulation.displaced.backgrounds import HadronicSource, kshorts, thermal_momenta
from darksieve.datasets.simulation.displaced.conversions import (
    conversion_probabilities,
    convert,
    energy_shares,
    mean_conversion_probability,
)
from darksieve.datasets.simulation.displaced.processes import BACKGROUNDS, background_source
from darksieve.datasets.simulation.displaced.settings import DisplacedSettings, Material
from darksieve.errors import InputError

N = 20_000


def proper_lengths(pairs):
    """From the record alone: distance from the collision over βγ, in cm."""
    parent = pairs.momenta.sum(axis=1)
    size = np.linalg.norm(parent[:, :3], axis=1)
    mass = np.sqrt(parent[:, 3] ** 2 - size**2)
    return np.linalg.norm(pairs.vertex, axis=1) * mass / size, mass


@pytest.mark.parametrize(
    ("process", "ctau", "mass"),
    [("displaced_kshort", 2.6844, 0.497611), ("displaced_lambda", 7.89, 1.115683)],
)
def test_lifetimes_from_the_record_are_those_of_the_particle(process, ctau, mass):
    # PDG 2024; the beam spot's 0.35 mm in z adds less than 1e-3 to such lengths, in quadrature
    events = background_source(process, DisplacedSettings()).generate(np.random.default_rng(4), N)
    lengths, masses = proper_lengths(events.hprime)
    assert lengths.mean() == pytest.approx(ctau, abs=4 * ctau / np.sqrt(N))
    assert (lengths > ctau).mean() == pytest.approx(np.exp(-1), abs=4 * 0.483 / np.sqrt(N))
    np.testing.assert_allclose(masses, mass, rtol=1e-9)


def test_d_mesons_fly_less_than_a_millimetre_and_b_come_before_them():
    events = background_source("displaced_b_decay", DisplacedSettings()).generate(np.random.default_rng(4), N)
    distance = np.linalg.norm(events.hprime.vertex[:, :2], axis=1)
    # cτ of 123 µm (D0) with βγ of order 0.5, behind a B with 473 µm × 0.28 along the beam
    assert 0.002 < np.median(distance) < 0.03
    assert np.median(events.hprime.vertex[:, 2]) > 0.002  # the boost is along z


def test_conversions_lie_inside_a_layer_in_the_shares_of_the_map():
    settings = DisplacedSettings()
    material = settings.material
    events = HadronicSource(settings, kshorts, 1.0).generate(np.random.default_rng(6), N)
    radius = np.hypot(events.chi2.vertex[:, 0], events.chi2.vertex[:, 1])
    away = np.abs(radius[:, None] - np.array(material.radii_cm))
    assert away.min(axis=1).max() <= material.layer_cm / 2 + 1e-9
    photon = events.chi2.momenta.sum(axis=1)
    sine = np.hypot(photon[:, 0], photon[:, 1]) / np.linalg.norm(photon[:, :3], axis=1)
    probabilities = conversion_probabilities(material, sine)
    expected = (probabilities / probabilities.sum(axis=1, keepdims=True)).mean(axis=0) * N
    counts = np.bincount(away.argmin(axis=1), minlength=len(material.radii_cm))
    assert ((counts - expected) ** 2 / expected).sum() < 8 + 5 * np.sqrt(16)


def test_converted_pairs_have_the_photons_energy_and_a_small_mass():
    rng = np.random.default_rng(7)
    photons = np.tile([0.6, 0.0, 0.8, 1.0], (N, 1)) * rng.uniform(0.3, 3, N)[:, None]
    positron, electron, point = convert(rng, Material(), photons, np.zeros((N, 3)))
    total = positron + electron
    np.testing.assert_allclose(total[:, 3], photons[:, 3], rtol=0.02)
    mass = np.sqrt(np.maximum(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(axis=1), 0))
    assert np.median(mass) < 0.005
    np.testing.assert_allclose(point[:, 0] / point[:, 2], 0.75, rtol=1e-9)  # along the photon


def test_energy_shares_follow_the_high_energy_limit():
    shares = energy_shares(np.random.default_rng(1), 40_000)
    # <x²> of 1 - 4/3 x(1-x): (1/3 - 4/3 (1/4 - 1/5)) / (7/9) = 12/35; its spread is below 0.33
    assert (shares**2).mean() == pytest.approx(12 / 35, abs=4 * 0.33 / 200)
    assert shares.mean() == pytest.approx(0.5, abs=4 * 0.32 / 200)


def test_thin_layers_convert_seven_ninths_of_their_thickness():
    thin = Material(radii_cm=(1.0,), radiation_lengths=(1e-4,))
    assert conversion_probabilities(thin, np.array([0.5]))[0, 0] == pytest.approx(7 / 9 * 2e-4, rel=1e-4)
    beams = DisplacedSettings().beams
    # over all directions outside the acceptance nothing converts
    assert mean_conversion_probability(thin, beams, 89.0, 89.0) == 0
    assert mean_conversion_probability(thin, beams, 17.0, 150.0) > 0.7 * 7 / 9 * 1e-4


@pytest.mark.parametrize(
    ("mass", "temperature", "mean"),
    # mean momenta in 20 000 events of Pythia 8.317, e+e- → u, d, s, c at 10.58 GeV; the form fits to 2 %
    [(0.497611, 0.475, 1.1656), (1.115683, 0.441, 1.3507), (0.0, 0.1905, 0.3810), (0.13957, 0.367, 0.7819)],
)
def test_spectra_have_the_mean_momenta_of_pythia(mass, temperature, mean):
    drawn = thermal_momenta(np.random.default_rng(2), 40_000, mass, temperature, 5.2)
    assert drawn.mean() == pytest.approx(mean, rel=0.02 + 4 * 0.75 / 200)


BESIDE_PHOTON = [name for name in BACKGROUNDS if name != "displaced_kshort_pair"]


@pytest.mark.parametrize("process", BESIDE_PHOTON)
def test_rates_are_products_of_the_config(process):
    settings = DisplacedSettings()
    source = background_source(process, settings)
    probability = source.conversion_probability
    assert source.cross_section_fb == pytest.approx(source.rate_fb * 6.96 * probability)
    doubled = dataclasses.replace(
        settings,
        material=dataclasses.replace(
            settings.material, radiation_lengths=tuple(2 * x for x in settings.material.radiation_lengths)
        ),
    )
    ratio = background_source(process, doubled).cross_section_fb / source.cross_section_fb
    assert 1.9 < ratio < 2.0  # twice the material, less what it absorbs


def test_no_material_has_no_rate_and_says_so(tmp_path):
    from darksieve.datasets.simulation.production import simulate

    settings = DisplacedSettings(material=Material((1.0,), (0.0,)))
    with pytest.raises(InputError, match="cross section is 0"):
        simulate("displaced_kshort", tmp_path / "a.root", n_events=10, settings=settings)


def test_kshort_pairs_come_from_the_collision_when_told_so():
    pairs, lengths, mean = kshorts(np.random.default_rng(1), DisplacedSettings(), np.zeros((500, 3)))
    record, _ = proper_lengths(pairs)
    np.testing.assert_allclose(record, lengths, rtol=1e-9)
    assert mean == 2.6844


def test_pairs_of_kshorts_have_two_vertices_of_the_same_lifetime_and_the_rate_of_ordered_pairs():
    source = background_source("displaced_kshort_pair", DisplacedSettings())
    # 0.467 K_S per event, 69.2 % of them to ππ, independent of each other; 3.69 nb
    assert source.cross_section_fb == pytest.approx(3.69e6 * (0.467 * 0.692) ** 2)
    events = source.generate(np.random.default_rng(5), N)
    for pairs in (events.hprime, events.chi2):
        lengths, masses = proper_lengths(pairs)
        assert lengths.mean() == pytest.approx(2.6844, abs=4 * 2.6844 / np.sqrt(N))
        np.testing.assert_allclose(masses, 0.497611, rtol=1e-9)
    correlation = np.corrcoef(*events.proper_lengths.T)[0, 1]
    assert abs(correlation) < 4 / np.sqrt(N)
