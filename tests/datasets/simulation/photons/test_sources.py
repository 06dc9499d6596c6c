"""Sources: kinematics, angular distributions and cross sections of each process."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest

from darksieve.constants import OMEGA_MASS, PI0_MASS
from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.decays import one_plus_cosine_squared
from darksieve.datasets.simulation.photons.cross_sections import CrossSections
from darksieve.datasets.simulation.photons.detector import Detector, Selection
from darksieve.datasets.simulation.photons.measurement import measure
from darksieve.datasets.simulation.photons.processes import background_sources
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.photons.sources import OmegaSource, TwoPhotonSource, photon_with_resonance
from darksieve.errors import InputError

SQRT_S = 10.58


def mass_of(p):
    return np.sqrt(np.maximum(p[..., 3] ** 2 - (p[..., :3] ** 2).sum(-1), 0))


def helicity_cosine(daughter, parent):
    """Cosine of a massless daughter's angle in the parent's rest frame to the parent's direction."""
    mass = mass_of(parent)
    momentum = np.linalg.norm(parent[:, :3], axis=1)
    along = (daughter[:, :3] * parent[:, :3]).sum(1) / momentum
    at_rest = (parent[:, 3] * daughter[:, 3] - (parent[:, :3] * daughter[:, :3]).sum(1)) / mass
    return (parent[:, 3] * along - momentum * daughter[:, 3]) / mass / at_rest


def p_value(values, distribution_function):
    return kstest(values, distribution_function).pvalue


def flat(c):
    return (c + 1) / 2


def one_plus_square(c):
    return 0.5 + (3 * c + c**3) / 8


@pytest.mark.parametrize("name", list(background_sources(PhotonSettings())))
def test_every_source_conserves_four_momentum_with_massless_photons(name):
    source = background_sources(PhotonSettings())[name]
    photons = source.generate(np.random.default_rng(1), 2000)
    sqrt_s = Beams.named("belle2").sqrt_s
    assert photons.shape == (2000, len(source.mothers), 4)
    np.testing.assert_allclose(photons.sum(axis=1), np.tile([0, 0, 0, sqrt_s], (2000, 1)), atol=1e-10)
    np.testing.assert_allclose(photons[..., 3], np.linalg.norm(photons[..., :3], axis=-1), rtol=1e-9)
    assert source.cross_section_fb > 0
    assert source.generate(np.random.default_rng(1), 0).shape == (0, len(source.mothers), 4)


@pytest.mark.parametrize("mass", [0.17, 1.0, 5.0, 9.8])
def test_alp_has_its_mass_recoils_as_one_plus_cosine_squared_and_decays_isotropically(mass):
    photons = photon_with_resonance(np.random.default_rng(2), SQRT_S, np.full(20_000, mass))
    resonance = photons[:, 1] + photons[:, 2]
    np.testing.assert_allclose(mass_of(resonance), mass, rtol=1e-6)
    assert p_value(photons[:, 0, 2] / photons[:, 0, 3], one_plus_square) > 1e-4
    assert p_value(helicity_cosine(photons[:, 1], resonance), flat) > 1e-4
    # the decay plane knows nothing of the production plane
    normal = np.cross(resonance[:, :3], [0, 0, 1.0])
    normal /= np.linalg.norm(normal, axis=1)[:, None]
    polar = np.cross(normal, resonance[:, :3] / np.linalg.norm(resonance[:, :3], axis=1)[:, None])
    azimuth = np.arctan2((photons[:, 1, :3] * normal).sum(1), (photons[:, 1, :3] * polar).sum(1))
    assert p_value(azimuth / np.pi, flat) > 1e-4


def test_one_plus_cosine_squared_is_drawn_as_named():
    assert p_value(one_plus_cosine_squared(np.random.default_rng(3), 50_000), one_plus_square) > 1e-4


def omega_source(**changes):
    values = {
        "sqrt_s": SQRT_S,
        "electron_width": 6.4e-7,
        "width": 8.68e-3,
        "branching_fraction": 1.0,
        "min_cos_theta": -0.9,
        "max_cos_theta": 0.95,
    } | changes
    return OmegaSource(**values)


def test_omega_is_forward_peaked_transverse_and_decays_through_a_pi0():
    source = omega_source()
    photons = source.generate(np.random.default_rng(4), 40_000)
    pi0 = photons[:, 2] + photons[:, 3]
    omega = pi0 + photons[:, 1]
    np.testing.assert_allclose(mass_of(pi0), PI0_MASS, rtol=1e-5)
    assert np.median(mass_of(omega)) == pytest.approx(OMEGA_MASS, abs=4 * 8.68e-3 / np.sqrt(40_000))
    low, high = np.quantile(mass_of(omega), [0.25, 0.75])
    assert high - low == pytest.approx(8.68e-3, rel=0.07)  # a Breit-Wigner's quartiles are its width apart
    assert p_value(helicity_cosine(photons[:, 1], omega), one_plus_square) > 1e-4
    assert p_value(helicity_cosine(photons[:, 2], pi0), flat) > 1e-4

    x = 1 - OMEGA_MASS**2 / SQRT_S**2

    def radiator(c):
        return (2 - 2 * x + x**2) / (1 - c**2) - x**2 / 2

    norm = quad(radiator, -0.9, 0.95)[0]
    grid = np.linspace(-0.9, 0.95, 400)
    cumulative = np.array([quad(radiator, -0.9, c)[0] for c in grid]) / norm
    cosine = photons[:, 0, 2] / photons[:, 0, 3]
    assert p_value(cosine, lambda c: np.interp(c, grid, cumulative)) > 1e-4


def test_omega_rate_follows_the_radiator_and_the_electron_width():
    # 12 π² Γ_ee/(m s) = 0.337 nb at Γ_ee = 0.64 keV; radiator for |cos θ| < 0.95 by hand: 6.30e-3
    source = omega_source(min_cos_theta=-0.95, max_cos_theta=0.95)
    assert source.cross_section_fb == pytest.approx(0.337e6 * 6.30e-3, rel=0.01)
    assert omega_source(electron_width=1.28e-6).cross_section_fb == pytest.approx(
        2 * omega_source().cross_section_fb
    )


def test_two_photon_rate_with_fakes_equals_that_of_fakes_added_freely():
    # high fake rates, so that a free simulation has enough of them
    beams, selection = Beams.named("belle2"), Selection(clusters="at_least")
    detector = Detector(split_off_scale=0.2, beam_background_scale=0.3, photon_efficiency=1.0)
    source = TwoPhotonSource(beams, detector, selection.min_energy_lab, 1.0)
    rng = np.random.default_rng(5)
    n = 60_000
    forced = measure(
        rng, source.generate(rng, n), beams=beams, detector=detector, selection=selection, force_fake=True
    )
    free_photons = TwoPhotonSource(beams, Detector(split_off_probability=0.0), selection.min_energy_lab, 1.0)
    free = measure(
        rng,
        free_photons.generate(rng, n),
        beams=beams,
        detector=detector,
        selection=selection,
        force_fake=False,
    )
    assert 0.1 < source.fake_probability < 0.9
    rate_forced, rate_free = len(forced.event) / n * source.fake_probability, len(free.event) / n
    error = np.sqrt(rate_free / n + source.fake_probability * rate_forced / n)
    assert abs(rate_forced - rate_free) < 4.5 * error
    for kind in (1, 2):  # and the same mixture of fakes
        a, b = (forced.kind == kind).any(axis=1), (free.kind == kind).any(axis=1)
        assert abs(a.mean() - b.mean()) < 4.5 * np.sqrt(a.var() / len(a) + b.var() / len(b))


def test_two_photon_source_without_fakes_has_no_rate_and_refuses_events():
    detector = Detector(split_off_probability=0.0, beam_background_mean=0.0)
    source = TwoPhotonSource(Beams.named("belle2"), detector, 0.35, 5e6)
    assert source.cross_section_fb == 0
    with pytest.raises(InputError, match="fake"):
        source.generate(np.random.default_rng(1), 10)


def test_meson_rates_scale_with_their_form_factors_and_branching_fractions():
    belle2 = background_sources(PhotonSettings())
    assert belle2["gamma_eta"].cross_section_fb == pytest.approx(4.5 * 0.3936, rel=2e-3)
    assert belle2["gamma_etaprime"].cross_section_fb == pytest.approx(5.4 * 0.02307, rel=2e-3)
    low = background_sources(PhotonSettings(beams=Beams(4.0, 4.0)))
    assert low["gamma_eta"].cross_section_fb == pytest.approx(4.5 * 0.3936 * (10.58 / 8) ** 4, rel=1e-3)


def test_every_cross_section_has_a_unit_and_a_source_and_says_when_it_was_replaced():
    table = CrossSections(gamma_eta_fb=9.0).unit_and_source()
    assert all(entry["unit"] and entry["source"] for entry in table.values())
    assert "settings" in table["gamma_eta_fb"]["source"]
    assert "hep-ex/0605018" in table["gamma_etaprime_fb"]["source"]
    with pytest.raises(InputError, match="eta_to_two_photons"):
        CrossSections(eta_to_two_photons=1.5)
