"""A fourth photon, and e+e-γ with lost tracks: limits that are known, and what the detector sees of them."""

import numpy as np
import pytest

from darksieve.constants import ALPHA_QED
from darksieve.datasets.simulation.photons.beyond_leading_order import (
    FourPhotonSource,
    RadiativeBhabhaSource,
    radiative_bhabha_over_three_photons,
)
from darksieve.datasets.simulation.photons.detector import Selection
from darksieve.datasets.simulation.photons.measurement import measure
from darksieve.datasets.simulation.photons.processes import background_sources
from darksieve.datasets.simulation.photons.qed import three_photon_matrix_element
from darksieve.datasets.simulation.photons.settings import PhotonSettings

SQRT_S = 10.58
CUTS = (0.5, -0.9, 0.9)
FOUR = FourPhotonSource(SQRT_S, *CUTS)
BHABHA = RadiativeBhabhaSource(SQRT_S, *CUTS, 0.01)
SOURCES = pytest.mark.parametrize("source", [FOUR, BHABHA], ids=["four photons", "lost tracks"])


@SOURCES
def test_momentum_is_conserved_and_all_pass_the_cuts(source):
    momenta = source.generate(np.random.default_rng(1), 300)
    assert momenta.shape == (300, len(source.mothers), 4)
    np.testing.assert_allclose(momenta.sum(axis=1), np.tile([0, 0, 0, SQRT_S], (300, 1)), atol=1e-9)
    mass2 = momenta[..., 3] ** 2 - (momenta[..., :3] ** 2).sum(axis=-1)
    np.testing.assert_allclose(mass2, 0, atol=1e-8)
    cosine = momenta[..., 2] / momenta[..., 3]
    assert momenta[..., 3].min() > 0.5
    assert np.abs(cosine).max() < 0.9 + 1e-12


@SOURCES
def test_the_same_stream_gives_the_same_events(source):
    one, other = (source.generate(np.random.default_rng(7), 50) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_the_fourth_photon_is_the_softest_and_rare_as_alpha():
    momenta = FOUR.generate(np.random.default_rng(2), 300)
    assert (momenta[:, 3, 3] == momenta[..., 3].min(axis=1)).all()
    of_three = FOUR._three_photons.cross_section_fb
    logarithms = np.log(SQRT_S / 4 / 0.5) * 2 * np.arctanh(0.9)
    assert 0.05 < FOUR.cross_section_fb / of_three / (2 * ALPHA_QED / np.pi * logarithms) < 1


def soft_event(energy, unit, directions):
    """Electron, positron back to back and a soft photon, momentum balanced by the pair; (1, 3, 4)."""
    k = energy * np.append(unit, 1.0)
    rest = np.array([0, 0, 0, SQRT_S]) - k
    mass = np.sqrt(rest[3] ** 2 - (rest[:3] ** 2).sum())
    q = 0.5 * mass * np.append(directions, 1.0)
    along = rest[:3] @ q[:3]
    boosted = np.append(q[:3] + (q[3] + (rest[3] * q[3] + along) / mass) / (rest[3] + mass) * rest[:3],
                        (rest[3] * q[3] + along) / mass)  # fmt: skip
    return np.stack([boosted, rest - boosted, k])[None]


def test_soft_photons_factorise_into_bhabha_scattering_and_the_current():
    """|M|² -> e² (−J²) |M_Bhabha|², with J the current of the four charges."""
    energy, unit = 1e-5, np.array([0.6, 0.0, 0.8])
    direction = np.array([np.sin(1.1), 0.0, np.cos(1.1)])  # of the electron
    momenta = soft_event(energy, unit, direction)
    e2 = 4 * np.pi * ALPHA_QED
    full = radiative_bhabha_over_three_photons(momenta, SQRT_S) * three_photon_matrix_element(momenta, SQRT_S)
    s, t = SQRT_S**2, -(SQRT_S**2) / 2 * (1 - direction[2])
    u = -s - t
    bhabha = 2 * e2**2 * (s**4 + t**4 + u**4) / (s**2 * t**2)
    half = SQRT_S / 2
    charges = [(+1, [0, 0, half, half]), (-1, [0, 0, -half, half])]  # incoming e-, e+: −Q
    charges += [(-1, [*(half * direction), half]), (+1, [*(-half * direction), half])]
    metric, k = np.array([-1, -1, -1, 1]), momenta[0, 2]
    current = sum(sign * np.array(p) / (np.array(p) * metric * k).sum() for sign, p in charges)
    squared = -(current * metric * current).sum()
    assert full[0] == pytest.approx(e2 * squared * bhabha, rel=1e-3)


def test_two_lost_tracks_have_the_square_of_one():
    other = RadiativeBhabhaSource(SQRT_S, *CUTS, 0.02)
    assert other.cross_section_fb == pytest.approx(4 * BHABHA.cross_section_fb, rel=1e-12)


def test_events_of_two_to_four_clusters_are_kept_whole():
    settings = PhotonSettings.from_mapping({"selection": {"clusters": "two_to_four"}})
    photons = FourPhotonSource(settings.beams.sqrt_s, *settings.generator_cuts).generate(
        np.random.default_rng(3), 2000
    )
    kept = measure(
        np.random.default_rng(4), photons, beams=settings.beams, detector=settings.detector,
        selection=settings.selection,
    )  # fmt: skip
    n_clusters = np.isfinite(kept.momenta[..., 3]).sum(axis=1)
    assert set(np.unique(n_clusters)) == {2, 3, 4}
    energy = kept.momenta[..., 3]
    np.testing.assert_array_equal(np.isfinite(energy), kept.kind >= 0)
    np.testing.assert_array_equal(np.isnan(kept.shapes).all(axis=2), kept.kind < 0)
    of_three = measure(
        np.random.default_rng(4), photons, beams=settings.beams, detector=settings.detector,
        selection=Selection(clusters="at_least"),
    )  # fmt: skip
    assert len(of_three.event) == pytest.approx(
        (n_clusters >= 3).sum(), abs=5 * np.sqrt(2 * 2000 * 0.9 * 0.1)
    )
    assert of_three.kind.shape[1] == 3


def test_all_backgrounds_have_a_rate():
    rates = {name: source.cross_section_fb for name, source in background_sources(PhotonSettings()).items()}
    assert set(rates) >= {"qed_4gamma", "ee_gamma"}
    assert all(rate > 0 for rate in rates.values())
    assert rates["qed_4gamma"] < 0.05 * rates["qed_3gamma"]
