"""Tracks and vertices: the config's tables are what comes out."""

import dataclasses

import numpy as np
import pytest

from darksieve.datasets.simulation.displaced.events import ELECTRON, KAON, MUON, PION, PROTON, TruePairs
from darksieve.datasets.simulation.displaced.settings import (
    DarkSector,
    DisplacedSettings,
    Material,
    Preselection,
    Spectra,
    Tracker,
)
from darksieve.datasets.simulation.displaced.tracking import (
    find_pairs,
    identify,
    measure_pairs,
    opening_angles,
    track_efficiency,
    vertex_efficiency,
)
from darksieve.errors import InputError

N = 20_000


def pairs_at(radius, opening, *, n=N, momentum=1.5, z=0.0):
    """Pions of the same momentum about the x axis, from (radius, 0, z)."""
    momenta = np.zeros((n, 2, 4))
    for i, sign in enumerate((1, -1)):
        momenta[:, i, 0] = momentum * np.cos(opening / 2)
        momenta[:, i, 1] = sign * momentum * np.sin(opening / 2)
        momenta[:, i, 3] = np.hypot(momentum, 0.13957039)
    vertex = np.tile([radius, 0.0, z], (n, 1)).astype(float)
    return TruePairs(np.full((n, 2), PION, np.int32), momenta, vertex, 0)


@pytest.mark.parametrize(
    ("radius", "opening"), [(0.5, 0.5), (4.0, 0.5), (12.0, 0.3), (50.0, 0.2), (1.0, 0.003)]
)
def test_vertices_are_found_as_the_table_says(radius, opening):
    tracker = Tracker()
    pairs = pairs_at(radius, opening)
    track = float(track_efficiency(tracker, pairs.momenta[0, 0]))
    assert track == pytest.approx(0.965, rel=1e-6)  # at 1.5 GeV the plateau
    expected = track**2 * float(vertex_efficiency(tracker, np.array([radius]), np.array([opening]))[0])
    assert opening_angles(pairs.momenta[:1])[0] == pytest.approx(opening, rel=1e-9)
    found = find_pairs(np.random.default_rng(1), tracker, pairs).mean()
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / N))


def test_table_is_reproduced_at_its_radii_and_is_nought_beyond():
    tracker = Tracker()
    wide = np.full(len(tracker.radii_cm), 1.0)
    made = vertex_efficiency(tracker, np.array(tracker.radii_cm), wide)
    np.testing.assert_allclose(made, tracker.vertex_efficiency, atol=1e-12)
    assert vertex_efficiency(tracker, np.array([80.5]), np.ones(1))[0] == 0
    assert vertex_efficiency(tracker, np.array([1.0]), np.zeros(1))[0] == 0


@pytest.mark.parametrize("theta", [10.0, 160.0])
def test_tracks_outside_the_drift_chamber_are_lost(theta):
    angle = np.radians(theta)
    assert track_efficiency(Tracker(), np.array([2 * np.sin(angle), 0, 2 * np.cos(angle)])) == 0


def test_slow_tracks_are_lost():
    assert track_efficiency(Tracker(), np.array([0.04, 0, 0.02])) == 0


def test_vertices_far_along_the_beams_are_lost():
    assert not find_pairs(np.random.default_rng(1), Tracker(), pairs_at(1.0, 0.5, n=500, z=150.0)).any()


@pytest.mark.parametrize(("radius", "across"), [(0.5, 0.00275), (10.0, 0.01), (60.0, 0.08)])
def test_vertex_resolution_is_that_of_the_table(radius, across):
    tracker = dataclasses.replace(Tracker(), tail_fraction=0.0)
    measured = measure_pairs(np.random.default_rng(2), tracker, pairs_at(radius, 0.5))
    shift = measured.vertex - [radius, 0, 0]
    along = min(across / np.sin(0.25), 0.5)
    # a standard deviation of n values is known to 1/sqrt(2n)
    for axis, width in ((0, along), (1, across), (2, across)):
        assert shift[:, axis].std() == pytest.approx(width, rel=4 / np.sqrt(2 * N))


def test_nearly_parallel_tracks_are_no_worse_along_their_flight_than_the_bound():
    measured = measure_pairs(np.random.default_rng(2), Tracker(), pairs_at(4.0, 1e-4, n=200))
    np.testing.assert_allclose(measured.along, Tracker().max_along_flight_cm)


def test_momentum_resolution_is_that_of_the_config():
    measured = measure_pairs(np.random.default_rng(3), Tracker(), pairs_at(0.5, 0.5))
    pt = np.hypot(measured.momenta[:, 0, 0], measured.momenta[:, 0, 1])
    expected = np.hypot(0.0011 * 1.5, 0.0030 * np.hypot(1.5, 0.13957039) / 1.5)
    assert (pt / 1.5).std() == pytest.approx(expected, rel=4 / np.sqrt(2 * N))


def test_mass_under_the_right_hypothesis_is_unbiased():
    pairs = pairs_at(0.5, 0.8)
    true = pairs.momenta.sum(axis=1)
    mass = np.sqrt(true[0, 3] ** 2 - (true[0, :3] ** 2).sum())
    measured = measure_pairs(np.random.default_rng(4), Tracker(), pairs)
    difference = measured.mass((0.13957039, 0.13957039)) - mass
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(N)
    assert (measured.mass((0.493677, 0.493677)) > measured.mass((0.13957039, 0.13957039))).all()


@pytest.mark.parametrize(
    ("name", "good", "bad"), [("electronID", ELECTRON, PION), ("muonID", MUON, PION), ("kaonID", KAON, PION)]
)
def test_identification_prefers_the_right_particle_and_knows_its_momenta(name, good, bad):
    rng = np.random.default_rng(5)
    at = {}
    for momentum in (0.3, 2.0):
        p = np.zeros((5000, 2, 3))
        p[..., 0] = momentum
        for particle in (good, bad):
            pdg = np.full((5000, 2), particle, np.int32)
            at[momentum, particle] = np.median(identify(rng, Tracker(), pdg, p)[name])
    assert at[2.0, good] > 0.85
    assert at[2.0, bad] < 0.15
    if name == "muonID":  # muons below 0.6 GeV do not reach the muon system
        assert at[0.3, good] == pytest.approx(0.5, abs=0.05)


def test_protons_look_more_like_kaons_than_pions_do():
    p = np.zeros((5000, 2, 3))
    p[..., 0] = 1.0
    made = [
        np.median(identify(np.random.default_rng(6), Tracker(), np.full((5000, 2), k, np.int32), p)["kaonID"])
        for k in (PION, PROTON, KAON)
    ]
    assert made[0] < made[1] < made[2]


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        (Tracker, {"track_efficiency": 1.2}, r"tracker\.track_efficiency is 1\.2"),
        (Tracker, {"radii_cm": (0.0, 1.0)}, "one number per radius"),
        (Tracker, {"vertex_resolution_cm": (0.0,) * 9}, "no vertex is exact"),
        (Tracker, {"track_scale": 0.0}, r"tracker\.track_scale is 0"),
        (Tracker, {"beam_spot_cm": (0.1,)}, "x, y and z"),
        (Material, {"radii_cm": (2.0, 1.0), "radiation_lengths": (0.1, 0.1)}, "positive and rises"),
        (Material, {"radii_cm": (1.0,)}, "one number per layer"),
        (Spectra, {"kshort_temperature": 0.0}, "kshort_temperature is 0"),
        (Spectra, {"lambda_to_proton": 1.5}, "a probability is at most 1"),
        (DarkSector, {"chi2_mass": 1.0}, "needs more than chi1_mass"),
        (DarkSector, {"dark_photon_mass": 2.0}, "dark_photon_mass is 2"),
        (DarkSector, {"hprime_ctau_cm": (1.0,)}, "two lengths"),
        (Preselection, {"trigger_tracks": 5}, "a candidate has four"),
        (Preselection, {"trigger_pt": float("nan")}, r"selection\.trigger_pt is nan"),
    ],
)
def test_impossible_numbers_are_refused(part, values, message):
    with pytest.raises(InputError, match=message):
        part(**values)


def test_settings_come_back_from_their_mapping():
    settings = DisplacedSettings(model=DarkSector(hprime_ctau_cm=(1.0, 1.0)))
    assert DisplacedSettings.from_mapping(settings.to_mapping()) == settings
    with pytest.raises(InputError, match="dark_foton_mass"):
        DisplacedSettings.from_mapping({"model": {"dark_foton_mass": 3.0}})
    sources = settings.unit_and_source()
    assert sources["kshort_to_pions"]["source"] == "PDG, from memory"
    changed = DisplacedSettings(spectra=Spectra(kshort_to_pions=0.7)).unit_and_source()
    assert changed["kshort_to_pions"]["source"] == "settings (default 0.692)"
