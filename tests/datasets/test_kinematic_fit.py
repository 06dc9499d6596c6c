"""Kinematic fit of photons to the beams' four-momentum."""

import numpy as np
import pytest
from scipy import stats

from darksieve.datasets.beams import Beams
from darksieve.datasets.kinematic_fit import PhotonResolution, fit_photons, fit_photons_present
from darksieve.errors import InputError

BEAMS = Beams.named("belle2")
TOTAL = np.array(BEAMS.four_momentum)
P_MIN = 1e-6


def three_photons(n, rng, minimum_energy=0.5):
    """Three photons in the laboratory, flat in phase space (RAMBO: Kleiss, Stirling, Ellis 1986)."""
    cos, phi = rng.uniform(-1, 1, (n, 3)), rng.uniform(0, 2 * np.pi, (n, 3))
    energy = -np.log(rng.random((n, 3)) * rng.random((n, 3)))
    sin = np.sqrt(1 - cos**2)
    q = np.stack([energy * sin * np.cos(phi), energy * sin * np.sin(phi), energy * cos, energy], axis=-1)
    total = q.sum(axis=1)
    mass = np.sqrt(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(axis=-1))
    boost = (-total[:, :3] / mass[:, None])[:, None, :]
    gamma = (total[:, 3] / mass)[:, None]
    along = (boost * q[..., :3]).sum(axis=-1)
    p = np.empty_like(q)
    p[..., 3] = gamma * q[..., 3] + along
    p[..., :3] = q[..., :3] + boost * (q[..., 3] + along / (1 + gamma))[..., None]
    p *= (BEAMS.sqrt_s / mass)[:, None, None]
    lab = BEAMS.to_lab(p)
    cos_lab = lab[..., 2] / lab[..., 3]
    return lab[((lab[..., 3] > minimum_energy) & (np.abs(cos_lab) < 0.9)).all(axis=1)]


def polar(p):
    return np.stack(
        [p[..., 3], np.arctan2(np.hypot(p[..., 0], p[..., 1]), p[..., 2]), np.arctan2(p[..., 1], p[..., 0])],
        axis=-1,
    )


def cartesian(energy, theta, phi):
    return np.stack(
        [
            energy * np.sin(theta) * np.cos(phi),
            energy * np.sin(theta) * np.sin(phi),
            energy * np.cos(theta),
            energy,
        ],
        axis=-1,
    )


def smeared(true, rng, resolution=None):
    resolution = resolution or PhotonResolution()
    energy, theta, phi = np.moveaxis(polar(true), -1, 0)
    angle = resolution.angle(energy)
    return cartesian(
        energy + resolution.energy(energy) * rng.standard_normal(energy.shape),
        theta + angle * rng.standard_normal(energy.shape),
        phi + angle / np.sin(theta) * rng.standard_normal(energy.shape),
    )


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(1)
    true = three_photons(12_000, rng)
    measured = smeared(true, rng)
    return true, measured, fit_photons(measured, BEAMS)


def pair_mass(p):
    total = p[:, 0] + p[:, 1]
    return np.sqrt(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(axis=-1))


def test_fitted_photons_carry_the_beams_four_momentum(toy):
    _, _, fitted = toy
    assert fitted.converged.mean() > 0.999
    np.testing.assert_allclose(
        fitted.momenta[fitted.converged].sum(axis=1), np.tile(TOTAL, (fitted.converged.sum(), 1)), atol=1e-6
    )


def test_fitted_photons_are_massless(toy):
    p = toy[2].momenta[toy[2].converged]
    np.testing.assert_allclose(np.linalg.norm(p[..., :3], axis=-1), p[..., 3], rtol=1e-12)


def test_chi2_has_four_degrees_of_freedom_for_small_widths():
    # So small that the constraints are linear: chi2 is that of four Gaussian constraints.
    rng = np.random.default_rng(6)
    resolution = PhotonResolution(0, 0, 1e-4, 0.05, 0, 0)
    true = three_photons(60_000, rng)
    chi2 = fit_photons(smeared(true, rng, resolution), BEAMS, resolution).chi2
    assert np.isfinite(chi2).all()
    assert abs(chi2.mean() - 4) < 5 * np.sqrt(8 / len(chi2))
    assert stats.kstest(chi2, stats.chi2(4).cdf).pvalue > P_MIN


def test_chi2_is_close_to_that_for_the_calorimeters_widths(toy):
    # Widths are those of the measured energies, and the constraints are curved: the mean shifts by some 1 %.
    chi2 = toy[2].chi2[toy[2].converged]
    assert abs(chi2.mean() - 4) < 5 * np.sqrt(8 / len(chi2)) + 0.04


def test_pulls_of_improved_quantities_have_unit_width():
    # Tiny widths: the problem is linear, and pulls (fitted - true) over the fitted error are unit Gaussian.
    rng = np.random.default_rng(2)
    resolution = PhotonResolution(0, 0, 1e-4, 0.05, 0, 0)
    true = three_photons(12_000, rng)
    measured = smeared(true, rng, resolution)
    fitted = fit_photons(measured, BEAMS, resolution)
    moved = polar(measured)[..., 0] - polar(fitted.momenta)[..., 0]
    # sigma of (measured - fitted): sqrt(V_measured - V_fitted), V_fitted = V - V D^T S^-1 D V
    energy, theta, phi = np.moveaxis(polar(true), -1, 0)
    one, zero = np.ones_like(energy), np.zeros_like(energy)
    d_energy = cartesian(one, theta, phi)
    d_theta = cartesian(energy, theta + np.pi / 2, phi)
    d_theta[..., 3] = zero
    d_phi = np.stack(
        [-energy * np.sin(theta) * np.sin(phi), energy * np.sin(theta) * np.cos(phi), zero, zero], -1
    )
    slopes = np.stack([d_energy, d_theta, d_phi], axis=2).reshape(len(true), 9, 4)
    angle = resolution.angle(energy)
    variance = (
        np.stack([resolution.energy(energy), angle, angle / np.sin(theta)], -1).reshape(len(true), 9) ** 2
    )
    inverse = np.linalg.inv(np.einsum("npc,np,npd->ncd", slopes, variance, slopes))
    reduction = np.einsum("npc,ncd,npd->np", slopes, inverse, slopes) * variance**2
    pulls = (moved / np.sqrt(reduction.reshape(-1, 3, 3)[..., 0]))[fitted.converged].ravel()
    n = len(fitted.converged)  # three pulls of one event are correlated: count events
    assert abs(pulls.mean()) < 5 / np.sqrt(n)
    assert abs(pulls.std() - 1) < 5 / np.sqrt(2 * n)


def test_fit_improves_the_pair_mass(toy):
    true, measured, fitted = toy
    kept = fitted.converged
    before = np.subtract(*np.percentile(pair_mass(measured[kept]) - pair_mass(true[kept]), [84, 16]))
    after = np.subtract(*np.percentile(pair_mass(fitted.momenta[kept]) - pair_mass(true[kept]), [84, 16]))
    assert after < 0.5 * before


def test_order_of_photons_does_not_matter(toy):
    _, measured, fitted = toy
    order = [2, 0, 1]
    again = fit_photons(measured[:500, order], BEAMS)
    np.testing.assert_allclose(again.momenta, fitted.momenta[:500, order], atol=1e-7)
    np.testing.assert_allclose(again.chi2, fitted.chi2[:500], atol=1e-5)


def test_order_of_events_does_not_matter(toy):
    _, measured, fitted = toy
    order = np.random.default_rng(3).permutation(300)
    np.testing.assert_array_equal(fit_photons(measured[order], BEAMS).momenta, fitted.momenta[order])


def test_exact_photons_stay_where_they_are():
    true = three_photons(200, np.random.default_rng(4))
    fitted = fit_photons(true, BEAMS)
    np.testing.assert_allclose(fitted.momenta, true, atol=1e-9)
    np.testing.assert_allclose(fitted.chi2, 0, atol=1e-9)


def test_impossible_photons_fail_and_leave_the_others_alone(toy):
    _, measured, fitted = toy
    events = measured[:6].copy()
    events[1, 0] = 0  # no energy
    events[2, 1, 3] = np.nan
    events[3, :, :3] *= 0  # no direction
    events[4, 2, 3] = -1
    result = fit_photons(events, BEAMS)
    np.testing.assert_array_equal(result.converged, [True, False, False, False, False, True])
    assert np.isnan(result.chi2[1:5]).all()
    assert np.isnan(result.momenta[1:5]).all()
    np.testing.assert_array_equal(result.momenta[[0, 5]], fitted.momenta[[0, 5]])


def test_four_photons_are_fitted_too():
    rng = np.random.default_rng(5)
    true = three_photons(300, rng)
    split = np.concatenate([true, true[:, :1]], axis=1)
    split[:, [0, 3]] *= 0.5
    result = fit_photons(smeared(split, rng), BEAMS)
    assert result.converged.mean() > 0.98
    closed = result.momenta[result.converged].sum(axis=1)
    np.testing.assert_allclose(closed, np.tile(TOTAL, (len(closed), 1)), atol=1e-6)


def test_inputs_are_not_changed(toy):
    measured = toy[1][:10]
    before = measured.copy()
    fit_photons(measured, BEAMS)
    np.testing.assert_array_equal(measured, before)


def test_wrong_shape_and_wrong_resolution_are_refused():
    with pytest.raises(ValueError, match="shape"):
        fit_photons(np.zeros((3, 4)), BEAMS)
    with pytest.raises(InputError, match=r"resolution\.energy_noise"):
        PhotonResolution(energy_noise=-1)
    with pytest.raises(InputError, match="angle"):
        PhotonResolution(angle_constant_mrad=0, angle_root_mrad=0, angle_fourth_root_mrad=0)


@pytest.mark.parametrize("energy", [0.1, 1.0, 5.0])
def test_resolution_is_the_calorimeters(energy):
    resolution = PhotonResolution()
    relative = np.sqrt((0.066 / energy) ** 2 + (0.81 / energy**0.25) ** 2 + 1.34**2) / 100
    assert resolution.energy(energy) == pytest.approx(relative * energy)
    assert resolution.angle(energy) == pytest.approx((0.27 + 3.4 / energy**0.5 + 1.8 / energy**0.25) / 1350)


def test_events_are_fitted_with_the_photons_that_they_have():
    """Three of four are fitted as three, whichever is absent; two stay as they are; one is no event."""
    rng = np.random.default_rng(5)
    beams = Beams.named("belle2")
    energy = rng.uniform(2, 5, (6, 4))
    direction = rng.normal(size=(6, 4, 3))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    momenta = np.concatenate([energy[..., None] * direction, energy[..., None]], axis=2)
    given = momenta.copy()
    given[1, 3] = given[2, 1] = given[3, 2:] = given[4, 1:] = np.nan
    given[5, 2, 0] = np.nan  # half a photon
    fitted = fit_photons_present(given, beams)
    np.testing.assert_array_equal(fitted.momenta[0], fit_photons(momenta[:1], beams).momenta[0])
    for row, places in ((1, [0, 1, 2]), (2, [0, 2, 3])):
        alone = fit_photons(momenta[row : row + 1, places], beams)
        np.testing.assert_array_equal(fitted.momenta[row, places], alone.momenta[0])
        np.testing.assert_array_equal(fitted.chi2[row], alone.chi2[0])
    np.testing.assert_array_equal(fitted.momenta[3, :2], momenta[3, :2])
    assert fitted.chi2[3] == 0
    assert not fitted.converged[4:].any()
