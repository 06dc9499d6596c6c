"""Measurement by the toy detector: acceptance, response, merging, fakes and what cluster variables know."""

import numpy as np
import pytest

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.photons.clusters import (
    BEAM_BACKGROUND,
    MERGED,
    PHOTON,
    SHAPES,
    SPLIT_OFF,
    draw_shapes,
)
from darksieve.datasets.simulation.photons.detector import Detector, Selection
from darksieve.datasets.simulation.photons.measurement import measure
from darksieve.datasets.simulation.photons.qed import ThreePhotonGenerator
from darksieve.datasets.simulation.photons.sources import photon_with_resonance
from darksieve.errors import InputError

BEAMS = Beams.named("belle2")
NO_FAKES = {"beam_background_mean": 0.0, "split_off_probability": 0.0}
PERFECT = NO_FAKES | {
    "photon_efficiency": 1.0,
    "energy_noise": 0.0,
    "energy_stochastic": 0.0,
    "energy_constant": 0.0,
    "low_tail_fraction": 0.0,
    "position_constant_mm": 0.0,
    "position_root_mm": 0.0,
    "position_fourth_root_mm": 0.0,
    "merge_angle_rad": 0.0,
    "merge_width_rad": 1e-6,
}


def see(photons_cms, detector, seed=1, **selection):
    return measure(
        np.random.default_rng(seed),
        photons_cms,
        beams=BEAMS,
        detector=detector,
        selection=Selection(**selection),
    )


def lab_photons(energies, thetas, phis, n):
    """The same laboratory photons n times, in the CMS, shape (n, n_photons, 4)."""
    e, t, p = (np.asarray(v, dtype=float) for v in (energies, thetas, phis))
    lab = np.stack([e * np.sin(t) * np.cos(p), e * np.sin(t) * np.sin(p), e * np.cos(t), e], axis=-1)
    return np.tile(BEAMS.to_cms(lab), (n, 1, 1))


def qed_photons(n, seed=1):
    return ThreePhotonGenerator(BEAMS.sqrt_s, 0.46, -0.96, 0.976).generate(np.random.default_rng(seed), n)


def area_under_curve(signal, background):
    order = np.argsort(np.concatenate([background, signal]), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    n_s, n_b = len(signal), len(background)
    return (ranks[n_b:].sum() - n_s * (n_s + 1) / 2) / (n_s * n_b)


def test_a_perfect_detector_returns_the_photons_hardest_first():
    photons = qed_photons(20_000)
    measured = see(photons, Detector(**PERFECT))
    truth = BEAMS.to_lab(np.take_along_axis(photons[measured.event], measured.photon[..., None], axis=1))
    np.testing.assert_allclose(measured.momenta, truth, rtol=1e-9, atol=1e-9)
    energy_cms = BEAMS.to_cms(measured.momenta)[..., 3]
    assert (np.diff(energy_cms, axis=1) <= 0).all()
    assert energy_cms.min() > 0.5
    assert (measured.kind == PHOTON).all()
    theta = np.arccos(BEAMS.to_lab(photons)[..., 2] / BEAMS.to_lab(photons)[..., 3])
    expected = (Detector().in_acceptance(theta) & (photons[..., 3] > 0.5)).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(expected), measured.event)


def test_no_cluster_lies_in_the_gaps_or_outside():
    measured = see(qed_photons(20_000), Detector())
    degrees = np.degrees(measured.angles[..., 0])
    assert Detector().in_acceptance(measured.angles[..., 0]).all()
    np.testing.assert_array_equal(measured.region, 1 + (degrees > 31.8) + (degrees > 129.7))
    assert set(np.unique(measured.region)) == {1, 2, 3}


def test_energy_and_position_response_have_the_stated_widths():
    n = 40_000
    detector = Detector(**NO_FAKES)
    energies = np.array([5.0, 3.0, 1.0])
    thetas = np.array([1.0, 1.4, 1.9])
    measured = see(lab_photons(energies, thetas, [0.0, 2.1, -2.1], n), detector)
    seen = np.take_along_axis(measured.momenta[..., 3], np.argsort(measured.photon, axis=1), axis=1)
    theta = np.take_along_axis(measured.angles[..., 0], np.argsort(measured.photon, axis=1), axis=1)
    phi = np.take_along_axis(measured.angles[..., 1], np.argsort(measured.photon, axis=1), axis=1)
    sigma = detector.energy_resolution(energies)
    pull = (seen / energies - 1) / sigma
    f, t, rows = detector.low_tail_fraction, detector.low_tail_sigmas, len(seen)
    variance = 1 + f * (2 - f) * t**2
    np.testing.assert_allclose(pull.mean(axis=0), -f * t, atol=4.5 * np.sqrt(variance / rows))
    np.testing.assert_allclose(
        pull.std(axis=0), np.sqrt(variance), rtol=0.03
    )  # heavy-tailed: fourth moment ~ 8
    angle = detector.angle_resolution(energies)
    tolerance = 4.5 / np.sqrt(2 * rows)
    np.testing.assert_allclose((theta - thetas).std(axis=0) / angle, 1, atol=tolerance)
    np.testing.assert_allclose(phi.std(axis=0) * np.sin(thetas) / angle, 1, atol=tolerance)


def test_each_photon_is_lost_with_the_stated_probability():
    n = 40_000
    measured = see(lab_photons([5, 4, 2], [1.0, 1.4, 1.9], [0, 2.1, -2.1], n), Detector(**NO_FAKES))
    expected = 0.955**3
    assert len(measured.event) / n == pytest.approx(
        expected, abs=4.5 * np.sqrt(expected * (1 - expected) / n)
    )


@pytest.mark.parametrize("steps", [-2.0, 0.0, 1.5])
def test_two_close_photons_merge_with_the_stated_probability(steps):
    n = 20_000
    detector = Detector(**NO_FAKES, photon_efficiency=1.0)
    angle = detector.merge_angle_rad + steps * detector.merge_width_rad
    # with four photons of which two are close, three clusters remain only if they merge
    photons = lab_photons([4, 3, 1.5, 2.0], [1.0, 1.4, 1.8, 1.8 + angle], [0.0, 2.1, -2.1, -2.1], n)
    measured = see(photons, detector)
    expected = 1 / (1 + np.exp(steps))
    assert len(measured.event) / n == pytest.approx(
        expected, abs=4.5 * np.sqrt(expected * (1 - expected) / n)
    )
    merged = measured.kind == MERGED
    assert (merged.sum(axis=1) == 1).all()
    assert set(measured.photon[merged]) == {2}
    assert set(measured.partner[merged]) == {3}
    energy = measured.momenta[..., 3][merged]
    assert np.median(energy) == pytest.approx(3.5, rel=0.01)


def test_light_resonances_lose_events_to_merging():
    def efficiency(mass, **changes):
        photons = photon_with_resonance(np.random.default_rng(3), BEAMS.sqrt_s, np.full(20_000, mass))
        return len(see(photons, Detector(**changes)).event) / 20_000

    no_merging = {"merge_angle_rad": 0.0, "merge_width_rad": 1e-6}
    lost = [1 - efficiency(mass) / efficiency(mass, **no_merging) for mass in (0.15, 0.2, 0.5)]
    assert lost[0] > 0.25
    assert lost[0] > lost[1] + 0.05 > lost[2]
    assert abs(lost[2]) < 0.03


def test_a_split_off_takes_its_energy_from_its_photon_and_lies_near_it():
    detector = Detector(**PERFECT | {"split_off_probability": 1.0, "split_off_scale": 0.2})
    photons = lab_photons([6.0, 5.0], [1.2, 1.9], [0.3, -2.8], 5000)
    measured = see(photons, detector, clusters="at_least")
    fake = measured.kind == SPLIT_OFF
    exactly_one = fake.sum(axis=1) == 1
    assert exactly_one.sum() > 200
    momenta, photon, fake = (v[exactly_one] for v in (measured.momenta, measured.photon, fake))
    split = momenta[fake]
    rows = np.arange(len(momenta))
    parent_place = np.argmax((photon == photon[fake][:, None]) & ~fake, axis=1)
    parent = momenta[rows, parent_place]
    true_energy = np.array([6.0, 5.0])[photon[fake]]
    np.testing.assert_allclose(split[:, 3] + parent[:, 3], true_energy, rtol=1e-9)
    cosine = (split[:, :3] * parent[:, :3]).sum(axis=1) / (split[:, 3] * parent[:, 3])
    assert np.arccos(cosine).min() >= detector.split_off_min_angle_rad - 1e-9
    assert np.median(np.arccos(cosine)) == pytest.approx(0.06 + 0.08 * np.log(2), abs=0.02)


def test_forced_fakes_always_come():
    photons = lab_photons([5.6, 5.2], [1.2, 1.9], [0.3, -2.8], 20_000)
    measured = measure(
        np.random.default_rng(2),
        photons,
        beams=BEAMS,
        detector=Detector(),
        selection=Selection(),
        force_fake=True,
    )
    assert len(measured.event) > 500
    assert np.isin(measured.kind, (BEAM_BACKGROUND, SPLIT_OFF)).any(axis=1).all()


def test_exactly_three_refuses_what_at_least_three_keeps():
    photons = lab_photons([4, 3, 2, 1.5], [1.0, 1.4, 1.8, 2.2], [0.0, 2.1, -2.1, 0.7], 1000)
    detector = Detector(**PERFECT)
    assert len(see(photons, detector).event) == 0
    kept = see(photons, detector, clusters="at_least")
    assert len(kept.event) == 1000
    cms = BEAMS.to_cms(BEAMS.to_lab(photons[0]))[:, 3]
    np.testing.assert_array_equal(kept.photon[0], np.argsort(-cms)[:3])


def shapes_of(kind, n, energy, opening=0.0, seed=1):
    rng = np.random.default_rng(seed)
    out = np.empty((n, len(SHAPES)))
    for row in out:
        draw_shapes(rng, kind, energy, 2, opening, row)
    return out


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        (BEAM_BACKGROUND, "clusterZernikeMVA"),
        (SPLIT_OFF, "clusterZernikeMVA"),
        (MERGED, "clusterZernikeMVA"),
        (SPLIT_OFF, "clusterLAT"),
        (MERGED, "clusterSecondMoment"),
        (BEAM_BACKGROUND, "clusterTiming"),
    ],
)
def test_cluster_variables_tell_fakes_from_photons(kind, variable):
    photon, fake = (shapes_of(k, 4000, 0.8, 0.04 if k == MERGED else 0.0) for k in (PHOTON, kind))
    column = SHAPES.index(variable)
    x, y = photon[:, column], fake[:, column]
    if variable == "clusterTiming":
        x, y = -abs(x), -abs(y)
    area = area_under_curve(x, y)
    assert max(area, 1 - area) > 0.7


def test_cluster_variables_of_real_photons_do_not_know_the_process():
    alps = photon_with_resonance(
        np.random.default_rng(4), BEAMS.sqrt_s, np.random.default_rng(5).uniform(0.3, 9.5, 150_000)
    )
    samples = [see(qed_photons(150_000), Detector(), seed=6), see(alps, Detector(), seed=7)]
    # same kind, energy and part of the calorimeter: the variables' trend in the window is far below the error
    chosen = [
        m.shapes[(m.kind == PHOTON) & (m.region == 2) & (abs(m.momenta[..., 3] - 4.5) < 0.3)] for m in samples
    ]
    n_1, n_2 = len(chosen[0]), len(chosen[1])
    assert min(n_1, n_2) > 5000
    error = np.sqrt((n_1 + n_2 + 1) / (12 * n_1 * n_2))
    for column, name in enumerate(SHAPES):
        area = area_under_curve(chosen[0][:, column], chosen[1][:, column])
        if name == "minC2TDist":  # most are at the upper limit: ties need midranks, compare fractions instead
            share = [(c[:, column] < 250).mean() for c in chosen]
            assert abs(share[0] - share[1]) < 4.5 * np.sqrt(0.25 * (1 / n_1 + 1 / n_2))
        else:
            assert abs(area - 0.5) < 4.5 * error, name


def test_shapes_stay_in_the_ranges_of_their_names():
    shapes = see(qed_photons(50_000), Detector()).shapes.reshape(-1, len(SHAPES))
    values = dict(zip(SHAPES, shapes.T, strict=True))
    assert np.isfinite(shapes).all()
    for name in ("clusterE1E9", "clusterE9E21", "clusterLAT", "clusterZernikeMVA"):
        assert values[name].min() >= 0
        assert values[name].max() <= 1
    # dt99 holds 99 % of in-time photons
    inside = (abs(values["clusterTiming"]) < values["clusterErrorTiming"]).mean()
    assert inside == pytest.approx(0.99, abs=0.003)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photon_efficiency": 1.2}, "photon_efficiency is 1.2"),
        ({"energy_constant": -0.1}, "energy_constant is -0.1"),
        ({"merge_width_rad": 0.0}, "merge_width_rad is 0"),
        ({"barrel_end_deg": 140.0}, "must rise"),
        ({"energy_noise": float("nan")}, "energy_noise is nan"),
    ],
)
def test_impossible_detectors_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Detector(**changes)


def test_wrong_selections_are_refused():
    with pytest.raises(InputError, match="exactly"):
        Selection(clusters="three")
    with pytest.raises(InputError, match="min_energy_cms is 0"):
        Selection(min_energy_cms=0.0)
