"""The toy detector: efficiencies, resolutions and identities come out as its numbers say."""

from dataclasses import replace

import numpy as np
import pytest

from darksieve.constants import K_SHORT_MASS
from darksieve.datasets.simulation.bfactory.calorimeter import measure_clusters
from darksieve.datasets.simulation.bfactory.detected import HYPOTHESES, KAON, PION
from darksieve.datasets.simulation.bfactory.detector import HadronShowers, Identification, Tracking
from darksieve.datasets.simulation.bfactory.response import detect
from darksieve.datasets.simulation.bfactory.settings import BFactorySettings
from darksieve.datasets.simulation.bfactory.tracks import measure_tracks
from darksieve.datasets.simulation.photons.clusters import BEAM_BACKGROUND, MERGED, PHOTON
from darksieve.datasets.simulation.photons.detector import Detector
from darksieve.errors import InputError

CHARGED = [11, 13, 211, 321, 2212]


def binomial_error(p, n):
    return np.sqrt(p * (1 - p) / n)


def test_tracks_are_charged_particles_inside_the_chamber(continuum_batch, detected_continuum):
    tracks = detected_continuum.tracks
    pdg = continuum_batch.pdg[tracks.truth]
    assert np.isin(np.abs(pdg), CHARGED).all()
    assert continuum_batch.is_final[tracks.truth].all()
    assert (np.diff(tracks.truth) > 0).all()  # no particle gives two tracks
    sign = np.where(np.isin(np.abs(pdg), [11, 13]), -1, 1) * np.sign(pdg)
    np.testing.assert_array_equal(tracks.charge, sign)
    momenta = continuum_batch.momenta[tracks.truth]
    theta = np.degrees(np.arctan2(np.hypot(momenta[:, 0], momenta[:, 1]), momenta[:, 2]))
    assert theta.min() > 17
    assert theta.max() < 150


def test_track_efficiency_and_momentum_resolution_are_the_settings(continuum_batch, detected_continuum):
    p = continuum_batch.momenta
    pt = np.hypot(p[:, 0], p[:, 1])
    theta = np.degrees(np.arctan2(pt, p[:, 2]))
    prompt = np.hypot(continuum_batch.vertices[:, 0], continuum_batch.vertices[:, 1]) < 5  # mm
    wanted = (
        continuum_batch.is_final & np.isin(np.abs(continuum_batch.pdg), CHARGED) & prompt
        & (pt > 0.8) & (theta > 17) & (theta < 150)
    )  # fmt: skip
    found = np.isin(np.flatnonzero(wanted), detected_continuum.tracks.truth).mean()
    assert found == pytest.approx(0.965, abs=4 * binomial_error(0.965, wanted.sum()))
    truth = detected_continuum.tracks.truth
    ratio = np.hypot(*detected_continuum.tracks.momenta[:, :2].T) / pt[truth] - 1
    fast = (pt[truth] > 0.8) & (pt[truth] < 1.2) & (np.abs(continuum_batch.pdg[truth]) == 211)
    # 0.11 % × 1 (+) 0.30 % / 0.99 = 0.32 %
    assert ratio[fast].std() == pytest.approx(0.0032, rel=0.05 + 4 / np.sqrt(2 * fast.sum()))


def test_kaons_are_told_from_pions_less_well_the_faster_they_are(continuum_batch, detected_continuum):
    tracks = detected_continuum.tracks
    pdg = np.abs(continuum_batch.pdg[tracks.truth])
    p = np.sqrt((tracks.momenta**2).sum(axis=1))
    passes = tracks.probabilities[:, KAON] > 0.6
    slow, fast = (p > 0.5) & (p < 1.5), p > 2
    assert passes[slow & (pdg == 321)].mean() > 0.9 > passes[fast & (pdg == 321)].mean() > 0.75
    assert passes[slow & (pdg == 211)].mean() < passes[fast & (pdg == 211)].mean() < 0.08
    np.testing.assert_allclose(tracks.probabilities.sum(axis=1), 1)
    right = np.array(CHARGED)[tracks.best_hypothesis] == pdg
    assert right.mean() > 0.85
    assert len(HYPOTHESES) == tracks.log_likelihoods.shape[1]


def test_photon_energies_have_the_calorimeters_resolution(make_signal):
    batch = make_signal("kplus", np.full(3000, 2.0))
    quiet = Detector(low_tail_fraction=0, split_off_probability=0, beam_background_mean=0)
    no_hadrons = HadronShowers(neutral_probability=0, charged_probability=0)
    clusters = measure_clusters(np.random.default_rng(1), batch, quiet, no_hadrons, 0.05)
    assert set(np.unique(clusters.kind)) <= {PHOTON, MERGED}
    single = clusters.kind == PHOTON
    truth = clusters.truth[single]
    assert (batch.pdg[truth] == 22).all()
    pull = (clusters.energy[single] / batch.momenta[truth, 3] - 1) / quiet.energy_resolution(
        batch.momenta[truth, 3]
    )
    assert pull.mean() == pytest.approx(0, abs=4 / np.sqrt(len(pull)) + 0.005)
    hard = batch.momenta[truth, 3] > 0.2  # nearer to the threshold it cuts on the response
    assert pull[hard].std() == pytest.approx(1, abs=4 / np.sqrt(2 * hard.sum()))
    # 0.955 of those that hit the calorimeter and stay alone
    theta = np.arccos(batch.momenta[:, 2] / np.maximum(np.linalg.norm(batch.momenta[:, :3], axis=1), 1e-9))
    hit = (batch.position == 4) & quiet.in_acceptance(theta)
    seen = np.isin(np.flatnonzero(hit), clusters.truth).mean()
    assert seen == pytest.approx(0.955, abs=4 * binomial_error(0.955, hit.sum()) + 0.005)


def test_clusters_of_the_beams_come_in_their_number(continuum_batch, detected_continuum):
    clusters = detected_continuum.clusters
    of_beams = clusters.kind == BEAM_BACKGROUND
    assert (clusters.truth[of_beams] == -1).all()
    # 1.5 of each event; 1.9 % of the polar angle is a gap of the calorimeter
    expected = 1.5 * (1 - (0.8 + 2.0) / (155.1 - 12.4))
    assert of_beams.sum() / 3000 == pytest.approx(expected, abs=4 * np.sqrt(expected / 3000))
    assert (clusters.energy >= 0.05).all()


def test_close_photons_merge(make_signal):
    merged = []
    for mass in (0.03, 0.1, 0.5):
        batch = make_signal("kplus", np.full(500, mass))
        clusters = measure_clusters(np.random.default_rng(1), batch, Detector(), HadronShowers(), 0.05)
        both = clusters.kind == MERGED
        own = (batch.position[clusters.truth[both]] == 4) & (batch.position[clusters.partner[both]] == 4)
        merged.append(own.sum() / 500)
    # they open by 2 m/E and more, E some 3.5 GeV: 17, 57 and 290 mrad, and merge below 55 mrad
    assert merged[0] > 0.6
    assert 0.02 < merged[1] < 0.4
    assert merged[2] == 0


def test_kshorts_are_found_where_they_decay(signal_batches, detected_signals):
    batch, kshorts = signal_batches["kshort"], detected_signals["kshort"].kshorts
    true = kshorts.truth >= 0
    own = batch.position[kshorts.truth[true]] == 2
    # the window is 15 MeV to each side, and the tracks' 0.3 % make it some 3 MeV wide
    assert 0.0015 < (kshorts.mass[true] - K_SHORT_MASS).std() < 0.006
    assert (kshorts.flight_cm >= 0.15).all()
    # two tracks of 0.9 each, a vertex of 0.85, acceptance and decays far out: about half
    assert 0.4 < own.sum() / batch.n_events < 0.75
    pairs = detected_signals["kshort"].tracks.charge[kshorts.tracks]
    assert (pairs.sum(axis=1) == 0).all()


def test_chance_kshorts_follow_their_probability(continuum_batch):
    numbers = replace(BFactorySettings(), tracking=Tracking(kshort_fake_probability=0.0))
    none = detect(np.random.default_rng(4), continuum_batch, numbers).kshorts
    assert (none.truth >= 0).all()
    many = detect(
        np.random.default_rng(4),
        continuum_batch,
        replace(numbers, tracking=Tracking(kshort_fake_probability=0.2)),
    ).kshorts
    assert (many.truth < 0).sum() > 50


def test_better_separation_identifies_better(continuum_batch):
    passing = []
    for separation in (3.0, 6.0, 9.0):
        tracks = measure_tracks(
            np.random.default_rng(1), continuum_batch, Tracking(), Identification(kaon_pion=separation)
        )
        pion = np.abs(continuum_batch.pdg[tracks.truth]) == 211
        passing.append((tracks.probabilities[pion, PION] > 0.6).mean())
    assert passing[0] < passing[1] < passing[2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tracking": {"efficiency": 1.2}}, r"tracking\.efficiency is 1\.2; a probability is at most 1"),
        ({"tracking": {"turn_on_pt": 0}}, r"tracking\.turn_on_pt is 0"),
        ({"identification": {"momentum_gev": -1}}, r"identification\.momentum_gev is -1"),
        ({"showers": {"neutral_probability": 2}}, r"neutral_probability is 2"),
        ({"rates": {"kplus_pi0": 2}}, r"rates\.kplus_pi0 is 2"),
        ({"generator": {"min_continuum_mass": 12}}, r"min_continuum_mass is 12"),
        ({"preselection": {"min_mcb": 5}}, r"min_mcb: unknown key; did you mean 'min_mbc'"),
        ({"beams": {"electron_gev": 5, "positron_gev": 5}}, r"the Υ\(4S\) is at 10\.58"),
    ],
)
def test_wrong_settings_are_refused_with_their_place(values, message):
    with pytest.raises(InputError, match=message):
        BFactorySettings.from_mapping(values)
